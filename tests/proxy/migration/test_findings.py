"""What a conversion says, and what it keeps to itself."""

from typing import Any

import pytest

from proxy.migration.findings import Findings, Secrets, is_off, shown
from proxy.migration.source import Node, Tree


def node(value: Any, *path: str | int, line: int = 1) -> Node:
    return Node(Tree({}, {path: f"c.yaml:{line}"}), path, value)


def test_the_same_is_told_once_with_every_place() -> None:
    findings = Findings()
    for line in (4, 9, 9, 12):
        findings.tell(node(0.2, "l", line, "seed", line=line), "0.2", "do so")
    findings.tell(node(1, "other", line=2), "1", "do not")
    assert [str(one) for one in findings.all] == [
        "c.yaml:4: l[4].seed: 0.2; do so (also c.yaml:9, c.yaml:12)",
        "c.yaml:2: other: 1; do not",
    ]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("switch", True, "on"),
        ("limit", 7, "7"),
        ("api_key", 12345678, "a value"),
        ("password", 5, "a value"),
        ("text", "anything at all", "a value"),
        ("list", ["a"], "a list"),
        ("map", {"a": 1}, "settings"),
    ],
)
def test_values_are_shown_where_they_give_nothing_away(key: str, value: Any, words: str) -> None:
    assert shown(node(value, key)) == words


def test_what_is_off() -> None:
    assert all(is_off(node(value, "k")) for value in (None, False, "", [], {}))
    assert not any(is_off(node(value, "k")) for value in (True, 0.5, "x", [0]))


def test_a_key_with_a_line_break_stays_on_its_line() -> None:
    findings = Findings()
    findings.tell(node(1, "a\nproviders: {}", "b\u2028c"), "1", "see")
    assert str(findings.all[0]).splitlines() == ["c.yaml:1: a?providers: {}.b?c: 1; see"]


def test_secrets_have_variables() -> None:
    findings = Findings()
    secrets = Secrets(findings, {"TAKEN"})
    assert secrets.reference(node("${MINE}", "k"), "WISHED") == "${MINE}"
    assert findings.all == ()
    assert secrets.reference(node("s3cret", "k"), "taken") == "${TAKEN_2}"
    assert secrets.reference(node("s3cret", "k2"), "another") == "${TAKEN_2}"
    assert secrets.reference(node("other", "k3"), "x-y z") == "${X_Y_Z}"
    assert secrets.reference(node("third", "k4"), "1st") == "${T_1ST}"
    assert "set TAKEN_2 to it" in str(findings.all[0])
    assert not any("s3cret" in str(one) for one in findings.all)
