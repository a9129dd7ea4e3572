"""Nothing that was submitted is lost, also when the process, the database or the disk fails."""

import asyncio
import errno
import logging
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.base import Usage
from proxy.ledger import spool as spools
from proxy.ledger import writer as writers
from proxy.ledger.books import Books
from proxy.ledger.frames import intent_payload, settle_payload
from proxy.ledger.rows import attempt_row, request_row
from proxy.ledger.spool import START, Spool
from proxy.ledger.writer import LedgerFull, Writer
from proxy.storage import engine as engines
from proxy.storage.engine import open_database
from proxy.storage.schema import attempts, requests
from proxy.types import Record
from tests.proxy.ledger.crashing import UNSETTLED, run, said
from tests.proxy.ledger.records import record


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = await open_database("sqlite:///t.db", tmp_path)
    yield engine
    await engine.dispose()


async def counts(engine: AsyncEngine) -> tuple[int, int]:
    async with engine.connect() as connection:
        found = [
            (await connection.execute(select(func.count()).select_from(table))).scalar()
            for table in (requests, attempts)
        ]
    return found[0] or 0, found[1] or 0


async def test_records_are_written_once(engine: AsyncEngine) -> None:
    writer = Writer(Books(engine))
    await writer.start()
    twice = record()
    for made in [record() for _ in range(120)] + [twice, twice]:
        writer.submit(made)
    await writer.flush()
    assert await counts(engine) == (121, 121)
    assert (writer.pending, writer.lost) == (0, 0)
    await writer.stop()


async def test_the_end_writes_what_waits(engine: AsyncEngine) -> None:
    writer = Writer(Books(engine))
    await writer.start()
    for _ in range(30):
        writer.submit(record())
    await writer.stop()
    assert await counts(engine) == (30, 30)


