"""Server-sent events, bytes to payloads, incrementally.

Reads what servers really send: LF, CRLF or CR line ends, a byte order mark, comments, `data:`
with or without a space, several `data:` lines an event, and a split anywhere, also inside a code
point. Lines are split on CR and LF only: `str.splitlines` would cut JSON at U+2028.
Source: WHATWG HTML, "Interpreting an event stream".
"""

import re
from typing import Any

LINE_LIMIT = 16 * 1024 * 1024
"""Bytes of one line, and of one event, that are still read."""

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")


def event(payload: bytes) -> bytes:
    """One event as Turnout writes it: a single `data:` line.

    A line break in a JSON payload can only stand between tokens, so a space says the same.
    """
    if b"\n" in payload:
        payload = payload.replace(b"\n", b" ")
    return b"data: " + payload + b"\n\n"


_TYPE = re.compile(r"[\w.-]{1,100}", re.ASCII)


def event_type(parsed: Any) -> str:
    """The `type` of an event that is written with its name. Raises `ValueError` for one that
    could not stand in a line of its own: it would write events of its sender's choosing."""
    kind = parsed["type"]
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise ValueError("an event without a type")
    return kind


class Decoder:
    """Feeds on bytes, gives the payloads (the joined `data:` lines) of complete events.

    `overflow` is set, and nothing more is read, when a line or an event passes `limit` bytes.
    """

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self.limit = limit
        self.overflow = False
        self._line: list[bytes] = []  # pieces of the line that has not ended yet
        self._line_size = 0
        self._data: list[bytes] = []  # data lines of the event that has not ended yet
        self._data_size = 0
        self._after_cr = False  # a CR ended the last line: an LF that follows belongs to it
        self._started = False

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of the events that `data` completes."""
        if self.overflow or not data:
            return []
        return self._feed_whole(data) or self._feed_lines(data)

    @property
    def is_between(self) -> bool:
        """Whether the bytes so far ended with an event: none has begun and not ended."""
        return not (self._line or self._data or self._after_cr or self.overflow)

    def finish(self) -> list[bytes]:
        """At the end of file: an event whose last line breaks were left out still counts."""
        return [] if self.overflow else self._feed_lines(b"\n\n")

    def _feed_whole(self, data: bytes) -> list[bytes] | None:
        """The common case, one scan in C: `data` is a run of whole one-line LF events."""
        if self._line or self._data or self._after_cr or b"\r" in data:
            return None
        if not (data.startswith(b"data: ") and data.endswith(b"\n\n")):
            return None
        breaks = data.count(b"\n")
        payloads = [data[6:-2]] if breaks == 2 else data[6:-2].split(b"\n\ndata: ")
        if breaks != 2 * len(payloads):
            return None  # several lines an event, or comments between
        self._started = True
        return payloads

    def _feed_lines(self, data: bytes) -> list[bytes]:
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
        self._after_cr = False
        payloads: list[bytes] = []
        start = 0
        for end in _LINE_END.finditer(data):
            self._hold(data[start : end.start()])
            if self._end_line(payloads):
                return payloads
            start = end.end()
        if start < len(data):
            self._hold(data[start:])
            if self._line_size > self.limit:
                self._drop()
        elif data.endswith(b"\r"):
            self._after_cr = True
        return payloads

    def _hold(self, piece: bytes) -> None:
        if piece:
            self._line.append(piece)
            self._line_size += len(piece)

    def _end_line(self, payloads: list[bytes]) -> bool:
        """Reads the held line; True when it was too large to go on."""
        line = b"".join(self._line)
        self._line.clear()
        self._line_size = 0
        if not self._started:
            self._started = True
            line = line.removeprefix(_BOM)
        if not line:
            if self._data:
                payloads.append(b"\n".join(self._data))
                self._data.clear()
                self._data_size = 0
        elif line.startswith(b"data"):
            self._take_data(line)
        if len(line) > self.limit or self._data_size > self.limit:
            self._drop()
        return self.overflow

    def _take_data(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._data_size += len(value)

    def _drop(self) -> None:
        self.overflow = True
        self._line.clear()
        self._data.clear()
