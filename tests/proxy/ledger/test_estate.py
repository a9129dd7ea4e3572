"""A dead process's spool is taken over whole, by one, and nobody touches one of the living."""

import logging
import os
import signal
from pathlib import Path

import orjson
import pytest

from adapters.base import Usage
from proxy.ledger import estate as estates
from proxy.ledger import spool as spools
from proxy.ledger.estate import Estate, claim, workers
from proxy.ledger.frames import frame, intent_payload, settle_payload
from proxy.ledger.rows import Row, attempt_row, request_row
from proxy.ledger.spool import START, Position, Segment, Spool, offset_file
from proxy.types import Record
from tests.proxy.ledger.crashing import run
from tests.proxy.ledger.records import record


def intend(spool: Spool, made: Record) -> Segment:
    segment = spool.append(intent_payload(made, made.attempts[0], Usage(7)))
    segment.open += 1
    return segment


def settle(spool: Spool, made: Record) -> Segment:
    tries = [attempt_row(made, attempt) for attempt in made.attempts]
    segment = spool.append(settle_payload(request_row(made), tries))
    segment.settled = segment.size
    return segment


def taken(folder: Path, worker: str) -> Estate:
    found = claim(folder, worker)
    assert found is not None
    return found


def ids(estate: Estate) -> tuple[list[str], list[str]]:
    """Of the settled and of the unknown."""
    rows: list[Row] = []
    tries: list[Row] = []
    while (part := estate.read()) is not None:
        rows += part[0]
        tries += part[1]
    assert [row[0] for row in rows] == [one[0] for one in tries]
    unknown = estate.unknown()
    assert all(row[0] == one[0] for row, [one] in unknown)
    return [row[0] for row in rows], [row[0] for row, _ in unknown]


def test_what_was_settled_and_what_was_not(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    asked, done, refused = record(), record(), record()
    intend(spool, done)
    intend(spool, asked)
    settle(spool, done)
    settle(spool, refused)
    spool.close(START)
    estate = taken(tmp_path, spool.worker)
    assert ids(estate) == ([done.id, refused.id], [asked.id])
    estate.remove()
    estate.close()
    assert list(tmp_path.iterdir()) == []
    assert claim(tmp_path, spool.worker) is None


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    made = record(metadata={"ü": [1, None]}, error_message="a\nb", cost_nanousd=None)
    settle(spool, made)
    spool.close(START)
    estate = taken(tmp_path, spool.worker)
    assert estate.read() == ([request_row(made)], [attempt_row(made, made.attempts[0])])
    estate.close()


def test_a_request_settled_in_a_later_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "SEGMENT", 4_000)
    spool = Spool(tmp_path)
    made = [record() for _ in range(40)]
    for one in made:
        intend(spool, one)
    for one in made[:-1]:
        settle(spool, one)
    assert len(spool.segments) > 5
    spool.close(START)
    estate = taken(tmp_path, spool.worker)
    assert ids(estate) == ([one.id for one in made[:-1]], [made[-1].id])
    estate.close()


def test_what_the_database_has_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But only on the boot that said so: a power loss may take its last commits back."""
    spool = Spool(tmp_path)
    first, second, third = record(), record(), record()
    for one in (first, second, third):
        intend(spool, one)
    settle(spool, first)
    shipped = settle(spool, second).end
    settle(spool, third)
    spool.close(shipped)
    estate = taken(tmp_path, spool.worker)
    assert ids(estate) == ([third.id], []), "and is settled all the same"
    estate.close()
    monkeypatch.setattr(estates, "boot", lambda: "another")
    estate = taken(tmp_path, spool.worker)
    assert ids(estate) == ([first.id, second.id, third.id], [])
    estate.close()
    offset_file(tmp_path, spool.worker).write_text("nonsense")
    estate = taken(tmp_path, spool.worker)
    assert len(ids(estate)[0]) == 3
    estate.remove()
    estate.close()
    assert list(tmp_path.iterdir()) == []


def test_a_torn_tail(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At each byte: the frames before it count, and the request of a torn settle is unknown."""
    made = [record(), record()]
    spool = Spool(tmp_path)
    for one in made:
        intend(spool, one)
    settle(spool, made[0])
    segment = spool.segments[0]
    before = segment.size
    settle(spool, made[1])
    spool.close(START)
    whole = segment.path.read_bytes()
    for cut in range(before, len(whole)):
        segment.path.write_bytes(whole[:cut])
        estate = taken(tmp_path, spool.worker)
        assert ids(estate) == ([made[0].id], [made[1].id])
        assert estate.damaged == 0
        estate.close()
    assert "torn: 1 bytes" in caplog.text
    segment.path.write_bytes(whole[:before] + bytes(4096))
    estate = taken(tmp_path, spool.worker)
    assert ids(estate) == ([made[0].id], [made[1].id]), "the zeros of a power loss"
    estate.remove()
    estate.close()
    assert list(tmp_path.iterdir()) == []


