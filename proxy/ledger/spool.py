"""The spool: one process's frames on disk, from before an attempt is sent until they are booked.

A process writes segments, `<worker>-<sequence>.spool`; `worker` is made anew at each start, and
each segment is locked (flock) as long as its process lives. So a spool whose locks can be had is
that of a process which died (`proxy.ledger.estate`).

`<worker>.offset` says up to where the rows are in the database. It saves work and no more, as
rows that are written twice are in the books once. It is believed only on the boot that it was
written in: a power loss may take the last commits of the database back, and not this file.

Nothing here knows of the event loop. `Spool.append` is one write(2), quick enough for it; what
may take long says that it blocks.
"""

import errno
import fcntl
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from proxy.ids import uuid7
from proxy.ledger import frames
from proxy.ledger.frames import SETTLE, Rows, frame

SEGMENT = 8 << 20  # bytes after which another segment is begun
SEGMENTS = 8  # so many, and the next ones are double the size: a file descriptor is kept for each
SLICE = 1 << 17  # bytes that are read and written to the database at once

log = logging.getLogger("turnout.ledger")

fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has none


class Position(NamedTuple):
    """A place in a spool: the segment's sequence number, and an offset in it."""

    sequence: int
    offset: int


START = Position(0, 0)


class Segment:
    """One file that this process writes or has written.

    `size` and `synced` are bytes written and safe from a power loss; `settled` is the offset
    behind the last request that was settled in it, and `open` counts intents in it whose request
    is not settled.
    """

    __slots__ = ("fd", "full_at", "open", "path", "sequence", "settled", "size", "synced")

    def __init__(self, path: Path, sequence: int, fd: int, size: int, full_at: int) -> None:
        self.path = path
        self.sequence = sequence
        self.fd = fd
        self.size = size
        self.full_at = full_at
        self.synced = 0
        self.settled = 0
        self.open = 0

    @property
    def end(self) -> Position:
        return Position(self.sequence, self.size)

    def is_finished(self, shipped: Position) -> bool:
        """Whether the database has all that it holds, when it has everything up to `shipped`."""
        return not self.open and (not self.settled or (self.sequence, self.settled) <= shipped)


class Unsynced(NamedTuple):
    """Bytes of a segment that are to be synced, by a descriptor of their own."""

    segment: Segment
    size: int
    fd: int


