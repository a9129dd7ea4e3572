"""What is appended is on disk whole, or not at all."""

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest

from proxy.ledger import spool as spools
from proxy.ledger.frames import frame, head_payload
from proxy.ledger.spool import START, Part, Position, Segment, Spool, offset_file, read, take_lock
from tests.proxy.ledger.crashing import run, said

HEAD = len(frame(head_payload()))


def contents(segment: Segment) -> list[object]:
    """What the file holds behind its head."""
    part = read(segment.fd, HEAD, segment.path.stat().st_size)
    return [entry for entry, _ in part.entries]


def left(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


def is_locked(path: Path) -> bool:
    fd = os.open(path, os.O_RDWR)
    try:
        return not take_lock(fd, path)
    finally:
        os.close(fd)


def test_frames_are_on_disk_at_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    segment = spool.append(b"[1]")
    assert spool.append(b"[2]") is segment
    assert segment.path.name == f"{spool.worker}-00000001.spool"
    assert segment.path.read_bytes() == frame(head_payload()) + frame(b"[1]") + frame(b"[2]")
    assert segment.end == Position(1, segment.path.stat().st_size)
    assert contents(segment) == [[1], [2]]
    assert (segment.path.stat().st_mode & 0o777, spool.folder.stat().st_mode & 0o777) == (
        0o600, 0o700,
    )  # fmt: skip
    spool.close(START)


def test_a_segment_is_locked_as_long_as_it_is_ours(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    segment = spool.append(b"[1]")
    segment.settled = segment.size
    assert is_locked(segment.path)
    spool.close(START)
    assert not is_locked(segment.path), "it stays, for the next start"
    with pytest.raises(OSError, match="closed"):
        spool.append(b"[2]")


def test_a_full_segment_is_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "SEGMENT", 2_000)
    spool = Spool(tmp_path)
    for number in range(30):
        segment = spool.append(b"[%d,%s]" % (number, b"0" * 490))
        segment.settled = segment.size
    assert [s.sequence for s in spool.segments] == list(range(1, len(spool.segments) + 1))
    assert 5 < len(spool.segments) < 20
    assert all(is_locked(s.path) for s in spool.segments)
    assert spool.after(spool.segments[0]) is spool.segments[1]
    assert spool.after(spool.segments[-1]) is None

    first, second, third = spool.segments[:3]
    second.open = 1
    spool.drop_finished(Position(third.sequence, third.settled), before=2)
    assert (first.path.exists(), second.path.exists()) == (False, True)
    spool.drop_finished(Position(third.sequence, third.settled - 1))
    assert third.path.exists(), "it holds one that is not in the database"
    last = spool.segments[-1]
    spool.drop_finished(last.end)
    assert [s.sequence for s in spool.segments] == [2, last.sequence - 1, last.sequence]
    second.open = 0
    spool.close(last.end)
    assert left(tmp_path) == []


def test_many_segments_are_long_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes a file descriptor, also when the database is away for a day."""
    monkeypatch.setattr(spools, "SEGMENT", 2_000)
    spool = Spool(tmp_path)
    for _ in range(2_000):
        spool.append(b"[%s]" % (b" " * 490))
    assert len(spool.segments) < 60
    spool.close(START)


def test_a_frame_longer_than_a_slice(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    long = b'["' + b"x" * (3 * spools.SLICE) + b'"]'
    segment = spool.append(b"[1]")
    spool.append(long)
    spool.append(b"[2]")
    found, at = [], 0
    while (part := read(segment.fd, at, segment.size)).end > at:
        found += [entry for entry, _ in part.entries]
        at = part.end
    assert found[1:] == [[1], [long[2:-2].decode()], [2]]
    assert at == segment.size
    spool.close(START)


def test_a_frame_that_is_no_json_is_left_out(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    segment = spool.append(b"nonsense")
    spool.append(b"[1]")
    part = read(segment.fd, HEAD, segment.size)
    assert part == Part([([1], segment.size)], segment.size, 8, 1)
    spool.close(START)


def test_a_file_may_grow_no_more(tmp_path: Path) -> None:
    """RLIMIT_FSIZE cuts a write short in the middle of a frame, then refuses it."""
    lines = {word: rest for word, *rest in said(run("starve", tmp_path, 65_536))}
    number, error = map(int, lines["full"])
    assert (number, error) == ((65_536 - HEAD) // 1_018, errno.EFBIG)
    size, known = map(int, lines["size"])
    assert size == known == HEAD + number * 1_018, "the part of a frame is cut off again"
    frames, size, known = map(int, lines["frames"])
    assert (frames, size) == (number + 1, known)


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs a mount namespace")
def test_a_disk_without_space(tmp_path: Path) -> None:
    """A real one, full in the middle of a frame; then there is space again."""
    lines = said(run("starve_mount", tmp_path, wrapper=["unshare", "-rm"]))
    if not lines or lines[0] == ["no", "mount"]:
        pytest.skip("no right to mount")
    words = {word: rest for word, *rest in lines}
    number, error = map(int, words["full"])
    assert (number > 100, error) == (True, errno.ENOSPC)
    size, known = map(int, words["size"])
    assert size == known == HEAD + number * 1_018
    frames, size, known = map(int, words["frames"])
    assert (frames, size) == (number + 1, known)


def test_a_full_device(tmp_path: Path) -> None:
    """The very first write fails; as soon as one does not, all is well."""
    spool = Spool(tmp_path)
    segment = spool.append(b"[1]")
    ours, full = os.dup(segment.fd), os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, segment.fd)
    for _ in range(2):
        with pytest.raises(OSError) as failure:
            spool.append(b"[2]")
        assert failure.value.errno == errno.ENOSPC
    os.dup2(ours, segment.fd)
    spool.append(b"[3]")
    assert contents(segment) == [[1], [3]]
    os.close(full)
    os.close(ours)
    spool.close(START)


def test_no_first_segment(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    spool = Spool(tmp_path / "spool")
    for attempt in (spool.open, lambda: spool.append(b"[1]")):
        with pytest.raises(OSError):
            attempt()
    (tmp_path / "spool").unlink()
    assert contents(spool.append(b"[1]")) == [[1]]
    spool.close(START)


def test_no_next_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the present one goes on."""
    monkeypatch.setattr(spools, "SEGMENT", 2_000)
    folder = tmp_path / "spool"
    spool = Spool(folder)
    spool.append(b"[1]")
    folder.rename(tmp_path / "away")
    folder.write_text("in the way")
    for number in range(2, 12):
        segment = spool.append(b"[%d,%s]" % (number, b" " * 490 + b"0"))
    assert [s.sequence for s in spool.segments] == [1]
    assert len(contents_of(tmp_path / "away" / segment.path.name)) == 11
    folder.unlink()
    (tmp_path / "away").rename(folder)
    for _ in range(10):
        spool.append(b"[0,%s]" % (b" " * 490 + b"0"))
    assert len(spool.segments) > 1
    spool.close(START)


def contents_of(path: Path) -> list[object]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return [entry for entry, _ in read(fd, HEAD, path.stat().st_size).entries]
    finally:
        os.close(fd)


def test_a_new_segment_that_another_process_took_for_a_dead_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the making of a file and its lock anybody may lock it; it is left to them then."""
    thieves = []

    def steal_first(fd: int, path: Path) -> bool:
        if not thieves:
            thieves.append(os.open(path, os.O_RDWR))
            fcntl.flock(thieves[0], fcntl.LOCK_EX)
        return take_lock(fd, path)

    monkeypatch.setattr(spools, "take_lock", steal_first)
    spool = Spool(tmp_path)
    segment = spool.append(b"[1]")
    assert segment.sequence == 2
    assert contents(segment) == [[1]]
    assert (tmp_path / f"{spool.worker}-00000001.spool").stat().st_size == 0
    spool.close(START)
    os.close(thieves[0])


def test_a_lock_on_a_file_that_is_gone_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.spool"
    path.touch()
    gone = os.open(path, os.O_RDWR)
    path.unlink()
    assert not take_lock(gone, path)
    path.touch()
    assert not take_lock(gone, path), "another one of the same name"
    os.close(gone)


def test_what_is_written_is_synced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(spools, "fdatasync", lambda fd: synced.append(os.fstat(fd).st_ino))
    spool = Spool(tmp_path)
    segment = spool.append(b"[1]")
    assert spool.is_dirty
    work = spool.unsynced()
    spool.append(b"[2]")
    spools.sync(work)
    assert spool.is_dirty, "the second one came too late for it"
    spools.sync(spool.unsynced())
    assert not spool.is_dirty
    assert synced == [segment.path.stat().st_ino] * 2
    assert spool.unsynced() == []
    spool.close(START)


def test_a_sync_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(spools, "fdatasync", fail)
    spool = Spool(tmp_path)
    spool.append(b"[1]")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="broken"):
        spools.sync(spool.unsynced())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert spool.is_dirty
    spool.close(START)


def test_how_far_the_database_is_is_noted(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    segment = spool.append(b"[1]")
    segment.settled = segment.size
    spool.note(Position(1, 5))
    spool.note(Position(1, 4))
    boot, *position = offset_file(tmp_path, spool.worker).read_text().split()
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert list(map(int, position)) == [1, 4]
    spool.close(segment.end)
    assert left(tmp_path) == []
