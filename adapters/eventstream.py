"""AWS's binary event stream, bytes to messages, incrementally.

A message is a prelude (its length, the length of its headers, the CRC32 of these eight bytes), the
headers, a payload, and the CRC32 of all before it; numbers are big-endian. Nothing can be found
again after a length that is wrong, so a stream that is corrupt once stays so.
Source: Amazon Transcribe's developer guide, "Event stream encoding"; media type
application/vnd.amazon.eventstream.
"""

import struct
import zlib
from typing import NamedTuple

from adapters.sse import LINE_LIMIT

Value = bool | int | bytes | str
"""Of a header: a timestamp is the milliseconds since 1970, a UUID its sixteen bytes."""

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_LENGTH = struct.Struct(">H")
_INTEGERS = {
    2: struct.Struct(">b"),
    3: struct.Struct(">h"),
    4: struct.Struct(">i"),
    5: struct.Struct(">q"),
    8: struct.Struct(">q"),
}
"""Headers' type -> its number: byte, short, integer, long, timestamp."""


class Message(NamedTuple):
    """One message. `kind` is its `:event-type`, or what error it is; `message` an error's words
    where they stand in the headers."""

    kind: str
    is_error: bool
    payload: bytes
    message: str


class Decoder:
    """Feeds on bytes, gives complete messages.

    `overflow` is set when a message is to have more than `limit` bytes, `corrupt` when a checksum
    or a length is wrong; after either nothing more is read.
    """

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self.limit = limit
        self.overflow = False
        self.corrupt = False
        self._held = bytearray()
        self._wanted = _PRELUDE.size  # bytes to hold before there is more to know

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes."""
        if self._is_over():
            return []
        self._held += data
        messages: list[Message] = []
        start = 0
        while len(self._held) - start >= self._wanted:
            if self._wanted == _PRELUDE.size:
                self._read_prelude(start)
            else:
                end = start + self._wanted
                self._read(bytes(self._held[start:end]), messages)
                start = end
                self._wanted = _PRELUDE.size
            if self._is_over():
                self._held.clear()
                return messages
        del self._held[:start]
        return messages

    def finish(self) -> list[Message]:
        """At the end of file: a message without its end is none."""
        self._held.clear()
        return []

    def _is_over(self) -> bool:
        return self.overflow or self.corrupt

    def _read_prelude(self, start: int) -> None:
        length, headers, crc = _PRELUDE.unpack_from(self._held, start)
        shortest = _PRELUDE.size + headers + _CRC.size
        if zlib.crc32(self._held[start : start + 8]) != crc or length < shortest:
            self.corrupt = True
        elif length > self.limit:
            self.overflow = True
        self._wanted = length

    def _read(self, message: bytes, messages: list[Message]) -> None:
        """Reads a whole message; its prelude is known to be right."""
        end = len(message) - _CRC.size
        if zlib.crc32(message[:end]) != _CRC.unpack_from(message, end)[0]:
            self.corrupt = True
            return
        payload = _PRELUDE.size + _PRELUDE.unpack_from(message)[1]
        try:
            headers = read_headers(message[_PRELUDE.size : payload])
        except ValueError:
            self.corrupt = True
            return
        messages.append(_message(headers, message[payload:end]))


def read_headers(data: bytes) -> dict[str, Value]:
    """The headers of one message. Raises `ValueError` when they are none."""
    headers: dict[str, Value] = {}
    try:
        at = 0
        while at < len(data):
            name, at = _piece(data, at + 1, data[at])
            kind, at = data[at], at + 1
            headers[name.decode()], at = _value(data, at, kind)
    except (IndexError, struct.error) as error:
        raise ValueError("the headers of a message are cut short") from error
    return headers


def _value(data: bytes, at: int, kind: int) -> tuple[Value, int]:
    """A header's value of type `kind`, and where the next header begins."""
    if kind in (0, 1):
        return kind == 0, at
    if (number := _INTEGERS.get(kind)) is not None:
        value: int = number.unpack_from(data, at)[0]
        return value, at + number.size
    if kind == 9:
        return _piece(data, at, 16)
    if kind not in (6, 7):
        raise ValueError(f"a header is of type {kind}, which there is not")
    piece, end = _piece(data, at + _LENGTH.size, _LENGTH.unpack_from(data, at)[0])
    return (piece.decode() if kind == 7 else piece), end


def _piece(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    if at + length > len(data):
        raise IndexError
    return data[at : at + length], at + length


def _message(headers: dict[str, Value], payload: bytes) -> Message:
    """`:message-type` is event, exception (modelled, told in the payload) or error (not so)."""
    said = headers.get(":message-type")
    if said == "exception":
        return Message(str(headers.get(":exception-type", "")), True, payload, "")
    if said == "error":
        words = str(headers.get(":error-message", ""))
        return Message(str(headers.get(":error-code", "")), True, payload, words)
    return Message(str(headers.get(":event-type", "")), False, payload, "")
