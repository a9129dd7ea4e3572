"""The lines on stderr: as text, or a JSON object each.

Names and errors come from strangers. What they say is cut, and nothing of it ends a line, moves a
terminal's cursor or turns the direction of what follows: such characters are written as JSON would.
"""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from proxy.config import ConfigError, Problem
from proxy.telemetry.context import request_id, trace_id

Format = Literal["text", "json"]

FORMAT = "TURNOUT_LOG_FORMAT"
"""The environment's say; it counts before the configuration's, and before that is read."""

FIELDS = "turnout_fields"
"""Attribute of a log record: members that its line has of its own."""

HANDLER = "turnout"
LONGEST = 8 * 1024  # characters of a message; who has members of its own cuts them itself
LONGEST_TRACE = 32 * 1024  # characters of a traceback, whose last line may quote a value
QUIET = ("uvicorn.error", "watchfiles", "alembic")  # only heard when something is wrong


def format_of(configured: Format, environ: Mapping[str, str]) -> Format:
    """How lines are written. Raises `ConfigError` for a variable that says neither."""
    match environ.get(FORMAT, ""):
        case "":
            return configured
        case "text":
            return "text"
        case "json":
            return "json"
        case _:
            problem = Problem(FORMAT, None, "must be text or json")
            raise ConfigError("environment", [problem])


def set_up_logging(format: Format = "text") -> None:
    """Lines on stderr; uvicorn's own only when something is wrong. Called again it changes their
    format. A process that has set up its logging itself keeps that."""
    root = logging.getLogger()
    handler = next((each for each in root.handlers if each.get_name() == HANDLER), None)
    if handler is None and not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.set_name(HANDLER)
        root.addHandler(handler)
        root.setLevel(logging.INFO)
    if handler is not None:
        handler.setFormatter(JsonLines() if format == "json" else TextLines())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class TextLines(logging.Formatter):
    """`time LEVEL logger: message`, one line each; the lines of a traceback follow indented, so
    that none of them can pass for an entry."""

    def format(self, record: logging.LogRecord) -> str:
        place = f"{self.formatTime(record)} {record.levelname} {record.name}"
        lines = [f"{place}: {_one_line(_message(record))}"]
        if record.exc_info:
            trace = _cut(self.formatException(record.exc_info), LONGEST_TRACE)
            lines += (f"    {_one_line(each)}" for each in trace.split("\n"))
        return "\n".join(lines)


class JsonLines(logging.Formatter):
    """`ts` (UTC), `level`, `logger`, `message`; where there are some `request_id`, `trace_id`,
    `exception`, and members of the line's own."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        own: Mapping[str, Any] | None = getattr(record, FIELDS, None)
        line: dict[str, Any] = {
            "ts": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            "request_id": request_id(),
            "trace_id": trace_id(),
        }
        if record.exc_info:
            line["exception"] = _cut(self.formatException(record.exc_info), LONGEST_TRACE)
        line |= own or {}
        # ASCII only: no character of a name may end the line early for whoever reads it.
        return json.dumps({name: value for name, value in line.items() if value is not None})


def _message(record: logging.LogRecord) -> str:
    said = record.getMessage()
    return said if hasattr(record, FIELDS) else _cut(said, LONGEST)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} … ({len(text)} characters)"


def _one_line(text: str) -> str:
    """With every character that is not printed in the form that JSON has for it."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)
