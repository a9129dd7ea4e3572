"""The spools of processes that died: who takes one over, and what it leaves to the books.

What was settled goes into the books as it is, and what was only sent as unknown. All of this
blocks; the writer calls it in threads.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from proxy.ledger import frames
from proxy.ledger.frames import Columns, Intent, Rows
from proxy.ledger.rows import Row
from proxy.ledger.spool import START, Part, Position, boot, offset_file, read, take_lock

TAIL = 1 << 16  # bytes at the end that a torn frame may be; a file with more is kept for a look

STRANGE = (TypeError, ValueError, LookupError)
"""What a frame raises that is whole, but not as this version of Turnout writes it."""

log = logging.getLogger("turnout.ledger")


class Estate:
    """The spool of a process that died. Locked until `close`."""

    def __init__(self, worker: str, files: Sequence[tuple[Path, int]], shipped: Position) -> None:
        self.worker = worker
        self.damaged = 0  # frames that could not be read
        self._files = list(files)
        self._shipped = shipped
        self._turn = 0  # of the files
        self._offset = 0
        self._columns = Columns()
        self._unsettled: dict[str, list[Intent]] = {}
        self._spoiled: set[Path] = set()

    def read(self) -> Rows | None:
        """The rows of the next slice that were settled; None after the last one."""
        while self._turn < len(self._files):
            path, fd = self._files[self._turn]
            size = os.fstat(fd).st_size
            part = read(fd, self._offset, size)
            if part.damaged:
                self._note_damage(path, part.damaged)
            if part.end > self._offset:
                self._offset = part.end
                return self._sort(part, path)
            self._note_tail(path, fd, size, part.needs)
            self._turn += 1
            self._offset = 0
        return None

    def unknown(self) -> list[tuple[Row, list[Row]]]:
        """After the last `read`: the requests that were never settled, with their attempts."""
        found = []
        for intents in self._unsettled.values():
            try:
                found.append(frames.unknown(intents))
            except STRANGE:
                self._note_damage(self._files[0][0], 1)
        return found

    def remove(self) -> None:
        """Once all is in the database. A damaged file is kept under another name. `OSError`."""
        for path, _ in reversed(self._files):  # whoever finds a part of it finds it locked
            if path in self._spoiled:
                path.rename(path.with_suffix(".damaged"))
            else:
                path.unlink()
        offset_file(self._files[0][0].parent, self.worker).unlink(missing_ok=True)

    def close(self) -> None:
        for _, fd in self._files:
            os.close(fd)
        self._files = []

    def _sort(self, part: Part, path: Path) -> Rows:
        rows: list[Row] = []
        all_tries: list[Row] = []
        sequence = _sequence(path)
        for entry, end in part.entries:
            try:
                match entry:
                    case [frames.SETTLE, row, tries]:
                        fitted, fitted_tries = self._columns.settled(row, tries)
                        self._unsettled.pop(self._columns.id_of(row), None)
                        if (sequence, end) > self._shipped:
                            rows.append(fitted)
                            all_tries += fitted_tries
                    case [frames.INTENT, *values]:
                        intent = Intent(*values[: len(Intent._fields)])
                        self._unsettled.setdefault(intent.request, []).append(intent)
                    case [frames.HEAD, request, attempt]:
                        self._columns = Columns(request, attempt)
                    case _:
                        raise ValueError(f"an unknown kind of frame, {str(entry)[:20]}")
            except STRANGE:
                self._note_damage(path, 1)
        return rows, all_tries

    def _note_damage(self, path: Path, count: int) -> None:
        self.damaged += count
        self._spoiled.add(path)
        log.error("%d damaged frames in %s, which is kept", count, path.name)

    def _note_tail(self, path: Path, fd: int, size: int, needs: int) -> None:
        """What is behind the last whole frame: torn by the death, or the zeros of a power loss."""
        left = size - self._offset
        if not left:
            return
        if left <= TAIL and (needs or not any(os.pread(fd, left, self._offset))):
            log.warning("the last frame of %s is torn: %d bytes", path.name, left)
        else:
            self._note_damage(path, 1)


def workers(folder: Path) -> list[str]:
    """Those that have a spool here, alive or dead."""
    try:
        return sorted({p.name.partition("-")[0] for p in folder.iterdir() if p.suffix == ".spool"})
    except FileNotFoundError:
        return []


def claim(folder: Path, worker: str) -> Estate | None:
    """A spool, when its process is dead and nobody else has it. Raises `OSError`.

    The oldest segment's lock is the first one that anybody takes, so of several claimants one
    gets them all. A second look at the folder is for what the process wrote before it died and
    after the first look.
    """
    files: list[tuple[Path, int]] = []
    estate = None
    try:
        while estate is None and (paths := _segments(folder, worker)):
            had = [path for path, _ in files]
            if had == paths:
                estate = Estate(worker, files, _shipped(folder, worker))
            elif had != paths[: len(had)] or not _take(paths[len(had)], files):
                break
    finally:
        if estate is None:
            for _, fd in files:
                os.close(fd)
    return estate


def _take(path: Path, files: list[tuple[Path, int]]) -> bool:
    """Opens one more, and whether its lock was free."""
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    files.append((path, fd))
    return take_lock(fd, path)


def _segments(folder: Path, worker: str) -> list[Path]:
    return sorted(folder.glob(f"{worker}-*.spool"), key=_sequence)


def _sequence(path: Path) -> int:
    digits = path.stem.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0


def _shipped(folder: Path, worker: str) -> Position:
    """What the offset's file says, if it says so on this boot."""
    try:
        written, sequence, offset = offset_file(folder, worker).read_text().split()
        return Position(int(sequence), int(offset)) if written == boot() else START
    except (OSError, ValueError):
        return START
