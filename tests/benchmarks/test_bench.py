"""The benchmark's pieces do what they say. Nothing here looks at a clock."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import load
import meter
import pytest
import report
import run
import servers
import upstream as bench_upstream
from process import Command, NotStarted, Process, clean_env, free_port, get, pick_cores, piece
from rounds import Sample

from adapters.anthropic import Anthropic
from adapters.base import Ask, Endpoint, Usage

EVENTS = 5


def command(name: str, folder: Path, health: str, *options: str) -> Command:
    port = free_port()
    argv = piece(name, "--port", str(port), *options)
    cores = pick_cores().server
    return Command(name, argv, clean_env(folder), port, health, folder, cores)


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Process]:
    events = ("--events", str(EVENTS), "--gap", "1")
    with Process(command("upstream", tmp_path, "/stats", *events)) as process:
        yield process


@pytest.fixture
def forwarder(tmp_path: Path, upstream: Process) -> Iterator[Process]:
    base = f"http://127.0.0.1:{upstream.command.port}"
    with Process(command("forwarder", tmp_path, "/health/live", "--upstream", base)) as process:
        yield process


def drive(process: Process, *options: str) -> dict[str, float | str]:
    argv = piece("load", f"--port={process.command.port}", "--connections=4", *options)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    result: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode == 1) == ("error" in result)
    return result


def test_every_request_goes_through_the_forwarder_to_the_upstream(
    upstream: Process, forwarder: Process
) -> None:
    answers = drive(forwarder, "--requests=20")
    streams = drive(forwarder, "--requests=8", "--stream", f"--events={EVENTS}")

    assert answers["requests"] == 20
    assert streams["requests"] == 8
    # the words, the end, the usage and [DONE]
    assert streams["events"] == 8 * (EVENTS + 3)
    stats = json.loads(get(upstream.command.port, "/stats")[1])
    assert stats == {"requests": 20, "streams": 8, "events": 8 * (EVENTS + 3), "model": "bench"}


def test_a_stream_that_lacks_events_is_an_error(forwarder: Process) -> None:
    result = drive(forwarder, "--requests=4", "--stream", f"--events={EVENTS + 1}")

    assert f"{EVENTS} of {EVENTS + 1} content events came" in str(result["error"])


def test_an_answer_that_is_no_200_is_an_error(forwarder: Process) -> None:
    result = drive(forwarder, "--requests=4", "--path=/v1/nothing")

    assert str(result["error"]).startswith("not a 200: 404")


def test_a_server_that_ends_at_its_start_shows_what_it_said(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import sys; sys.exit('no such track')"]
    cores = pick_cores().server
    failing = Command("failing", argv, clean_env(tmp_path), free_port(), "/", tmp_path, cores)

    with pytest.raises(NotStarted, match=r"failing ended with code 1\n  \| no such track"):
        Process(failing)


def test_the_meters_see_a_process_work(forwarder: Process) -> None:
    before = meter.read(forwarder.pid)
    drive(forwarder, "--requests=50")
    after = meter.read(forwarder.pid)

    assert after.cpu > before.cpu
    assert after.reads >= before.reads + 100  # a request and an answer, fifty times
    assert 0 < after.rss <= after.peak


@pytest.mark.parametrize(("percent", "value"), [(50, 2.0), (75, 3.0), (99, 4.0), (1, 1.0)])
def test_a_percentile_is_a_measured_value(percent: float, value: float) -> None:
    assert load.percentile([4.0, 1.0, 3.0, 2.0], percent) == value


def sample(server: str, phase: str, cpu: float) -> Sample:
    return Sample(
        server=server,
        phase=phase,
        requests=100,
        seconds=1.0,
        rps=100.0,
        p50=cpu / 1e6,
        p99=cpu / 1e5,
        first_p50=0.001,
        events=200,
        cpu_per_request=cpu,
        cpu_per_event=cpu / 10,
        events_per_read=1.0,
        events_per_write=1.0,
        crowded=0.0,
        load_cpu=0.1,
        upstream_cpu=0.1,
        rss=50_000_000,
        peak=60_000_000,
    )


def test_a_ratio_is_taken_within_its_round(forwarder: Process) -> None:
    # The machine slows down threefold after the first round; the ratio does not change.
    rounds = [
        [sample(name, phase, cpu * slow) for phase in ("one", "many", "stream")
         for name, cpu in (("forwarder", 100.0), ("turnout", 150.0))]
        for slow in (1.0, 3.0, 3.0)
    ]  # fmt: skip
    server = servers.Server("turnout", forwarder, first_starts=[0.9, 0.5], starts=[0.4])

    row = report.sum_up(server, rounds)
    bars = {bar.name: bar for bar in report.judge(row)}

    assert row.ratio_request == report.Spread(1.5, 1.5, 1.5)
    assert bars["CPU per request / floor"].holds
    assert not bars["CPU per chunk / floor"].holds
    assert bars["start, fresh home"].value == 0.5
    table = report.write_table([row], {"litellm": "not installed"})
    assert "litellm  not installed" in table


def test_the_ledger_bar_wants_every_request_once() -> None:
    assert report.judge_ledger(10, 10).holds
    assert not report.judge_ledger(10, 9).holds
    assert not report.judge_ledger(10, 11).holds
    groups = '[{"model": "a", "requests": 7}, {"model": "b", "requests": 3}]'
    assert servers.count_requests(groups) == 10


def test_the_floor_is_always_measured() -> None:
    assert run.parse(["--only", "turnout"]).only == ["forwarder", "turnout"]
    with pytest.raises(SystemExit):
        run.parse(["--only", "nginx"])


def test_the_translated_upstream_speaks_anthropic() -> None:
    """Read by Turnout's own adapter: as many words as there are events, and an end."""
    ask = Ask(Endpoint.CHAT, b"{}", {"model": "m"}, stream=True)
    stream = Anthropic().stream(ask, lambda _: None)
    chunks = [chunk.split(b"\r\n", 1)[1][:-2] for chunk in bench_upstream.build_message_events(7)]
    out = b"".join(map(stream.feed, chunks))
    assert (out.count(b" word"), stream.done, stream.usage) == (7, True, Usage(42, 64))
    whole = bench_upstream.build_message().split(b"\r\n\r\n", 1)[1]
    assert Anthropic().reply(ask, whole).usage == Usage(42, 64)