async def test_a_locked_database_loses_nothing(engine: AsyncEngine, tmp_path: Path) -> None:
    held = threading.Event()

    def hold() -> None:
        with sqlite3.connect(tmp_path / "t.db", isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            held.set()
            time.sleep(1)
            other.execute("ROLLBACK")
        other.close()

    holding = threading.Thread(target=hold)
    holding.start()
    held.wait()
    writer = Writer(Books(engine))
    await writer.start()
    before = time.monotonic()
    for _ in range(10):
        writer.submit(record())
    assert time.monotonic() - before < 0.1, "a request never waits for the database"
    await writer.flush()
    assert await counts(engine) == (10, 10)
    await writer.stop()
    holding.join()


async def test_a_database_that_fails_is_tried_again(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    async with engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE attempts RENAME TO away")
    writer = Writer(Books(engine))
    await writer.start()
    with caplog.at_level(logging.ERROR):
        writer.submit(record())
        while "wait: the database failed" not in caplog.text:
            await asyncio.sleep(0.02)
    assert await counts_of(engine) == 0, "a request without its attempts is not written"
    async with engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE away RENAME TO attempts")
    await writer.flush()
    assert await counts(engine) == (1, 1)
    await writer.stop()


async def counts_of(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        found = await connection.execute(select(func.count()).select_from(requests))
        return found.scalar() or 0


async def test_what_can_not_even_wait_is_counted_aloud(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writers, "UNSPOOLED_LIMIT", 3)
    writer = Writer(Books(engine))
    for _ in range(5):
        writer.submit(record())
    assert (writer.pending, writer.lost) == (3, 2)
    assert "lost" in caplog.text


def spooled(folder: Path) -> list[str]:
    """What is in a spool's folder; the kinds of files."""
    return sorted(path.suffix for path in folder.iterdir())


def request(writer: Writer) -> Record:
    """One that is sent and answered."""
    made = record()
    writer.intent(made, made.attempts[0], Usage(7))
    writer.submit(made)
    return made


async def found(engine: AsyncEngine) -> dict[str, tuple[str, int, int]]:
    """Each request's outcome and tokens. Fails when an attempt does not say the same."""
    async with engine.connect() as connection:
        rows = (
            await connection.execute(
                select(
                    requests.c.id,
                    requests.c.outcome,
                    requests.c.input_tokens,
                    requests.c.output_tokens,
                    requests.c.usage_source,
                )
            )
        ).all()
        tries = (
            await connection.execute(
                select(
                    attempts.c.request_id,
                    attempts.c.input_tokens,
                    attempts.c.output_tokens,
                )
            )
        ).all()
    assert len(rows) == len(tries)
    assert {(row[0], row[2], row[3]) for row in rows} == {tuple(one) for one in tries}
    assert all((row[4] == "estimated") == (row[1] == "unknown") for row in rows)
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


async def test_what_is_in_the_database_is_spooled_no_more(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "SEGMENT", 20_000)
    folder = tmp_path / "spool"
    writer = Writer(Books(engine), folder)
    await writer.start()
    for _ in range(5):
        for _ in range(60):
            request(writer)
        await writer.flush()
    assert await counts(engine) == (300, 300)
    assert spooled(folder) == [".offset", ".spool", ".spool"]
    await writer.stop()
    assert spooled(folder) == []
    assert (writer.pending, writer.lost, writer.unspooled, writer.degraded) == (0, 0, 0, None)


async def test_an_open_request_keeps_its_intent(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many segments are written after it; and it goes when the request is settled."""
    monkeypatch.setattr(spools, "SEGMENT", 20_000)
    folder = tmp_path / "spool"
    writer = Writer(Books(engine), folder)
    await writer.start()
    long = record()
    writer.intent(long, long.attempts[0], Usage(7))
    for _ in range(200):
        request(writer)
    await writer.flush()
    oldest = min(folder.glob("*.spool"))
    assert oldest.name.endswith("-00000001.spool")
    assert len(list(folder.glob("*.spool"))) == 3
    writer.submit(long)
    await writer.flush()
    assert not oldest.exists()
    await writer.stop()
    assert spooled(folder) == []
    assert len(await found(engine)) == 201


async def test_a_stop_leaves_to_the_next_start_what_it_can_not_write(
    engine: AsyncEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "spool"
    await rename(engine, "attempts", "away")
    writer = Writer(Books(engine), folder)
    await writer.start()
    settled = [request(writer) for _ in range(300)]
    sent = record()
    writer.intent(sent, sent.attempts[0], Usage(7))
    await writer.stop()
    assert (writer.pending, writer.lost) == (300, 0)
    assert "300 usage records wait" in caplog.text
    await rename(engine, "away", "attempts")
    after = Writer(Books(engine), folder)
    await after.start()
    while await counts_of(engine) < 301:
        await asyncio.sleep(0.02)
    rows = await found(engine)
    assert rows.pop(sent.id) == ("unknown", 7, 0)
    assert rows == {made.id: ("ok", 10, 5) for made in settled}
    await after.stop()
    assert spooled(folder) == []


async def test_after_the_stop_a_record_is_lost_aloud(
    engine: AsyncEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Writer(Books(engine), tmp_path / "spool")
    await writer.start()
    await writer.stop()
    writer.submit(record())
    assert writer.lost == 1
    assert "1 usage records lost: the writer has stopped" in caplog.text


async def rename(engine: AsyncEngine, table: str, name: str) -> None:
    async with engine.begin() as connection:
        await connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")


@pytest.mark.parametrize("limit", [10_000, 500])
async def test_thirty_thousand_while_the_database_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limit: int
) -> None:
    """Memory holds the first ones and the spool the rest; then all are there, once."""
    monkeypatch.setattr(engines, "BUSY", 100)
    monkeypatch.setattr(writers, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(writers, "LIMIT", limit)
    engine = await open_database("sqlite:///t.db", tmp_path)
    other = sqlite3.connect(tmp_path / "t.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    writer = Writer(Books(engine), tmp_path / "spool")
    await writer.start()
    slowest = 0.0
    for _ in range(30):
        before = time.monotonic()
        for _ in range(1_000):
            request(writer)
        slowest = max(slowest, time.monotonic() - before)
        await asyncio.sleep(0.02)
    assert slowest < 1, "a request never waits for the database"
    assert (writer.pending, len(writer._queue)) == (30_000, limit)
    assert "wait: the database failed with OperationalError" in caplog.text
    other.execute("ROLLBACK")
    other.close()
    late = [request(writer) for _ in range(50)]  # while it catches up
    most = 0
    while writer.pending:
        most = max(most, len(writer._queue))
        await asyncio.sleep(0.01)
    assert most <= limit
    await writer.flush()
    late.append(request(writer))
    await writer.flush()
    rows = await found(engine)
    assert len(rows) == 30_051
    assert all(rows[made.id] == ("ok", 10, 5) for made in late)
    await writer.stop()
    assert (writer.lost, spooled(tmp_path / "spool")) == (0, [])
    await engine.dispose()


async def test_segments_are_read_to_their_end_before_they_go(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose last frames are intents that were settled long since."""
    monkeypatch.setattr(writers, "LIMIT", 1)
    monkeypatch.setattr(spools, "SLICE", 2_000)
    monkeypatch.setattr(spools, "SEGMENT", 10_000)
    await rename(engine, "attempts", "away")
    folder = tmp_path / "spool"
    writer = Writer(Books(engine), folder)
    await writer.start()
    for _ in range(4):
        request(writer)
    made = [record() for _ in range(100)]
    for one in made:
        writer.intent(one, one.attempts[0])
    for one in made:
        writer.submit(one)
    assert len(list(folder.glob("*.spool"))) > 5
    await rename(engine, "away", "attempts")
    await asyncio.wait_for(writer.flush(), 20)
    assert await counts(engine) == (104, 104)
    await writer.stop()
    assert (writer.lost, spooled(folder)) == (0, [])


async def test_a_damaged_part_of_what_only_the_spool_has(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is counted as lost, and the rest is written."""
    monkeypatch.setattr(writers, "LIMIT", 2)
    writer = Writer(Books(engine), tmp_path / "spool")
    for _ in range(5):
        writer.submit(record())
    (path,) = (tmp_path / "spool").glob("*.spool")
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(data.rindex(b"settle"))
        file.write(b"x")
    await writer.start()
    await writer.flush()
    assert (writer.lost, writer.pending) == (1, 0)
    assert await counts(engine) == (4, 4)
    writer.submit(record())
    await writer.flush()
    assert await counts(engine) == (5, 5)
    await writer.stop()


async def test_a_row_that_no_database_takes_keeps_no_other_waiting(
    engine: AsyncEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Writer(Books(engine), tmp_path / "spool")
    await writer.start()
    bad = record()
    bad.attempts[0].provider = None  # type: ignore[assignment]
    for made in (record(), bad, record()):
        writer.submit(made)
    await writer.flush()
    assert await counts(engine) == (2, 2)
    assert writer.lost == 1
    assert f"the database refuses the record of {bad.id}: IntegrityError" in caplog.text
    await writer.stop()
    assert spooled(tmp_path / "spool") == []


async def test_what_json_can_not_say_is_written_all_the_same(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    writer = Writer(Books(engine), tmp_path / "spool", "reject")
    await writer.start()
    odd = record(cost_nanousd=2**70)
    odd.attempts[0].cost_nanousd = 2**70
    writer.intent(odd, odd.attempts[0])
    writer.submit(odd)
    await writer.flush()
    assert await counts(engine) == (1, 1)
    assert (writer.unspooled, writer.degraded) == (2, None)
    await writer.stop()


class FullDisk:
    """Puts /dev/full in the place of a segment's file: each write fails with ENOSPC."""

    def __init__(self, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spools, "fdatasync", lambda fd: None)  # that of a device fails
        assert writer._spool is not None
        self._fd = writer._spool.segments[-1].fd
        self._ours = os.dup(self._fd)
        full = os.open("/dev/full", os.O_RDWR)
        os.dup2(full, self._fd)
        os.close(full)

    def make_room(self) -> None:
        os.dup2(self._ours, self._fd)
        os.close(self._ours)


async def test_a_full_disk_is_served_and_told_of(
    engine: AsyncEngine,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "spool"
    writer = Writer(Books(engine), folder)
    await writer.start()
    disk = FullDisk(writer, monkeypatch)
    for _ in range(600):
        request(writer)
    assert writer.degraded == "the spool can't be written: No space left on device"
    assert writer.unspooled == 1200
    alarms = [r.getMessage() for r in caplog.records if r.levelno == logging.CRITICAL]
    assert [alarm.split()[0] for alarm in alarms] == ["1", "1000"]
    await writer.flush()
    assert await counts(engine) == (600, 600), "the database has them all the same"
    disk.make_room()
    last = request(writer)
    assert (writer.degraded, writer.unspooled) == (None, 1200)
    await writer.flush()
    assert (await found(engine))[last.id] == ("ok", 10, 5)
    await writer.stop()
    assert (writer.lost, spooled(folder)) == (0, [])


async def test_an_intent_whose_request_was_not_spooled_goes_when_that_is_written(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "spool"
    writer = Writer(Books(engine), folder)
    await writer.start()
    made = record()
    writer.intent(made, made.attempts[0], Usage(7))
    disk = FullDisk(writer, monkeypatch)
    writer.submit(made)
    disk.make_room()
    await writer.flush()
    assert await found(engine) == {made.id: ("ok", 10, 5)}
    await writer.stop()
    assert spooled(folder) == []


async def test_a_full_disk_is_rejected(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(Books(engine), tmp_path / "spool", "reject")
    await writer.start()
    disk = FullDisk(writer, monkeypatch)
    made = record()
    with pytest.raises(LedgerFull, match="No space left on device"):
        writer.intent(made, made.attempts[0])
    writer.submit(made)  # that of the refusal: never fails
    assert (writer.unspooled, writer.pending) == (2, 1)
    disk.make_room()
    request(writer)
    assert writer.degraded is None
    await writer.flush()
    assert await counts(engine) == (2, 2)
    await writer.stop()


async def test_room_is_noticed_without_a_request(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that is not ready gets none."""
    monkeypatch.setattr(writers, "PROBE_EVERY", 0.05)
    writer = Writer(Books(engine), tmp_path / "spool")
    await writer.start()
    disk = FullDisk(writer, monkeypatch)
    request(writer)
    await asyncio.sleep(0.2)
    assert writer.degraded is not None
    disk.make_room()
    while writer.degraded is not None:
        await asyncio.sleep(0.01)
    assert writer.unspooled == 2, "trying is no loss"
    await writer.stop()
    assert spooled(tmp_path / "spool") == []


async def test_a_full_disk_while_the_database_is_away(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then memory has more than usual, and only what is too much for it is lost. The rows come
    from three places: memory, the spool, and memory again."""
    monkeypatch.setattr(writers, "LIMIT", 10)
    monkeypatch.setattr(writers, "UNSPOOLED_LIMIT", 30)
    await rename(engine, "attempts", "away")
    writer = Writer(Books(engine), tmp_path / "spool")
    await writer.start()
    for _ in range(15):
        request(writer)
    disk = FullDisk(writer, monkeypatch)
    for _ in range(25):
        request(writer)
    assert (writer.pending, writer.lost, len(writer._queue)) == (35, 5, 30)
    disk.make_room()
    request(writer)
    await rename(engine, "away", "attempts")
    await writer.flush()
    assert await counts(engine) == (36, 36)
    await writer.stop()
    assert (writer.pending, writer.lost, spooled(tmp_path / "spool")) == (0, 5, [])


async def test_a_stop_loses_what_is_nowhere(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither on the disk nor in the database; what is on the disk is unknown at the next start."""
    await rename(engine, "attempts", "away")
    writer = Writer(Books(engine), tmp_path / "spool")
    await writer.start()
    made = [record(), record()]
    writer.intent(made[0], made[0].attempts[0], Usage(7))
    disk = FullDisk(writer, monkeypatch)
    for one in made:
        writer.submit(one)
    await asyncio.sleep(0.1)
    disk.make_room()
    await writer.stop()
    assert writer.lost == 2
    await rename(engine, "away", "attempts")
    after = Writer(Books(engine), tmp_path / "spool")
    assert await after.take_over() == 1
    assert await found(engine) == {made[0].id: ("unknown", 7, 0)}


async def test_a_folder_that_can_not_be_made(engine: AsyncEngine, tmp_path: Path) -> None:
    """The start goes on; the spool begins when it can."""
    folder = tmp_path / "spool"
    folder.write_text("in the way")
    writer = Writer(Books(engine), folder)
    await writer.start()
    assert writer.degraded == "the spool can't be opened: File exists"
    request(writer)
    assert writer.unspooled == 2
    folder.unlink()
    request(writer)
    assert writer.degraded is None
    await writer.flush()
    assert await counts(engine) == (2, 2)
    await writer.stop()


async def test_a_disk_that_does_not_sync(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = threading.Event()

    def sync(fd: int) -> None:
        if not works.is_set():
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(spools, "fdatasync", sync)
    writer = Writer(Books(engine), tmp_path / "spool")
    await writer.start()
    while writer.degraded is None:
        await asyncio.sleep(0.01)
    assert writer.degraded == "the spool can't be synced: Input/output error"
    request(writer)
    assert writer.degraded is not None, "a write alone is no cure"
    works.set()
    while writer.degraded is not None:
        await asyncio.sleep(0.01)
    assert writer.sync_errors > 0
    await writer.stop()


async def test_what_is_written_is_synced_within_a_tenth_of_a_second_one_at_a_time(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[float] = []
    at_once, most = 0, 0

    def sync(fd: int) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(0.02)
        synced.append(time.monotonic())
        at_once -= 1

    monkeypatch.setattr(spools, "fdatasync", sync)
    writer = Writer(Books(engine), tmp_path / "spool")
    await writer.start()
    await asyncio.sleep(0.2)
    synced.clear()
    began = time.monotonic()
    while time.monotonic() < began + 0.5:
        request(writer)
        await asyncio.sleep(0.001)
    assert 3 <= len(synced) <= 12, "many writes, few syncs"
    assert synced[0] - began < 0.2
    assert most == 1
    await asyncio.sleep(0.2)
    assert writer._spool is not None
    assert not writer._spool.is_dirty
    count = len(synced)
    await asyncio.sleep(0.2)
    assert len(synced) == count, "nothing is written, nothing is synced"
    await writer.stop()


async def test_a_task_that_failed_is_told_of(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = Books(engine)

    async def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(books, "write", fail)
    writer = Writer(books, tmp_path / "spool")
    await writer.start()
    request(writer)
    while writer.degraded is None:
        await asyncio.sleep(0.01)
    await writer.stop()
    assert spooled(tmp_path / "spool") == [".offset", ".spool"]


def leave(folder: Path, settled: int, sent: int) -> tuple[list[str], list[str]]:
    """The spool of a process that died, with so many requests; their ids."""
    spool = Spool(folder)
    made = [record() for _ in range(settled + sent)]
    for one in made:
        segment = spool.append(intent_payload(one, one.attempts[0], Usage(7)))
    for one in made[:settled]:
        spool.append(settle_payload(request_row(one), [attempt_row(one, one.attempts[0])]))
    segment.open = 1
    spool.close(START)
    ids = [one.id for one in made]
    return ids[:settled], ids[settled:]


def expected(settled: list[str], sent: list[str]) -> dict[str, tuple[str, int, int]]:
    return {**dict.fromkeys(settled, ("ok", 10, 5)), **dict.fromkeys(sent, ("unknown", 7, 0))}


async def test_a_dead_spool_is_written_once(engine: AsyncEngine, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    left = leave(folder, 1_000, 250)
    (path,) = folder.glob("*.spool")
    data = path.read_bytes()
    writer = Writer(Books(engine), folder)
    assert await writer.take_over() == 1
    assert await found(engine) == expected(*left)
    assert spooled(folder) == []
    assert await writer.take_over() == 0
    path.write_bytes(data)  # as if the process had died before it unlinked the file
    assert await writer.take_over() == 1
    assert await found(engine) == expected(*left)


async def test_a_dead_spool_waits_for_the_database(
    engine: AsyncEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "spool"
    left = leave(folder, 2_000, 10)
    await rename(engine, "attempts", "away")
    writer = Writer(Books(engine), folder)
    await writer.start()
    while "a dead process's spool waits: OperationalError" not in caplog.text:
        await asyncio.sleep(0.01)
    await rename(engine, "away", "attempts")
    while await counts_of(engine) < 2_010:
        await asyncio.sleep(0.02)
    assert await found(engine) == expected(*left)
    await writer.stop()
    assert spooled(folder) == []


async def test_a_worker_that_dies_later_is_noticed(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "LOOK_EVERY", 0.05)
    folder = tmp_path / "spool"
    writer = Writer(Books(engine), folder)
    await writer.start()
    await asyncio.sleep(0.1)
    process = run("hold", folder)
    assert process.stdout is not None
    process.stdout.readline()
    await asyncio.sleep(0.3)
    assert len(list(folder.glob("*.spool"))) == 2, "it lives: it is left alone"
    process.kill()
    process.communicate()
    while len(list(folder.glob("*.spool"))) == 2:
        await asyncio.sleep(0.02)
    await writer.stop()


async def test_two_processes_take_over_at_once(engine: AsyncEngine, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    left = [leave(folder, 200, 20) for _ in range(15)]
    processes = [run("replay", tmp_path, folder) for _ in range(2)]
    taken = [int(word) for process in processes for [word] in said(process)]
    assert len(taken) == 2
    assert sum(taken) == 15, "each one by one of them"
    assert await found(engine) == {k: v for one in left for k, v in expected(*one).items()}
    assert spooled(folder) == []


async def test_killed_twenty_times(engine: AsyncEngine, tmp_path: Path) -> None:
    """At random moments, while it writes and while it takes over its predecessors' spools."""
    folder = tmp_path / "spool"
    lines = await asyncio.to_thread(said, run("killed", tmp_path, folder, 20))
    writer = Writer(Books(engine), folder)
    await writer.take_over()
    rows = await found(engine)
    sent = {name: int(number) for word, name, number in lines if word == "intent"}
    settled = {name for word, name, _ in lines if word == "settle"}
    assert len(sent) > 200
    assert len(settled) > 100
    assert sent.keys() <= rows.keys(), "nothing is lost"
    assert len(rows.keys() - sent.keys()) <= 20, "at most one for each kill was not told of"
    for name, number in sent.items():
        answered, unknown = ("ok", number, 2 * number), ("unknown", 7, 0)
        if name in settled:
            assert rows[name] == answered
        elif number % UNSETTLED == 0:
            assert rows[name] == unknown
        else:
            assert rows[name] in (answered, unknown), "it died before it could tell"
    assert spooled(folder) == []


async def test_killed_without_a_spool(engine: AsyncEngine, tmp_path: Path) -> None:
    """Then rows are lost: the test above can fail."""
    lines = await asyncio.to_thread(said, run("killed", tmp_path, "none", 3))
    rows = await found(engine)
    settled = {name for word, name, _ in lines if word == "settle"}
    assert settled
    assert settled - rows.keys()
    assert not any(outcome == "unknown" for outcome, _, _ in rows.values())
