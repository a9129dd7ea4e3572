"""Lines of log, as text and as JSON. What the command writes is in tests/e2e/test_serve_logs.py."""

import json
import logging
import sys
from typing import Any

import pytest

from proxy.config import ConfigError
from proxy.telemetry.context import UNDER_WAY
from proxy.telemetry.logs import FIELDS, JsonLines, TextLines, format_of
from proxy.types import Record, Trace


def line(message: str, *args: Any, **extra: Any) -> dict[str, Any]:
    made = logging.LogRecord("turnout.x", logging.WARNING, "f.py", 1, message, args, None)
    made.created = 1_700_000_000.25
    made.__dict__.update(extra)
    said = JsonLines().format(made)
    assert said.isascii()
    assert "\n" not in said
    found: dict[str, Any] = json.loads(said)
    return found


def test_a_line() -> None:
    assert line("it %s\n\u2028", "broké") == {
        "ts": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "turnout.x",
        "message": "it broké\n\u2028",
    }


def test_a_line_of_a_request() -> None:
    record = Record("0190")
    record.trace = Trace(0xABC, 1, None, True)
    token = UNDER_WAY.set(record)
    try:
        found = line("x")
    finally:
        UNDER_WAY.reset(token)
    assert (found["request_id"], found["trace_id"]) == ("0190", "abc".rjust(32, "0"))


def test_members_of_its_own() -> None:
    found = line("{}", **{FIELDS: {"message": "request", "status": 200, "request_id": "7"}})
    assert (found["message"], found["status"], found["request_id"]) == ("request", 200, "7")


def test_a_traceback() -> None:
    try:
        raise ValueError("oh")
    except ValueError:
        found = line("it failed", exc_info=sys.exc_info())
    assert found["message"] == "it failed"
    assert found["exception"].endswith("ValueError: oh")


def test_half_a_character_is_written_too() -> None:
    assert line("\ud800")["message"] == "\ud800"


def test_the_environment_counts_first() -> None:
    assert format_of("json", {}) == "json"
    assert format_of("json", {"TURNOUT_LOG_FORMAT": "text"}) == "text"
    assert format_of("text", {"TURNOUT_LOG_FORMAT": "json"}) == "json"
    with pytest.raises(ConfigError, match="TURNOUT_LOG_FORMAT: must be text or json"):
        format_of("text", {"TURNOUT_LOG_FORMAT": "xml"})


def text(message: str, *args: Any, **extra: Any) -> str:
    made = logging.LogRecord("turnout.x", logging.WARNING, "f.py", 1, message, args, None)
    made.__dict__.update(extra)
    return TextLines().format(made).partition(",")[2][4:]


def test_a_text_line() -> None:
    assert text("it %s", "broké ✓") == "WARNING turnout.x: it broké ✓"


def test_nothing_of_a_name_ends_a_line_or_moves_a_cursor() -> None:
    forged = "a\n2026-11-21 INFO: b\r\x1b[2J\x00\x7f\x9b\u2028\u202e\U000e0001"
    assert text("%s", forged) == (
        "WARNING turnout.x: a\\n2026-11-21 INFO: b\\r\\u001b[2J\\u0000\\u007f\\u009b\\u2028\\u202e"
        "\\udb40\\udc01"
    )


def test_a_traceback_is_indented() -> None:
    try:
        raise ValueError("oh\n2026-11-21 00:00:00,000 INFO turnout.access: forged" + "x" * 100_000)
    except ValueError:
        said = text("it failed", exc_info=sys.exc_info())
    first, *rest = said.split("\n")
    assert first == "WARNING turnout.x: it failed"
    assert all(line.startswith("    ") for line in rest)
    assert 32_000 < len(said) < 34_000


def test_a_long_message_is_cut() -> None:
    long = "x" * 100_000
    assert text(long) == "WARNING turnout.x: " + "x" * 8192 + " … (100000 characters)"
    assert line(long)["message"] == "x" * 8192 + " … (100000 characters)"
    assert line(long, **{FIELDS: {"request": long}})["request"] == long
