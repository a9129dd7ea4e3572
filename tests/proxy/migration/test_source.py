"""A LiteLLM configuration as it was written."""

from pathlib import Path

import pytest

from proxy.migration.source import SourceError, read, variables


def written(folder: Path, text: str, name: str = "c.yaml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_values_places_and_variables(tmp_path: Path) -> None:
    tree = read(
        written(tmp_path, "a:\n  b: [1, os.environ/KEY]\n  c: os.environ/MY-KEY\n  d: ${SET}\n")
    )
    node = tree.root["a"]["b"]
    assert node.value == [1, "${KEY}"]
    assert (node.where, node.dotted) == ("c.yaml:2", "a.b")
    assert [one.dotted for one in node.entries()] == ["a.b[0]", "a.b[1]"]
    assert tree.root["a"]["c"].variable == "_MY_KEY"
    assert tree.root["a"]["d"].value == "${SET}"  # nothing is filled in
    assert sorted(variables(tree.data)) == ["KEY", "SET", "_MY_KEY"]
    missing = tree.root["a"]["x"]["y"]
    assert (missing.value, bool(missing), missing.where) == (None, False, "c.yaml:1")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", 3),
        ("2.5", 2.5),
        ("5e-7", 5e-7),
        ("os.environ/N", "${N}"),
        ("true", None),
        ("many", None),
        ("[1]", None),
    ],
)
def test_numbers(tmp_path: Path, text: str, number: float | str | None) -> None:
    assert read(written(tmp_path, f"n: {text}\n")).root["n"].number == number


def test_included_lists_grow_and_the_rest_is_replaced(tmp_path: Path) -> None:
    written(tmp_path, "l: [3]\nm:\n  x: 2\n", "two.yaml")
    tree = read(written(tmp_path, "include: two.yaml\nl: [1, 2]\nm: {x: 1}\n"))
    assert tree.data == {"l": [1, 2, 3], "m": {"x": 2}}
    assert tree.where(("l", 1)) == "c.yaml:2"
    assert tree.where(("l", 2)) == "two.yaml:1"
    assert tree.where(("m", "x")) == "two.yaml:3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [\n", "c.yaml:2: not valid YAML"),
        ("a: 1\na: 2\n", "c.yaml:2: a: 'a' stands twice, first in line 1"),
        ("- a\n", "c.yaml:1: the configuration must be a mapping"),
        ("a: 1\nb: !vault x\n", "c.yaml:2: not valid YAML: could not determine a constructor"),
        ("a: 1\ninclude: [gone.yaml]\n", "c.yaml:2: include: cannot read gone.yaml"),
        ("include: [c.yaml]\n", "c.yaml: it includes itself"),
        ("include: [[a]]\n", "c.yaml:1: include: must be the names of files"),
    ],
)
def test_what_can_not_be_read(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        read(written(tmp_path, text))
    assert str(caught.value).startswith(message)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(SourceError, match="not text in UTF-8"):
        read(tmp_path / "c.yaml")
