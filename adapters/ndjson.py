"""Newline-delimited JSON, bytes to lines, incrementally.

A line is one JSON value; it ends with LF or CRLF, and the last one may end with the stream. Lines
are split on LF only: JSON may hold U+2028 as it is. Source: github.com/ndjson/ndjson-spec.
"""

from adapters.sse import LINE_LIMIT


class Decoder:
    """Feeds on bytes, gives the complete lines that are not blank, without their ends.

    `overflow` is set, and nothing more is read, when a line passes `limit` bytes.
    """

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self.limit = limit
        self.overflow = False
        self._line: list[bytes] = []  # pieces of the line that has not ended yet
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes."""
        lines: list[bytes] = []
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._hold(piece)
            if self.overflow:
                return lines
            line = b"".join(self._line).removesuffix(b"\r")
            self._line.clear()
            self._size = 0
            if line.strip():
                lines.append(line)
        self._hold(rest)
        return lines

    def finish(self) -> list[bytes]:
        """At the end of file: a last line without its newline still counts."""
        return self.feed(b"\n")

    def _hold(self, piece: bytes) -> None:
        if self.overflow or not piece:
            return
        self._line.append(piece)
        self._size += len(piece)
        if self._size > self.limit:
            self.overflow = True
            self._line.clear()
