"""Server-sent events: the same payloads whatever way the bytes are split and the lines ended."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sse import Decoder, event

EVENTS = [b'{"a":1}', '{"t":"é\u2028日"}'.encode(), b'{"b":2}', b"[DONE]"]


def read(stream: bytes, cuts: list[int]) -> list[bytes]:
    decoder = Decoder()
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    payloads: list[bytes] = []
    for start, end in pairwise(edges):
        payloads += decoder.feed(stream[start:end])
    return payloads + decoder.finish()


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@given(cuts=st.lists(st.integers(0, 300)))
def test_any_split_gives_the_same_payloads(newline: bytes, cuts: list[int]) -> None:
    lines = [b": ping", b"", *(line for e in EVENTS for line in (b"event: x", b"data: " + e, b""))]
    stream = b"".join(line + newline for line in lines)
    assert read(stream, cuts) == EVENTS


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_byte_by_byte(newline: bytes) -> None:
    stream = b"".join(b"data: " + e + newline + newline for e in EVENTS)
    assert read(stream, list(range(len(stream)))) == EVENTS


@pytest.mark.parametrize(
    ("stream", "payloads"),
    [
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\n\n", [b""]),
        (b": comment\n\nid: 1\nretry: 5\n\ndata: a\n\n", [b"a"]),
        (b"database: no\n\ndata: a\n\n", [b"a"]),
        (b"data: a", [b"a"]),
        (b"data: a\n", [b"a"]),
        (b"\n\n\n", []),
        (b"data: a\r\n\r\ndata: b\n\ndata: c\r\r", [b"a", b"b", b"c"]),
    ],
)
def test_what_servers_send(stream: bytes, payloads: list[bytes]) -> None:
    assert read(stream, []) == payloads
    assert read(stream, list(range(len(stream)))) == payloads


def test_a_long_line_passes_and_a_longer_one_overflows() -> None:
    decoder = Decoder(limit=1000)
    assert decoder.feed(b"data: " + b"x" * 900 + b"\n\n") == [b"x" * 900]
    assert decoder.feed(b"data: ok\n\ndata: ") == [b"ok"]
    assert decoder.feed(b"y" * 600) == []
    assert not decoder.overflow
    assert decoder.feed(b"y" * 600) == []
    assert decoder.overflow
    assert decoder.feed(b"\n\ndata: late\n\n") == []
    assert decoder.finish() == []


def test_many_data_lines_count_as_one_event() -> None:
    decoder = Decoder(limit=100)
    assert decoder.feed(b"data: 0123456789\n" * 20) == []
    assert decoder.overflow


def test_an_event_is_written_on_one_line() -> None:
    assert event(b'{"a":\n1}') == b'data: {"a": 1}\n\n'
