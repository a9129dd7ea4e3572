"""AWS's event stream: what botocore reads of the same bytes, whatever way they are split."""

import struct
import zlib
from itertools import pairwise
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer, EventStreamHeaderParser
from hypothesis import given
from hypothesis import strategies as st

from adapters.eventstream import Decoder, Message, read_headers
from tests.recordings import Recording, of_path

STREAMS = of_path("/converse-stream")


def header(name: str, kind: int, value: bytes) -> bytes:
    """One header of a type, its value already encoded."""
    return bytes([len(name)]) + name.encode() + bytes([kind]) + value


def string(name: str, value: str) -> bytes:
    return header(name, 7, struct.pack(">H", len(value.encode())) + value.encode())


def framed(headers: bytes, payload: bytes = b"") -> bytes:
    """A message around its headers and payload; botocore reads it in these tests too."""
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def frame(kind: str, payload: bytes = b"{}", type: str = "event") -> bytes:
    """A message as Bedrock sends them."""
    return framed(string(f":{type}-type", kind) + string(":message-type", type), payload)


def read(stream: bytes, cuts: list[int], limit: int = 1 << 24) -> tuple[list[Message], bool]:
    """The messages, and whether the stream was corrupt."""
    decoder = Decoder(limit)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    messages: list[Message] = []
    for start, end in pairwise(edges):
        messages += decoder.feed(stream[start:end])
    return messages + decoder.finish(), decoder.corrupt


def botocore_reads(stream: bytes) -> list[tuple[dict[str, Any], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    return [(message.headers, message.payload) for message in buffer]


def test_there_are_recorded_streams() -> None:
    assert len(STREAMS) == 6


@pytest.mark.parametrize("recorded", STREAMS, ids=lambda recorded: recorded.id)
class TestRecorded:
    def test_it_is_read_as_botocore_reads_it(self, recorded: Recording) -> None:
        messages, corrupt = read(recorded.reply, [])
        expected = botocore_reads(recorded.reply)
        assert len(expected) > 5
        assert [(m.kind, m.payload) for m in messages] == [
            (headers[":event-type"], payload) for headers, payload in expected
        ]
        assert not corrupt
        assert not any(m.is_error for m in messages)

    def test_byte_by_byte(self, recorded: Recording) -> None:
        everywhere = list(range(len(recorded.reply)))
        assert read(recorded.reply, everywhere) == read(recorded.reply, [])

    @given(cuts=st.lists(st.integers(0, 1 << 14)))
    def test_any_split_gives_the_same(self, recorded: Recording, cuts: list[int]) -> None:
        assert read(recorded.reply, cuts) == read(recorded.reply, [])

    @given(at=st.integers(0, 1 << 14), mask=st.integers(1, 255), cuts=st.lists(st.integers(0, 999)))
    def test_a_flipped_byte_is_noticed(
        self, recorded: Recording, at: int, mask: int, cuts: list[int]
    ) -> None:
        """Every byte is under a checksum, so none after it counts."""
        at %= len(recorded.reply)
        broken = bytearray(recorded.reply)
        broken[at] ^= mask
        messages, corrupt = read(bytes(broken), cuts)
        whole, _ = read(recorded.reply, [])
        assert corrupt
        assert messages == whole[: len(messages)]
        assert len(messages) < len(whole)

    def test_a_stream_that_is_cut_gives_what_was_whole(self, recorded: Recording) -> None:
        messages, corrupt = read(recorded.reply[:-1], [])
        assert messages == read(recorded.reply, [])[0][:-1]
        assert not corrupt


HEADERS = [
    (0, b"", True),
    (1, b"", False),
    (2, b"\xff", -1),
    (3, b"\x01\x00", 256),
    (4, b"\xff\xff\xff\xfe", -2),
    (5, struct.pack(">q", -(2**40)), -(2**40)),
    (6, b"\x00\x03\x00\x01\x02", b"\x00\x01\x02"),
    (7, b"\x00\x03" + "é!".encode(), "é!"),
    (8, struct.pack(">q", 1_700_000_000_000), 1_700_000_000_000),
    (9, bytes(range(16)), bytes(range(16))),
]


@pytest.mark.parametrize(("kind", "encoded", "value"), HEADERS)
def test_all_types_of_headers_are_read(kind: int, encoded: bytes, value: object) -> None:
    data = header("before", kind, encoded) + string("after", "x")
    expected = EventStreamHeaderParser().parse(data)
    assert expected == {"before": value, "after": "x"}
    assert read_headers(data) == expected


def test_a_message_with_all_types_of_headers() -> None:
    headers = b"".join(header(f"h{kind}", kind, encoded) for kind, encoded, _ in HEADERS)
    stream = framed(headers + string(":event-type", "ping"), b"x")
    assert botocore_reads(stream)[0][0][":event-type"] == "ping"
    assert read(stream, []) == ([Message("ping", False, b"x", "")], False)


@pytest.mark.parametrize(
    "data",
    [
        b"\x05ab",
        b"\x01a",
        header("a", 10, b""),
        header("a", 3, b"\x00"),
        header("a", 7, b"\x00\x09short"),
        header("a", 7, b"\x00\x02\xff\xfe"),
        header("a", 9, b"0123456789"),
    ],
)
def test_headers_that_are_none(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_headers(data)
    assert read(frame("a") + framed(data) + frame("b"), []) == (read(frame("a"), [])[0], True)


def test_exceptions_and_errors() -> None:
    exception = frame("throttlingException", b'{"message":"slow"}', "exception")
    error = framed(
        string(":message-type", "error")
        + string(":error-code", "InternalFailure")
        + string(":error-message", "it broke")
    )
    assert read(exception + error, []) == (
        [
            Message("throttlingException", True, b'{"message":"slow"}', ""),
            Message("InternalFailure", True, b"", "it broke"),
        ],
        False,
    )


@pytest.mark.parametrize(
    ("length", "headers"), [(0, 0), (15, 0), (12, 0), (40, 25), (16, 2**32 - 1)]
)
def test_a_length_that_can_not_be_is_corrupt(length: int, headers: int) -> None:
    prelude = struct.pack(">II", length, headers)
    stream = frame("a") + prelude + struct.pack(">I", zlib.crc32(prelude)) + frame("b")
    messages, corrupt = read(stream, [])
    assert [message.kind for message in messages] == ["a"]
    assert corrupt


def test_the_shortest_message_is_one() -> None:
    assert botocore_reads(framed(b"")) == [({}, b"")]
    assert read(framed(b""), []) == ([Message("", False, b"", "")], False)


def test_a_message_over_the_limit_is_not_waited_for() -> None:
    small, large = frame("a", b"x" * 100), frame("b", b"x" * 200)
    decoder = Decoder(limit=len(small))
    assert [message.kind for message in decoder.feed(small)] == ["a"]
    assert decoder.feed(large[:11]) == []
    assert not decoder.overflow
    assert decoder.feed(large[11:12]) == []
    assert decoder.overflow
    assert not decoder.corrupt
    assert decoder.feed(large[12:] + small) == []
    assert decoder.finish() == []


def test_nothing_is_read_after_a_fault() -> None:
    decoder = Decoder()
    assert decoder.feed(b"HTTP/1.1 502 Bad Gateway\r\n\r\n") == []
    assert decoder.corrupt
    assert decoder.feed(frame("a")) == []


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_no_bytes_make_it_raise(data: bytes, cuts: list[int]) -> None:
    assert read(data, cuts)[0] == read(data, [])[0]
    assert read(framed(data), cuts)[1] in (True, False)
