"""The load: keep-alive connections that ask, check every answer, and ask again.

A process of its own, so that its work is never counted as a server's. Each prompt is a new one:
no cache can answer. An answer counts only when it is whole (status, text, usage, and in a stream
every event up to [DONE]), so that a broken gateway can't win. The result is one JSON line; before
it come lines `progress N`.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import httptools
import uvloop

MARK = b"A turnout lets a train pass"
STALL = 30.0  # seconds without any answer after which a server counts as dead


@dataclass(frozen=True)
class Order:
    """What to ask, how often, and how long at most."""

    port: int
    path: str
    model: str
    headers: Sequence[str]
    connections: int
    requests: int
    seconds: float
    stream: bool
    events: int


@dataclass
class Tally:
    """What came back."""

    sent: int = 0
    latencies: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    events: int = 0
    writes: int = 0
    bytes: int = 0
    fault: str | None = None


class Prompts:
    """Complete HTTP requests of one length, no two with the same prompt."""

    def __init__(self, order: Order) -> None:
        body = {
            "model": order.model,
            "messages": [
                {"role": "system", "content": "You are a railway clerk. Answer in one sentence."},
                {"role": "user", "content": "Question %020d: what is a turnout for, and who "
                 "sets it before the train comes?"},
            ],
            "temperature": 0.7,
            "max_tokens": 64,
        }  # fmt: skip
        if order.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        text = json.dumps(body, separators=(",", ":"))
        head = [
            f"POST {order.path} HTTP/1.1",
            f"host: 127.0.0.1:{order.port}",
            "content-type: application/json",
            "accept: */*",
            f"content-length: {len(text % 0)}",
            *order.headers,
        ]
        self.template = ("\r\n".join(head).replace("%", "%%") + "\r\n\r\n" + text).encode()
        self.number = time.time_ns()

    def next(self) -> bytes:
        self.number += 1
        return self.template % self.number


class Client(asyncio.Protocol):
    """One connection: asks until the run says stop."""

    def __init__(self, run: "Run") -> None:
        self.run = run
        self.done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self.parser = httptools.HttpResponseParser(self)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done:
            self.run.fail(f"the server closed the connection in an answer ({exc})")

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.run.fail(f"not HTTP: {error}")

    def on_chunk_header(self) -> None:
        self.run.tally.writes += 1

    def on_body(self, body: bytes) -> None:
        if not self.parts:
            self.first = time.perf_counter()
        self.parts.append(body)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        body = b"".join(self.parts)
        if fault := self._check(body):
            self.run.fail(f"{fault}: {self.parser.get_status_code()} {body[:300]!r}")
            return
        tally = self.run.tally
        tally.latencies.append(now - self.started)
        tally.firsts.append(self.first - self.started)
        tally.bytes += len(body)
        if self.run.order.stream:
            tally.events += body.count(b"data:")
            tally.writes -= 1  # the empty chunk that ends the body
        if not self.parser.should_keep_alive():
            self.run.fail("the server wants to close the connection")
        self._ask()

    def _check(self, body: bytes) -> str | None:
        if self.parser.get_status_code() != 200:
            return "not a 200"
        if b'"usage"' not in body:
            return "no usage in the answer"
        if not self.run.order.stream:
            return None if MARK in body else "not the upstream's answer"
        words = body.count(b" word")
        if words != self.run.order.events:
            return f"{words} of {self.run.order.events} content events came"
        return None if b"data: [DONE]" in body[-40:] else "no [DONE] at the end"

    def _ask(self) -> None:
        if not self.run.take():
            self.done = True
            self.transport.close()
            self.run.leave()
            return
        self.parts: list[bytes] = []
        self.first = self.started = time.perf_counter()
        self.transport.write(self.run.prompts.next())


class Run:
    """The shared part of all connections: what is left to do, and the tally."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.prompts = Prompts(order)
        self.tally = Tally()
        self.open = 0
        self.ended = asyncio.Event()
        self.deadline = time.perf_counter() + order.seconds

    def take(self) -> bool:
        """Whether there is another request to send; counts it as sent."""
        if self.ended.is_set() or self.tally.sent >= self.order.requests:
            return False
        if time.perf_counter() > self.deadline:
            return False
        self.tally.sent += 1
        return True

    def leave(self) -> None:
        self.open -= 1
        if self.open == 0:
            self.ended.set()

    def fail(self, fault: str) -> None:
        self.tally.fault = self.tally.fault or fault
        self.ended.set()

    async def watch(self) -> None:
        """Reports progress, and gives up on a server that has stopped answering."""
        seen, at = -1, time.perf_counter()
        while not self.ended.is_set():
            done = len(self.tally.latencies)
            if done != seen:
                seen, at = done, time.perf_counter()
                sys.stdout.write(f"progress {done}\n")
                sys.stdout.flush()
            elif time.perf_counter() - at > STALL:
                self.fail(f"no answer for {STALL:.0f} s after {done} requests")
            await asyncio.sleep(0.25)


async def drive(order: Order) -> dict[str, object]:
    """Runs the order and sums it up."""
    run = Run(order)
    loop = asyncio.get_running_loop()
    started, used = time.perf_counter(), time.process_time()
    run.open = order.connections
    for _ in range(order.connections):
        await loop.create_connection(lambda: Client(run), "127.0.0.1", order.port)
    watcher = loop.create_task(run.watch())
    await run.ended.wait()
    seconds = time.perf_counter() - started
    watcher.cancel()
    if run.tally.fault is None and not run.tally.latencies:
        run.tally.fault = "no request was answered"
    return sum_up(run.tally, seconds, time.process_time() - used)


def sum_up(tally: Tally, seconds: float, cpu: float) -> dict[str, object]:
    """The tally as the plain numbers that the runner reads."""
    if tally.fault is not None:
        return {"error": tally.fault}
    return {
        "requests": len(tally.latencies),
        "seconds": seconds,
        "rps": len(tally.latencies) / seconds,
        "p50": percentile(tally.latencies, 50),
        "p99": percentile(tally.latencies, 99),
        "first_p50": percentile(tally.firsts, 50),
        "events": tally.events,
        "writes": tally.writes,
        "bytes": tally.bytes,
        "cpu": cpu,
    }


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: a value that was measured, never one between two."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def parse(argv: Sequence[str] | None) -> Order:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/v1/chat/completions")
    parser.add_argument("--model", default="bench")
    parser.add_argument("--header", action="append", default=[], help="name: value")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--events", type=int, default=200, help="content events of a stream")
    given = vars(parser.parse_args(argv))
    return Order(headers=given.pop("header"), **given)


def main(argv: Sequence[str] | None = None) -> int:
    result = uvloop.run(drive(parse(argv)))
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if "error" in result else 0


if __name__ == "__main__":
    sys.exit(main())
