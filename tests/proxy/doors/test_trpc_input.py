"""What is read of tRPC's requests, and what is too much of it."""

import time

import pytest

from proxy.doors.trpc_input import Call, read_many, read_one, values

MANY = 3_000_000


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        (b"5", 0),
        (b"{}", 1),
        (b'{"a":[{"b":1}]}', 5),
        (b"[" + b"[]," * 200_000 + b"[]]", 200_002),
        (b'{"a":"' + b"[" * 200_001 + b'"}', 2),
        (b'{"a":"' + rb"\"[\\\"{:" * 200_001 + b'"}', 2),
    ],
)
def test_values(raw: bytes, number: int) -> None:
    assert values(raw) == number


@pytest.mark.parametrize(
    "raw",
    [
        b"[" + b"[]," * MANY + b"[]]",
        b"{" + b'"a":1,' * MANY + b'"a":1}',
        b'{"json":{},"meta":{"values":{"' + b"." * 6 * MANY + b'":["undefined"]}}}',
    ],
)
def test_nothing_takes_long(raw: bytes) -> None:
    began = time.process_time()
    read_one("a", {}, raw)
    read_many("a,b", {}, raw)
    assert time.process_time() - began < 1.5


def test_too_much_is_the_fault_of_each() -> None:
    raw = b"[" + b"[]," * 200_000 + b"[]]"
    for call in (read_one("a", {}, raw), *read_many("a,b", {}, raw)):
        assert call.fault is not None
        assert (call.fault.status, "200000 objects" in call.fault.message) == (400, True)


def test_without_a_body_the_query_counts() -> None:
    assert read_one("a", {"input": '{"json":{"b":1}}'}, None) == Call("a", {"b": 1}, None, True)
    assert read_one("a", {"b": "1"}, None) == Call("a", {"b": 1})
    query = {"batch": "1", "input": '{"1":{"json":{}}}'}
    assert [call.is_super for call in read_many("a,b,c", query, None)] == [False, True, False]


def test_marks_of_what_is_deep() -> None:
    wrapped = b'{"json":{"a":{"b":null,"c":null}},"meta":{"values":{"a.b":["undefined"]}}}'
    assert read_one("p", {}, wrapped).given == {"a": {"c": None}}
