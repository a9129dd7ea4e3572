"""Whether an answer may be kept: complete, words and nothing else, in the form that was asked."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from adapters.base import Ask, JsonObject

ENDS = frozenset({"stop", "end_turn", "stop_sequence", "completed"})
"""Reasons to end that say that the answer is complete."""

OTHER_ENDS = {
    "tool_calls": "tool_call",
    "function_call": "tool_call",
    "tool_use": "tool_call",
    "refusal": "refusal",
    "content_filter": "filtered",
}
"""Reasons to end that have a word of their own."""

_WORD = re.compile(r"[a-z][a-z_]{0,30}")

_KINDS: dict[Any, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
"""JSON Schema's types; `integer` has a rule of its own."""


class Said(NamedTuple):
    """One choice of an answer. `finish` is the reason to end as the endpoint has it; `called`:
    it has anything but words and thought."""

    finish: Any
    text: str
    called: bool = False
    refused: bool = False
    filtered: bool = False


def judge(choices: Iterable[Said], form: JsonObject | None) -> str | None:
    """Why one of the choices may not be kept. `form` is the JSON Schema that was asked for."""
    for said in choices:
        if reason := _judge(said, form):
            return reason
    return None


def _judge(said: Said, form: JsonObject | None) -> str | None:
    if said.called:
        return "tool_call"
    if said.refused:
        return "refusal"
    if said.filtered:
        return "filtered"
    if said.finish not in ENDS:
        return OTHER_ENDS.get(said.finish) or f"finish_{_word(said.finish)}"
    if not said.text.strip():
        return "empty"
    return None if form is None or is_of_form(said.text, form) else "invalid_json"


def _word(finish: Any) -> str:
    """A reason as part of a metric's label: few and short, whatever the upstream says."""
    if finish is None:
        return "none"
    return finish if isinstance(finish, str) and _WORD.fullmatch(finish) else "other"


def given(ask: Ask, name: str) -> Any:
    """A member of the request, or else of its task's defaults."""
    value = ask.body.get(name)
    return ask.defaults.get(name) if value is None else value


def count_asked(ask: Ask) -> int:
    """`n`: how many choices are wanted."""
    wanted = given(ask, "n")
    return wanted if type(wanted) is int else 1


def form_of(wanted: Any) -> JsonObject | None:
    """The JSON Schema in a `response_format`, `text.format` or `output_config.format`.

    None where any text will do. Some vendors take a schema beside `json_object`.
    """
    match wanted:
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
        case {"type": "json_schema" | "json_object", "schema": dict(schema)}:
            return schema
        case {"type": "json_object"}:
            return {"type": "object"}
        case {"type": "json_schema"}:
            return {}
        case _:
            return None


def is_of_form(text: str, schema: JsonObject) -> bool:
    """Whether text is JSON of the schema's top-level type, with its required members.

    No more of the schema is looked at: that is for who asked.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if kinds != [None] and not any(_is_of_kind(value, kind) for kind in kinds):
        return False
    required = schema.get("required")
    if not isinstance(value, dict) or not isinstance(required, list):
        return True
    return all(name in value for name in required)


def _is_of_kind(value: Any, kind: Any) -> bool:
    if isinstance(value, bool):
        return bool(kind == "boolean")
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, _KINDS.get(kind, object))
