"""Whether words are in the form that was asked for."""

from typing import Any

import pytest

from adapters.answers.fitness import Said, count_asked, form_of, is_of_form, judge
from tests.adapters.asks import ask

OBJECT = {"type": "object"}


@pytest.mark.parametrize(
    ("wanted", "form"),
    [
        (None, None),
        ("json_object", None),
        ({"type": "text"}, None),
        ({"type": "grammar", "schema": {}}, None),
        ({"type": "json_object"}, OBJECT),
        ({"type": "json_object", "schema": {"type": "array"}}, {"type": "array"}),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": OBJECT}}, OBJECT),
        ({"type": "json_schema", "name": "x", "schema": OBJECT}, OBJECT),
        ({"type": "json_schema"}, {}),
        ({"type": "json_schema", "json_schema": {"schema": 1}}, {}),
    ],
)
def test_form_of(wanted: Any, form: Any) -> None:
    assert form_of(wanted) == form


@pytest.mark.parametrize(
    ("text", "schema", "is_it"),
    [
        ("{}", {}, True),
        ("x", {}, False),
        ("NaN", {}, False),
        ("", {}, False),
        ("{} {}", {}, False),
        ("{}", OBJECT, True),
        ("[]", OBJECT, False),
        ("null", OBJECT, False),
        ("[]", {"type": "array"}, True),
        ("null", {"type": ["object", "null"]}, True),
        ("1", {"type": ["object", "null"]}, False),
        ("1", {"type": "integer"}, True),
        ("1.0", {"type": "integer"}, True),
        ("1.5", {"type": "integer"}, False),
        ("true", {"type": "integer"}, False),
        ("true", {"type": "number"}, False),
        ("1.5", {"type": "number"}, True),
        ("true", {"type": "boolean"}, True),
        ("1", {"type": "boolean"}, False),
        ('"a"', {"type": "string"}, True),
        ("1", {"type": "something new"}, True),
        ('{"a": null, "c": 1}', {"type": "object", "required": ["a", "c"]}, True),
        ('{"a": 1}', {"type": "object", "required": ["a", "b"]}, False),
        ('{"a": 1}', {"required": ["b"]}, False),
        ("[]", {"required": ["b"]}, True),
        ("{}", {"required": "odd"}, True),
    ],
)
def test_is_of_form(text: str, schema: Any, is_it: bool) -> None:
    assert is_of_form(text, schema) is is_it


def test_the_first_reason_of_the_first_choice_that_has_one() -> None:
    fine = Said("stop", "words")
    assert judge([fine, fine], None) is None
    assert judge([fine, Said("length", ""), Said("stop", "")], None) == "finish_length"
    assert judge([fine], OBJECT) == "invalid_json"


@pytest.mark.parametrize("finish", ["stop", "end_turn", "stop_sequence", "completed"])
def test_good_ends(finish: str) -> None:
    assert judge([Said(finish, "words")], None) is None


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("max_tokens", "finish_max_tokens"), ("a" * 40, "finish_other"), (7, "finish_other")],
)
def test_bad_ends_are_short_words(finish: Any, reason: str) -> None:
    assert judge([Said(finish, "words")], None) == reason


def test_how_many_are_asked_for() -> None:
    assert count_asked(ask()) == 1
    assert count_asked(ask(n=3)) == 3
    assert count_asked(ask(n=None)) == 1
    assert count_asked(ask()._replace(defaults={"n": 2})) == 2
