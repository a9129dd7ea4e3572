"""A configuration as YAML that people read: sections in our order, a line an entry, comments."""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import yaml

WIDTH = 98
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./:@+-]*")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        inside = (f"{flow(key)}: {flow(held)}" for key, held in value.items())
        return "{" + ", ".join(inside) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _number(value)


def _number(value: float) -> str:
    """Digits without an exponent: YAML takes `1e-06` for text."""
    if isinstance(value, int):
        return str(value)
    return f"{Decimal(repr(value)).normalize():f}"


def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and yaml.safe_load(f"[{value}]") == [value]:
        return value
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if _UNPRINTABLE.match(character) or not character.isprintable():
        number = ord(character)
        return f"\\x{number:02x}" if number < 0x100 else f"\\U{number:08x}"
    return character


def comment(text: str, indent: str = "") -> Iterator[str]:
    """Lines of a comment, none of them longer than the rest of the file if words allow it."""
    line = indent
    for word in _UNPRINTABLE.sub("?", text).split(" "):
        if line.strip() and len(line) + len(word) + 3 > WIDTH:
            yield f"# {line}"
            line = indent + "  "
        line += word if not line.strip() else f" {word}"
    yield f"# {line}"


def section(name: str, fields: Mapping[str, Any]) -> str:
    """A section on one line, or with a line for each field where that is too long."""
    line = f"{name}: {flow(fields)}\n"
    return line if len(line) <= WIDTH else table(name, fields)


def table(name: str, entries: Mapping[str, Any]) -> str:
    """A section with a line for each entry, or more where one is long."""
    lines = [f"{name}:"]
    for key, value in entries.items():
        lines += _entry(_text(key), value, "  ")
    return "\n".join(lines) + "\n"


def _entry(key: str, value: Any, indent: str) -> Iterator[str]:
    line = f"{indent}{key}: {flow(value)}"
    if len(line) <= WIDTH or not isinstance(value, dict | list) or not value:
        yield line
    elif isinstance(value, dict):
        yield f"{indent}{key}:"
        for inside, held in value.items():
            yield from _entry(_text(str(inside)), held, indent + "  ")
    else:
        yield f"{indent}{key}:"
        for held in value:
            yield f"{indent}  - {flow(held)}"
