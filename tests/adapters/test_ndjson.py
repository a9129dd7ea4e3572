"""Newline-delimited JSON: the same lines whatever way the bytes are split and the lines ended."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ndjson import Decoder
from adapters.sse import LINE_LIMIT

LINES = [b'{"a":1}', '{"t":"é\u2028\x85日"}'.encode(), b'{"b":"\\r\\n"}', b'{"done":true}']


def read(stream: bytes, cuts: list[int]) -> list[bytes]:
    decoder = Decoder()
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    lines: list[bytes] = []
    for start, end in pairwise(edges):
        lines += decoder.feed(stream[start:end])
    return lines + decoder.finish()


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\n\n", b"\r\n \r\n"])
@given(cuts=st.lists(st.integers(0, 300)))
def test_any_split_gives_the_same_lines(newline: bytes, cuts: list[int]) -> None:
    assert read(newline.join(LINES) + newline, cuts) == LINES


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [b"", b"\r", b"\n"])
def test_byte_by_byte_and_without_a_last_newline(newline: bytes, last: bytes) -> None:
    stream = newline.join(LINES) + last
    assert read(stream, list(range(len(stream)))) == LINES
    assert read(stream, []) == LINES


@pytest.mark.parametrize(
    ("stream", "lines"),
    [
        (b"", []),
        (b"\n\r\n \n", []),
        (b"{}", [b"{}"]),
        (b"{}\r{}\n", [b"{}\r{}"]),
        (b" {}\n", [b" {}"]),
    ],
)
def test_what_is_a_line(stream: bytes, lines: list[bytes]) -> None:
    assert read(stream, []) == lines
    assert read(stream, list(range(len(stream)))) == lines


def test_a_line_is_given_as_soon_as_it_ends() -> None:
    decoder = Decoder()
    assert decoder.feed(b"{") == []
    assert decoder.feed(b"}\n[") == [b"{}"]
    assert decoder.feed(b"]") == []
    assert decoder.finish() == [b"[]"]
    assert decoder.finish() == []


def test_a_long_line_passes_and_a_longer_one_overflows() -> None:
    decoder = Decoder(limit=1000)
    assert decoder.feed(b"x" * 1000 + b"\n") == [b"x" * 1000]
    assert decoder.feed(b"ok\n" + b"y" * 600) == [b"ok"]
    assert not decoder.overflow
    assert decoder.feed(b"y" * 600) == []
    assert decoder.overflow
    assert decoder.feed(b"\nlate\n") == []
    assert decoder.finish() == []


def test_the_lines_before_an_overflow_are_given() -> None:
    decoder = Decoder(limit=10)
    assert decoder.feed(b"{}\n" + b"z" * 11 + b"\n{}\n") == [b"{}"]
    assert decoder.overflow


def test_the_limit_is_that_of_events() -> None:
    assert Decoder().limit == LINE_LIMIT == 16 * 1024 * 1024
