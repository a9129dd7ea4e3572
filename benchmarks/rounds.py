"""Rounds: every server gets the same phases in turn, and the turns alternate.

What a noisy neighbour or a slower clock does to one server's turn, it does to the next one's as
well; so a ratio is taken within a round, and the result is the median over the rounds.
"""

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import meter
from process import Cores, NotStarted, clean_env, get, piece
from servers import Place, Server

QUIET = 0.02  # a server that uses less of a core than this has finished its work


@dataclass(frozen=True)
class Phase:
    """One kind of load. It ends after `requests`, or after `seconds` if that comes first."""

    name: str
    connections: int
    requests: int
    seconds: float
    stream: bool = False


@dataclass(frozen=True)
class Sample:
    """What one server did in one phase of one round. CPU in microseconds, times in seconds.

    `crowded` is the time it waited for its core, as a share of the CPU it used.
    """

    server: str
    phase: str
    requests: int
    seconds: float
    rps: float
    p50: float
    p99: float
    first_p50: float
    events: int
    cpu_per_request: float
    cpu_per_event: float
    events_per_read: float
    events_per_write: float
    crowded: float
    load_cpu: float
    upstream_cpu: float
    rss: int
    peak: int


class Failed(Exception):
    """A server that gave a wrong answer, or none, under load."""


Progress = Callable[[int], None]


def measure(
    server: Server, phase: Phase, place: Place, upstream: int, events: int, progress: Progress
) -> Sample:
    """Runs one phase against one server; what the server does afterwards counts as well."""
    asked = fetch_stats(place.upstream)
    helper = meter.cpu_seconds(upstream)
    before = meter.read(server.process.pid)
    result = run_load(server, phase, place, events, progress)
    helper = meter.cpu_seconds(upstream) - helper
    settle(server.process.pid)
    after = meter.read(server.process.pid)
    _check_upstream(server, phase, asked, fetch_stats(place.upstream), result)
    requests, count = int(result["requests"]), int(result["events"])
    cpu = (after.cpu - before.cpu) * 1e6
    return Sample(
        server=server.name,
        phase=phase.name,
        requests=requests,
        seconds=result["seconds"],
        rps=result["rps"],
        p50=result["p50"],
        p99=result["p99"],
        first_p50=result["first_p50"],
        events=count,
        cpu_per_request=cpu / requests,
        cpu_per_event=cpu / count if count else 0.0,
        events_per_read=count / max(1, after.reads - before.reads),
        events_per_write=count / max(1.0, result["writes"]),
        crowded=(after.waited - before.waited) / (after.cpu - before.cpu),
        load_cpu=result["cpu"],
        upstream_cpu=helper,
        rss=after.rss,
        peak=after.peak,
    )


def run_load(
    server: Server, phase: Phase, place: Place, events: int, progress: Progress
) -> dict[str, float]:
    """The load generator's result; its progress goes to `progress` as it comes."""
    arguments = {
        "port": server.process.command.port,
        "path": server.path,
        "model": server.model,
        "connections": phase.connections,
        "requests": phase.requests,
        "seconds": phase.seconds,
        "events": events,
    }
    options = [f"--{name}={value}" for name, value in arguments.items()]
    options += [f"--header={header}" for header in server.headers]
    options += ["--stream"] if phase.stream else []
    # The runner itself is on the helpers' cores, and so is what it starts.
    load = subprocess.Popen(
        piece("load", *options),
        env=clean_env(place.folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert load.stdout is not None
    last = ""
    with load:
        for line in load.stdout:
            if line.startswith("progress "):
                progress(int(line.split()[1]))
            else:
                last = line
    try:
        result: dict[str, float] = json.loads(last)
    except json.JSONDecodeError:
        raise Failed(f"the load generator failed: {last}") from None
    if "error" in result:
        raise Failed(f"{server.name}, {phase.name}: {result['error']}\n{server.process.tail()}")
    return result


def settle(pid: int, least: float = 1.0, most: float = 5.0) -> None:
    """Waits until the server has done what it put off (a ledger's rows, say)."""
    started = time.perf_counter()
    used = meter.read(pid).cpu
    while (waited := time.perf_counter() - started) < most:
        time.sleep(0.25)
        now = meter.read(pid).cpu
        if now - used < 0.25 * QUIET and waited >= least:
            return
        used = now


def fetch_stats(port: int) -> dict[str, Any]:
    """What the upstream was really asked."""
    status, body = get(port, "/stats")
    if status != 200:
        raise NotStarted("the upstream does not answer")
    stats: dict[str, Any] = json.loads(body)
    return stats


def _check_upstream(
    server: Server,
    phase: Phase,
    before: dict[str, Any],
    after: dict[str, Any],
    result: dict[str, float],
) -> None:
    """Each request must have reached the upstream once: no cache, no lost or doubled ones."""
    kind = "streams" if phase.stream else "requests"
    asked = after[kind] - before[kind]
    if asked != result["requests"]:
        raise Failed(
            f"{server.name}, {phase.name}: {result['requests']} answers,"
            f" but the upstream was asked {asked} times"
        )


def run_rounds(
    servers: Sequence[Server],
    phases: Sequence[Phase],
    rounds: int,
    take: Callable[[Server, Phase], Sample],
) -> list[list[Sample]]:
    """All samples, a list for each round. Every other round runs the servers in reverse."""
    result = []
    for number in range(rounds):
        order = list(servers) if number % 2 == 0 else list(reversed(servers))
        result.append([take(server, phase) for phase in phases for server in order])
    return result


def as_json(rounds: Sequence[Sequence[Sample]]) -> list[list[dict[str, object]]]:
    """The samples as plain values."""
    return [[asdict(sample) for sample in samples] for samples in rounds]


def helpers_busy(sample: Sample, cores: Cores) -> float:
    """The share of the helpers' cores that upstream and load used."""
    return (sample.load_cpu + sample.upstream_cpu) / sample.seconds / len(cores.helpers)
