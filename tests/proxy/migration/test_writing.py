"""YAML that people read."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.migration.writing import WIDTH, comment, flow, section, table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("openai/gpt-4o", "openai/gpt-4o"),
        ("${KEY}", '"${KEY}"'),
        ("30s", "30s"),
        ("2024-10-21", '"2024-10-21"'),
        ("on", '"on"'),
        ("a: b", '"a: b"'),
        ("12", '"12"'),
        (0.000001, "0.000001"),
        (1e-12, "0.000000000001"),
        (2.5, "2.5"),
        (10, "10"),
        (True, "true"),
        (None, "null"),
        (["a", {"b": 1}], "[a, {b: 1}]"),
    ],
)
def test_values(value: Any, text: str) -> None:
    assert flow(value) == text


@given(st.text())
def test_any_text_is_read_as_it_was(text: str) -> None:
    assert yaml.safe_load(flow([text])) == [text]
    assert yaml.safe_load(table("t", {text: text})) == {"t": {text: text}}


def test_long_sections_have_a_line_for_each_field() -> None:
    assert section("retry", {"attempts": 4}) == "retry: {attempts: 4}\n"
    long = {f"field{n}": "x" * 30 for n in range(4)}
    assert section("s", long).splitlines()[:2] == ["s:", f"  field0: {'x' * 30}"]
    entry = {"targets": [{"target": "p/" + "m" * 60, "weight": 1} for _ in range(2)]}
    assert yaml.safe_load(table("models", {"a": entry})) == {"models": {"a": entry}}


def test_comments_stay_comments() -> None:
    lines = list(comment("- one\nproviders: {} " + "word " * 40))
    assert len(lines) > 1
    assert all(line.startswith("# ") and len(line) <= WIDTH + 2 for line in lines)
