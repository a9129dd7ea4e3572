"""Frames show whether they are whole; what they hold becomes rows."""

import time

import orjson
import pytest

from adapters.base import Endpoint, Usage
from proxy.ledger.frames import (
    Columns,
    Intent,
    frame,
    head_payload,
    intent_payload,
    scan,
    settle_payload,
    unknown,
)
from proxy.ledger.rows import ATTEMPT_COLUMNS, REQUEST_COLUMNS, attempt_row, request_row
from proxy.types import Attempt, Principal, Record, Role
from tests.proxy.ledger.records import record

PAYLOADS = [b'["a",1]', b'["b","' + b"x" * 40 + b'"]', b'["c"]']
DATA = b"".join(map(frame, PAYLOADS))
ENDS = [15, 15 + 8 + 48, 15 + 8 + 48 + 8 + 5]


def test_the_bytes_of_a_frame() -> None:
    # 0xCBF43926 is the check value of CRC-32 in every catalogue of checksums.
    assert frame(b"123456789") == b"\x09\x00\x00\x00\x26\x39\xf4\xcb123456789"


def test_frames_are_found_again() -> None:
    found = scan(DATA)
    assert found.payloads == list(zip(PAYLOADS, ENDS, strict=True))
    assert (found.end, found.damaged) == (len(DATA), 0)
    later = scan(DATA[15:], 15)
    assert later.payloads == list(zip(PAYLOADS[1:], ENDS[1:], strict=True))


@pytest.mark.parametrize("cut", range(len(DATA)))
def test_a_cut_leaves_the_frames_before_it(cut: int) -> None:
    found = scan(DATA[:cut])
    whole = sum(end <= cut for end in ENDS)
    assert [payload for payload, _ in found.payloads] == PAYLOADS[:whole]
    assert found.end == ([0, *ENDS][whole])
    assert found.end + found.needs > cut, "it knows that more is needed"
    assert found.damaged == 0


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
@pytest.mark.parametrize("at", range(len(DATA)))
def test_a_flipped_byte_never_passes(at: int, flip: int) -> None:
    data = bytearray(DATA)
    data[at] ^= flip
    found = scan(bytes(data))
    payloads = [payload for payload, _ in found.payloads]
    hit = sum(end <= at for end in ENDS)
    assert payloads[:hit] == PAYLOADS[:hit], "those before it are unharmed"
    assert all(payload in PAYLOADS[hit + 1 :] for payload in payloads[hit:])
    assert found.damaged or found.end < len(DATA), "and it is noticed"
    in_length = at - [0, *ENDS][hit] < 4
    if not in_length:
        assert payloads == PAYLOADS[:hit] + PAYLOADS[hit + 1 :]
        assert found.damaged == 1


@pytest.mark.parametrize("junk", [bytes(64), b"\xff" * 64])
def test_what_can_be_no_frame(junk: bytes) -> None:
    found = scan(DATA + junk)
    assert len(found.payloads) == 3
    assert (found.end, found.needs) == (len(DATA), 0)


def asking() -> tuple[Record, Attempt]:
    """A request as it is when its attempt is about to be sent."""
    made = Record("r1")
    made.started_at = 1_700_000_000.123
    made.endpoint, made.stream = Endpoint.CHAT, True
    made.principal = Principal(Role.KEY, "key_1")
    made.user, made.service, made.job, made.task = "u", "s", "j", "chat"
    made.name, made.metadata = "fast", {"team": "a"}
    attempt = Attempt("a1", 1, "up", "m", 2)
    attempt.started_at = 1_700_000_000.456
    made.attempts.append(attempt)
    return made, attempt


def intent_of(payload: bytes) -> Intent:
    kind, *values = orjson.loads(payload)
    assert kind == "intent"
    return Intent(*values)