def test_damage_is_left_out_counted_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = [record() for _ in range(3)]
    spool = Spool(tmp_path)
    starts = []
    for one in made:
        intend(spool, one)
        starts.append(spool.segments[0].size)
        settle(spool, one)
    path = spool.segments[0].path
    spool.close(START)
    data = bytearray(path.read_bytes())
    data[starts[1] + 100] ^= 1
    path.write_bytes(data)
    estate = taken(tmp_path, spool.worker)
    with caplog.at_level(logging.ERROR):
        assert ids(estate) == ([made[0].id, made[2].id], [made[1].id])
    assert estate.damaged == 1
    assert "1 damaged frames" in caplog.text
    estate.remove()
    estate.close()
    assert [p.name for p in tmp_path.iterdir()] == [path.with_suffix(".damaged").name]
    assert workers(tmp_path) == []


@pytest.mark.parametrize(
    "entry",
    [
        ["later", 1],
        {"no": "list"},
        ["settle", ["short"], []],
        ["settle", 5, 5],
        ["intent", "r"],
        ["head", ["no id"], []],
    ],
)
def test_frames_that_mean_nothing_to_us(tmp_path: Path, entry: object) -> None:
    spool = Spool(tmp_path)
    spool.append(orjson.dumps(entry))
    made = record()
    settle(spool, made)
    spool.close(START)
    estate = taken(tmp_path, spool.worker)
    assert ids(estate) == ([made.id], [])
    assert estate.damaged == 1
    estate.close()


def test_an_intent_that_makes_no_row(tmp_path: Path) -> None:
    """Of a later version, which knows more endpoints."""
    spool = Spool(tmp_path)
    made, other = record(), record()
    spool.append(intent_payload(made, made.attempts[0], None).replace(b"/chat", b"/chit"))
    intend(spool, other)
    spool.close(START)
    estate = taken(tmp_path, spool.worker)
    assert ids(estate) == ([], [other.id])
    assert estate.damaged == 1
    estate.close()


def test_the_living_and_the_dead(tmp_path: Path) -> None:
    process = run("hold", tmp_path)
    assert process.stdout is not None
    worker = process.stdout.readline().split()[1]
    assert workers(tmp_path) == [worker]
    assert claim(tmp_path, worker) is None
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    estate = taken(tmp_path, worker)
    assert claim(tmp_path, worker) is None, "one has it already"
    estate.close()


def test_one_claimant_gets_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "SEGMENT", 1_000)
    spool = Spool(tmp_path)
    for _ in range(10):
        settle(spool, record())
    held = spool.segments[2]
    descriptor = os.dup(held.fd)  # a lock is there as long as any descriptor of it
    spool.close(START)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert claim(tmp_path, spool.worker) is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    os.close(descriptor)
    taken(tmp_path, spool.worker).close()


def test_what_the_dead_wrote_after_the_first_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment that is not in the first list holds what settles the intents of those that are."""
    spool = Spool(tmp_path)
    made = record()
    intend(spool, made)
    spool.close(START)
    late = tmp_path / f"{spool.worker}-00000002.spool"
    lock, rows = estates.take_lock, request_row(made)

    def write_late(fd: int, path: Path) -> bool:
        late.write_bytes(frame(settle_payload(rows, [attempt_row(made, made.attempts[0])])))
        return lock(fd, path)

    monkeypatch.setattr(estates, "take_lock", write_late)
    estate = taken(tmp_path, spool.worker)
    assert ids(estate) == ([made.id], [])
    estate.close()


def test_segments_that_go_while_they_are_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one took it over meanwhile: the rest is not ours, and no request is unknown."""
    spool = Spool(tmp_path)
    intend(spool, record())
    segment = spool.segments[0]
    spool.close(START)
    later = tmp_path / f"{spool.worker}-00000002.spool"
    later.write_bytes(b"")
    lock = estates.take_lock

    def unlink_first(fd: int, path: Path) -> bool:
        had = lock(fd, path)
        segment.path.unlink(missing_ok=True)
        return had

    monkeypatch.setattr(estates, "take_lock", unlink_first)
    assert claim(tmp_path, spool.worker) is None
    assert later.exists()


def test_nobody(tmp_path: Path) -> None:
    assert workers(tmp_path / "nowhere") == []
    assert claim(tmp_path, "w") is None


def test_an_empty_file_of_a_process_that_just_began(tmp_path: Path) -> None:
    (tmp_path / "w-00000001.spool").touch()
    estate = taken(tmp_path, "w")
    assert ids(estate) == ([], [])
    estate.remove()
    estate.close()
    assert list(tmp_path.iterdir()) == []
    assert Position(1, 0) > START
