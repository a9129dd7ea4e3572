"""What the operating system knows of a process and its children: CPU, memory, reads.

CPU is the process's own clock of the kernel (user and system time of all its threads, dead ones
too): the same account as `utime + stime` of /proc/PID/stat, in nanoseconds instead of ticks of
10 ms. Children that have ended are added from `cutime + cstime`.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Reading:
    """One look at a process tree: seconds, system calls that read, bytes.

    `waited` is the time in which it could have run but another process had its core.
    """

    cpu: float
    waited: float
    reads: int
    rss: int
    peak: int


def read(pid: int) -> Reading:
    """Reads the meters of a process and all its living descendants."""
    cpu, waited, reads, rss, peak = 0.0, 0.0, 0, 0, 0
    for each in tree(pid):
        try:
            cpu += cpu_seconds(each)
            waited += int(Path(f"/proc/{each}/schedstat").read_text().split()[1]) / 1e9
            reads += _number(each, "io", "syscr:")
            rss += _number(each, "status", "VmRSS:") * 1024
            peak += _number(each, "status", "VmHWM:") * 1024
        except OSError:
            continue  # it ended between two looks; its time is its parent's now
    return Reading(cpu, waited, reads, rss, peak)


def tree(pid: int) -> Iterator[int]:
    """The process and its descendants."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from tree(int(child))


def cpu_seconds(pid: int) -> float:
    """CPU time of one process, and of those of its children that have ended."""
    own = time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3), which Python lacks
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return own + (int(fields[13]) + int(fields[14])) * TICK


def _number(pid: int, file: str, name: str) -> int:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0