def test_a_request_that_was_only_sent() -> None:
    made, attempt = asking()
    attempt.cost_nanousd = 70
    time.sleep(0.002)  # the times are the intent's, not those of today
    row, tries = unknown([intent_of(intent_payload(made, attempt, Usage(12, cached=3)))])
    values = dict(zip(REQUEST_COLUMNS, row, strict=True))
    expected = {
        "id": "r1", "created_at": 1_700_000_000_123, "user_id": "u", "service_name": "s",
        "job_id": "j", "task_type": "chat", "key_id": "key_1", "role": "key", "name": "fast",
        "provider_name": "up", "model": "m", "endpoint": "/v1/chat/completions", "stream": True,
        "status_code": 0, "outcome": "unknown", "input_tokens": 12, "cached_tokens": 3,
        "output_tokens": 0, "usage_source": "estimated", "cost_nanousd": 70, "attempts": 1,
        "duration_ms": 0, "first_token_ms": None, "metadata": '{"team":"a"}',
        "usage_type": "text", "error_code": None,
    }  # fmt: skip
    assert {name: values[name] for name in expected} == expected
    (one,) = tries
    values = dict(zip(ATTEMPT_COLUMNS, one, strict=True))
    expected = {
        "request_id": "r1", "number": 1, "id": "a1", "created_at": 1_700_000_000_456,
        "provider_name": "up", "model": "m", "credential": 2, "status_code": None,
        "outcome": "unknown", "input_tokens": 12, "output_tokens": 0,
        "usage_source": "estimated", "cost_nanousd": 70,
    }  # fmt: skip
    assert {name: values[name] for name in expected} == expected


def test_the_attempts_of_one_request_add_up() -> None:
    made, first = asking()
    second = Attempt("a2", 2, "other", "n", 0)
    intents = [
        intent_of(intent_payload(made, first, Usage(12))),
        intent_of(intent_payload(made, second, Usage(13))),
    ]
    row, tries = unknown(intents)
    values = dict(zip(REQUEST_COLUMNS, row, strict=True))
    assert (values["input_tokens"], values["attempts"], values["cost_nanousd"]) == (25, 2, None)
    assert (values["provider_name"], values["model"]) == ("other", "n")
    assert [one[:3] for one in tries] == [("r1", 1, "a1"), ("r1", 2, "a2")]


def test_a_request_of_which_little_is_known() -> None:
    made = Record("r2")
    row, tries = unknown([intent_of(intent_payload(made, Attempt("a", 1, "up", "m", 0), None))])
    values = dict(zip(REQUEST_COLUMNS, row, strict=True))
    assert (values["endpoint"], values["role"], values["input_tokens"]) == (None, None, 0)
    assert len(tries) == 1


def test_a_settled_request() -> None:
    made = record(metadata={"ü": 1}, error_message="\u2028")
    row, tries = request_row(made), [attempt_row(made, made.attempts[0])]
    kind, *values = orjson.loads(settle_payload(row, tries))
    assert kind == "settle"
    assert Columns().settled(*values) == (row, tries)
    assert Columns().id_of(values[0]) == made.id


def test_a_row_of_another_version_fits() -> None:
    """Columns that are gone are left out; those that came are empty."""
    had = Columns(["old", "model", "id"], ["model", "number", "request_id", "old"])
    row, tries = had.settled(["x", "m", "r1"], [["m", 1, "r1", "x"]])
    values = dict(zip(REQUEST_COLUMNS, row, strict=True))
    assert had.id_of(["x", "m", "r1"]) == "r1"
    assert (values["id"], values["model"], values["images"], values["user_id"]) == (
        "r1", "m", 0, None,
    )  # fmt: skip
    assert tries[0][:2] == ("r1", 1)
    with pytest.raises(ValueError):
        had.settled(["too", "short"], [])


def test_the_head_names_the_columns() -> None:
    kind, request, attempt = orjson.loads(head_payload())
    assert (kind, tuple(request), tuple(attempt)) == ("head", REQUEST_COLUMNS, ATTEMPT_COLUMNS)
