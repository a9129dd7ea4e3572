"""Turnout beside the bare forwarder on the same core: see README.md in this folder.

Exit code: 0 when every bar holds, 1 when one is missed, 2 when it could not be measured.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import peers
import report
from process import Command, Cores, NotStarted, Process, clean_env, free_port, pick_cores, piece
from rounds import (
    Failed,
    Phase,
    Sample,
    as_json,
    fetch_stats,
    helpers_busy,
    measure,
    run_load,
    run_rounds,
)
from servers import FIRST_TARGET, TRANSLATED, Place, Server, Turnout, start_forwarder
from tqdm import tqdm

KINDS = ("forwarder", "turnout", "translated", "litellm", "portkey")
CONTENT_EVENTS = 200
BAR = "{desc:<18} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
ON = """\
  auth     a virtual key on each request; a call without one got its 401
  routing  the alias `bench` with two targets; the upstream was asked for the first
  ledger   SQLite; its rows are counted after the load
  unasked  limits, cache and redis are at their defaults; every prompt is new"""


@dataclass(frozen=True)
class Plan:
    """What to run: from the command line."""

    rounds: int
    requests: int
    streams: int
    gap: int
    starts: int
    only: Sequence[str]
    json: Path | None

    @property
    def phases(self) -> list[Phase]:
        return [
            Phase("one", 1, max(50, self.requests // 4), 10),
            Phase("many", 32, self.requests, 10),
            Phase("stream", 32, self.streams, 10, stream=True),
        ]

    @property
    def warm_up(self) -> list[Phase]:
        return [Phase("warm-up", 32, 320, 10), Phase("warm-up", 8, 8, 10, stream=True)]


@dataclass
class Bench:
    """Everything that was started for this run, and what was found out."""

    plan: Plan
    place: Place
    upstream: Process
    turnout: Turnout | None = None
    servers: list[Server] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    rounds: list[list[Sample]] = field(default_factory=list)


def parse(argv: Sequence[str] | None) -> Plan:
    parser = argparse.ArgumentParser(prog="turnout bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 short rounds instead of 5")
    parser.add_argument("--rounds", type=int, help="how often each server is measured")
    parser.add_argument("--requests", type=int, help="requests at 32 connections a round")
    parser.add_argument("--streams", type=int, help="streams at 32 connections a round")
    parser.add_argument("--gap", type=int, default=2, help="ms between a stream's events")
    parser.add_argument(
        "--only", default=",".join(KINDS), help="comma-separated: " + ", ".join(KINDS)
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    given = parser.parse_args(argv)
    wanted = {name.strip() for name in given.only.split(",")}
    if unknown := sorted(wanted - set(KINDS)):
        parser.error(f"--only: no such server: {', '.join(unknown)}")
    return Plan(
        rounds=given.rounds or (2 if given.quick else 5),
        requests=given.requests or (1000 if given.quick else 4000),
        streams=given.streams or (64 if given.quick else 192),
        gap=given.gap,
        starts=2 if given.quick else 3,
        only=[name for name in KINDS if name in wanted | {report.FLOOR}],
        json=given.json,
    )


def main(argv: Sequence[str] | None = None) -> int:
    plan = parse(argv)
    if not sys.platform.startswith("linux"):
        print("the benchmark reads /proc: it runs on Linux only", file=sys.stderr)
        return 2
    try:
        return run(plan)
    except (NotStarted, Failed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def run(plan: Plan) -> int:
    """The whole benchmark; its exit code."""
    cores = pick_cores()
    os.sched_setaffinity(0, cores.helpers)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="turnout-bench-")))
        bench = start(plan, folder, cores, stack)
        print(describe(bench), flush=True)
        bench.rounds = load(bench)
        return finish(bench)


def start(plan: Plan, folder: Path, cores: Cores, stack: ExitStack) -> Bench:
    """Starts the upstream and every server that was asked for."""
    port = free_port()
    options = ["--port", str(port), "--gap", str(plan.gap), "--events", str(CONTENT_EVENTS)]
    command = Command(
        name="upstream",
        argv=piece("upstream", *options),
        env=clean_env(folder),
        port=port,
        health="/stats",
        folder=folder,
        cores=cores.helpers,
    )
    upstream = stack.enter_context(Process(command))
    bench = Bench(plan, Place(folder, port, cores, plan.starts), upstream)
    for name in plan.only:
        print(f"starting {name} ...", file=sys.stderr, flush=True)
        try:
            server = start_server(name, bench)
        except NotStarted as error:
            if name not in peers.PEERS:
                raise
            leave_out(bench, name, error)
            continue
        if server is None:
            bench.absent[name] = "not installed"
        else:
            bench.servers.append(server)
            stack.enter_context(server.process)
    if bench.turnout is not None and not bench.turnout.refuses_strangers():
        raise Failed("turnout answers a caller without a key: auth is not on")
    return bench


def start_server(name: str, bench: Bench) -> Server | None:
    """One server by its name; None for a peer that is not installed."""
    if name == "forwarder":
        return start_forwarder(bench.place)
    if name == "turnout":
        bench.turnout = Turnout(bench.place)
        return bench.turnout.start()
    if name == report.TRANSLATED:
        return Turnout(bench.place, name, TRANSLATED).start()
    return peers.PEERS[name](bench.place)


def describe(bench: Bench) -> str:
    """The machine, the load and the config that this run is about."""
    cores, plan = bench.place.cores, bench.plan
    where = "one core for everything: latencies mean little here"
    if cores.pinned:
        server, helpers = min(cores.server), min(cores.helpers)
        where = f"server under test on core {server}, upstream and load on core {helpers}"
    lines = [
        f"Python {platform.python_version()}, Linux {platform.release()}, {where}",
        f"rounds: {plan.rounds}, each {plan.phases[0].requests} requests on 1 connection,",
        f"  and {plan.requests} on 32,",
        f"  {plan.streams} streams on 32 of {CONTENT_EVENTS} words, {plan.gap:g} ms apart",
    ]
    if bench.turnout is not None:
        lines += ["Turnout's config (auth, routing and ledger on):", ON]
        lines += [f"    {line}" for line in bench.turnout.text.splitlines()]
    return "\n".join(lines)


def leave_out(bench: Bench, name: str, error: Exception) -> None:
    """A peer that fails costs its own row only."""
    print(f"{name} is left out: {error}", file=sys.stderr)
    bench.absent[name] = "failed, see above"


def load(bench: Bench) -> list[list[Sample]]:
    """Warms every server up, then measures them in turns."""
    plan = bench.plan
    for server in list(bench.servers):
        print(f"warming {server.name} up ...", file=sys.stderr, flush=True)
        try:
            warm_up(bench, server)
        except Failed as error:
            if server.name not in peers.PEERS:
                raise
            leave_out(bench, server.name, error)
            bench.servers.remove(server)
            server.process.stop()
    total = len(plan.phases) * plan.rounds * len(bench.servers)
    with tqdm(total=total, disable=None, dynamic_ncols=True, bar_format=BAR) as bar:

        def take(server: Server, phase: Phase) -> Sample:
            base = round(bar.n)
            bar.set_description(f"{server.name}, {phase.name}")

            def progress(done: int) -> None:
                bar.update(base + done / phase.requests - bar.n)

            sample = measure(
                server, phase, bench.place, bench.upstream.pid, CONTENT_EVENTS, progress
            )
            progress(phase.requests)
            bench.sent[server.name] += sample.requests
            return sample

        return run_rounds(bench.servers, plan.phases, plan.rounds, take)


def warm_up(bench: Bench, server: Server) -> None:
    """Some load that is not measured: connections are opened, caches and imports filled."""
    for phase in bench.plan.warm_up:
        result = run_load(server, phase, bench.place, CONTENT_EVENTS, lambda _: None)
        bench.sent[server.name] = bench.sent.get(server.name, 0) + int(result["requests"])
    if server.name == report.OURS:
        model = fetch_stats(bench.place.upstream)["model"]
        if model != FIRST_TARGET:
            raise Failed(f"turnout asked the upstream for {model}: routing is not on")


def finish(bench: Bench) -> int:
    """Prints the table and the bars, writes the JSON, and gives the exit code."""
    rows = [report.sum_up(server, bench.rounds) for server in bench.servers]
    print("\n" + report.write_table(rows, bench.absent))
    samples = [sample for samples in bench.rounds for sample in samples]
    busy = max(helpers_busy(sample, bench.place.cores) for sample in samples)
    crowded = median(sample.crowded for sample in samples)
    for warning in report.warn(rows, busy, crowded):
        print(f"warning: {warning}")
    bars = [bar for row in rows for bar in report.judge(row)]
    if bench.turnout is not None:
        sent = bench.sent[report.OURS]
        bars.append(report.judge_ledger(sent, bench.turnout.await_ledger(sent)))
    if bars:
        print("\n" + "\n".join(bar.write() for bar in bars))
    if bench.plan.json is not None:
        bench.plan.json.write_text(
            json.dumps(as_document(bench, rows, bars, busy, crowded), indent=1) + "\n"
        )
    return 0 if all(bar.holds for bar in bars) else 1


def as_document(
    bench: Bench,
    rows: Sequence[report.Row],
    bars: Sequence[report.Bar],
    busy: float,
    crowded: float,
) -> dict[str, object]:
    """All the numbers of a run, for a file."""
    return {
        "machine": {
            "python": platform.python_version(),
            "kernel": platform.release(),
            "pinned": bench.place.cores.pinned,
            "helpers_busy": busy,
            "crowded": crowded,
        },
        "phases": [asdict(phase) for phase in bench.plan.phases],
        "gap_ms": bench.plan.gap,
        "config": bench.turnout.text if bench.turnout else None,
        "rows": [asdict(row) for row in rows],
        "bars": [{**asdict(bar), "holds": bar.holds} for bar in bars],
        "not_installed": bench.absent,
        "rounds": as_json(bench.rounds),
    }


if __name__ == "__main__":
    sys.exit(main())
