"""YAML with lines, and the environment filled in after the parse."""

import pytest

from proxy.yamlsource import read

ENV = {"KEY": "k: [1]", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ('a: "${KEY}"', {"a": "k: [1]"}),
        ('a: "${NO:-d}"', {"a": "d"}),
        ('a: "${NO:-}"', {"a": ""}),
        ('a: "${EMPTY:-d}"', {"a": "d"}),
        ('a: "x-${KEY}-y"', {"a": "x-k: [1]-y"}),
        ('a: "${NO}"\nb: 1', {"b": 1}),
        ('a: "${EMPTY}"\nb: 1', {"b": 1}),
        ('a: ["${NO}", "${KEY}"]', {"a": ["k: [1]"]}),
        ("off: 1\non: 2\n1.5: 3", {"off": 1, "on": 2, "1.5": 3}),
        ("a: &x {n: 1}\nb: *x", {"a": {"n": 1}, "b": {"n": 1}}),
        ("", None),
    ],
)
def test_values(text: str, data: object) -> None:
    source = read(text, ENV)
    assert (source.data, source.faults) == (data, [])


def test_what_was_left_out_is_known() -> None:
    assert read('p: {k: "${NO}"}', ENV).unset == {("p", "k"): "NO"}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\na: 2", 2, "first in line 1"),
        ('x: 1\na: "p-${NO}"', 2, "NO is not set"),
        ('a: "${oops"', 1, "begins no variable"),
        ("a: [1\nb: 2", 2, "not valid YAML"),
    ],
)
def test_faults_have_their_line(text: str, line: int, words: str) -> None:
    (fault,) = read(text, ENV).faults
    assert fault.line == line
    assert words in fault.message


def test_every_value_has_its_line() -> None:
    source = read("a:\n  b:\n    - 1\n    - c: 2\n", {})
    assert source.line_of(("a", "b", 1, "c")) == 4
    assert source.line_of(("a", "b", 1, "missing")) == 4
