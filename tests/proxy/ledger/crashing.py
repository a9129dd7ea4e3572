"""Processes for the ledger's tests to kill, or to starve of disk. Each line that they print is
one write(2), made after the thing that it tells of."""

import asyncio
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from adapters.base import Usage
from proxy.ledger.books import Books
from proxy.ledger.spool import Spool
from proxy.ledger.writer import Writer
from proxy.storage.engine import open_database
from tests.proxy.ledger.records import record

ROOT = Path(__file__).parents[3]
ASKED = Usage(7)  # the estimate of each intent
UNSETTLED = 5  # each fifth request is never settled


def run(*args: object, wrapper: Sequence[str] = ()) -> "subprocess.Popen[str]":
    """One of the functions below in a process of its own."""
    command = [*wrapper, sys.executable, "-m", __name__, *map(str, args)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> list[list[str]]:
    """The words of each whole line, once it has ended."""
    out, _ = process.communicate(timeout=120)
    return [line.split() for line in out.split("\n")[:-1]]


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def serve(home: str, spool: str | None) -> None:
    """Sends and settles until it is killed. Request n takes n tokens and answers with 2 n."""
    engine = await open_database("sqlite:///t.db", Path(home))
    writer = Writer(Books(engine), Path(spool) if spool else None)
    await writer.start()
    number = 0
    while True:
        number += 1
        usage = Usage(number, 2 * number)
        made = record(usage=usage)
        made.attempts[0].usage = usage
        writer.intent(made, made.attempts[0], ASKED)
        say("intent", made.id, number)
        if number % UNSETTLED:
            writer.submit(made)
            say("settle", made.id, number)
        if number % 10 == 0:
            await asyncio.sleep(0.002)


def killed(home: str, spool: str, rounds: str) -> None:
    """Servers, one after the other, each killed at a moment of its own."""
    for _ in range(int(rounds)):
        child = os.fork()
        if not child:
            asyncio.run(serve(home, None if spool == "none" else spool))
        time.sleep(random.uniform(0.1, 0.4))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


async def replay(home: str, spool: str) -> None:
    engine = await open_database("sqlite:///t.db", Path(home))
    writer = Writer(Books(engine), Path(spool))
    say(await writer.take_over())
    await engine.dispose()


def starve(spool: str, limit: str) -> None:
    """Fills the disk, or what a file may take, with frames of 1,000 bytes; then makes room."""
    if int(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    ours = Spool(Path(spool))
    say("worker", ours.worker)
    payload = b'["settle","%04d","' + b"x" * 990 + b'"]'
    number = 0
    while True:
        try:
            ours.append(payload % number)
        except OSError as error:
            say("full", number, error.errno)
            break
        number += 1
    size = ours.segments[0].path.stat().st_size
    say("size", size, ours.segments[0].size)
    if int(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    else:
        (Path(spool) / "filler").unlink()
    ours.append(payload % number)
    data = ours.segments[0].path.read_bytes()
    say("frames", data.count(b'["settle"'), len(data), ours.segments[0].size)


def starve_mount(folder: str) -> None:
    """The same on a disk of its own, of 256 KiB; needs a mount namespace of its own."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        say("no mount")
        return
    (Path(folder) / "filler").write_bytes(b"x" * 65536)
    starve(folder, "0")


def hold(spool: str) -> None:
    """A live process with a spool; waits to be killed."""
    ours = Spool(Path(spool))
    ours.append(b"[]")
    say("worker", ours.worker)
    time.sleep(60)


if __name__ == "__main__":
    name, *given = sys.argv[1:]
    match name:
        case "killed":
            killed(*given)
        case "replay":
            asyncio.run(replay(*given))
        case "starve":
            starve(*given)
        case "starve_mount":
            starve_mount(*given)
        case "hold":
            hold(*given)