class Spool:
    """The segments of this process, oldest first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.worker = uuid7()
        self.segments: list[Segment] = []
        self._current: Segment | None = None
        self._sequence = 0
        self._offset_fd: int | None = None
        self._is_closed = False

    @property
    def is_dirty(self) -> bool:
        return any(segment.size > segment.synced for segment in self.segments)

    def open(self) -> None:
        """Makes the first segment, which `append` would make. Raises `OSError`."""
        if self._current is None:
            self._current = self._create()

    def append(self, payload: bytes) -> Segment:
        """The segment that ends with this payload now.

        Raises `OSError` when the disk can't take it, and leaves nothing of it there then.
        """
        segment = self._current
        if segment is None or segment.size >= segment.full_at:
            segment = self._next()
        data = frame(payload)
        done = os.write(segment.fd, data)
        if done != len(data):
            self._complete(segment, data, done)
        segment.size += len(data)
        return segment

    def after(self, segment: Segment) -> Segment | None:
        """The segment that comes next."""
        later = (s for s in self.segments if s.sequence > segment.sequence)
        return next(later, None)

    def drop_finished(self, shipped: Position, before: int | None = None) -> None:
        """Unlinks what the database has; of the segments older than `before` only.

        The last but one stays in any case: SQLite syncs its log every few megabytes, so a power
        loss may take back what it has committed since.
        """
        for segment in self.segments[:-2]:
            if segment.is_finished(shipped) and (before is None or segment.sequence < before):
                self._drop(segment)

    def unsynced(self) -> list[Unsynced]:
        """What `sync` has to do. Raises `OSError`."""
        dirty = [segment for segment in self.segments if segment.size > segment.synced]
        return [Unsynced(segment, segment.size, os.dup(segment.fd)) for segment in dirty]

    def note(self, shipped: Position) -> None:
        """Writes down what the database has. Best effort."""
        text = f"{boot()} {shipped.sequence:012d} {shipped.offset:016d}\n"
        with suppress(OSError):
            if self._offset_fd is None:
                path = offset_file(self.folder, self.worker)
                self._offset_fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
            os.pwrite(self._offset_fd, text.encode(), 0)

    def close(self, shipped: Position) -> None:
        """Unlinks what the database has and leaves the rest to the next start."""
        self._is_closed = True
        self.note(shipped)
        for segment in list(self.segments):
            if segment.is_finished(shipped):
                self._drop(segment)
        if self._offset_fd is not None:
            os.close(self._offset_fd)
            self._offset_fd = None
        if not self.segments:
            with suppress(OSError):
                offset_file(self.folder, self.worker).unlink(missing_ok=True)
        for segment in self.segments:
            os.close(segment.fd)
        self.segments, self._current = [], None

    def _complete(self, segment: Segment, data: bytes, done: int) -> None:
        """The rest of a write that was cut short. A frame that can't be whole is cut off."""
        try:
            while done < len(data):
                done += os.write(segment.fd, data[done:])
        except OSError:
            try:
                os.ftruncate(segment.fd, segment.size)
            except OSError:
                self._current = None  # nothing may follow what is torn
            raise

    def _next(self) -> Segment:
        """Another segment; the present one goes on when the disk has no room for another."""
        present = self._current
        try:
            self._current = self._create()
        except OSError as error:
            if present is None:
                raise
            present.full_at = present.size + SEGMENT // 8
            log.error("no new segment of the spool: %s", error)
            return present
        return self._current

    def _create(self) -> Segment:
        if self._is_closed:
            raise OSError(errno.EBADF, "the spool is closed")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            self._sequence += 1
            path = self.folder / f"{self.worker}-{self._sequence:08d}.spool"
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_RDWR, 0o600)
            try:
                if not take_lock(fd, path):
                    os.close(fd)  # another process took it for a dead one's, and will unlink it
                    continue
                head = frame(frames.head_payload())
                if os.write(fd, head) != len(head):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                path.unlink(missing_ok=True)
                os.close(fd)
                raise
            full_at = SEGMENT << (len(self.segments) // SEGMENTS)
            segment = Segment(path, self._sequence, fd, len(head), full_at)
            self.segments.append(segment)
            return segment

    def _drop(self, segment: Segment) -> None:
        try:
            segment.path.unlink(missing_ok=True)  # before the lock is gone with the descriptor
        except OSError as error:
            log.error("a segment of the spool stays: %s", error)
        os.close(segment.fd)
        self.segments.remove(segment)
        if self._current is segment:
            self._current = None


def sync(work: Sequence[Unsynced]) -> None:
    """Blocks until the disk has it. Raises the first `OSError`."""
    failed: OSError | None = None
    for segment, size, fd in work:
        try:
            fdatasync(fd)
            if not segment.synced:
                _sync_folder(segment.path.parent)  # a new file's name, too
            segment.synced = size
        except OSError as error:
            failed = failed or error
        finally:
            os.close(fd)
    if failed is not None:
        raise failed


class Part(NamedTuple):
    """What a slice of a segment holds: (entry, offset after it)."""

    entries: list[tuple[list[Any], int]]
    end: int
    needs: int
    damaged: int


def read(fd: int, start: int, stop: int) -> Part:
    """The frames at `start`, about a slice of them; blocks. Without any, `end` is `start`."""
    length = SLICE
    while True:
        data = os.pread(fd, min(length, stop - start), start)
        found = frames.scan(data, start)
        if found.end > start or found.needs <= length or start + found.needs > stop:
            break
        length = found.needs  # a frame longer than a slice
    entries = []
    damaged = found.damaged
    for payload, end in found.payloads:
        try:
            entries.append((orjson.loads(payload), end))
        except orjson.JSONDecodeError:
            damaged += 1
    return Part(entries, found.end, found.needs, damaged)


def settled(part: Part) -> Rows:
    """The rows of a part that this process has written."""
    mine = [entry for entry, _ in part.entries if entry[0] == SETTLE]
    return (
        [tuple(row) for _, row, _ in mine],
        [tuple(one) for _, _, tries in mine for one in tries],
    )


def take_lock(fd: int, path: Path) -> bool:
    """Whether the lock was free, and the file is still the one of that name."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(fd), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def offset_file(folder: Path, worker: str) -> Path:
    return folder / f"{worker}.offset"


@cache
def boot() -> str:
    """Another one after each start of the machine, and for each process where none is known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return uuid7()


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
