"""docs/seeds.md names tests, modules and pages: all of them are there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "seeds.md"

FILE = re.compile(r"Tests without a file are in `(tests/[\w/]+\.py)`")
NAMED = re.compile(r"`(tests/[\w/]+\.py)?::([\w:]+)`")
PLACE = re.compile(r"`((?:proxy|adapters|examples|tests)/[\w/]+\.(?:py|yaml))[`:]")
LINK = re.compile(r"\]\(([\w-]+\.md)(?:#([\w-]+))?\)")
SEEDS = ("llm-gateway-api", "llm-router", "llm-service", "llm-wrapper", "task-endpoint")


def sections(text: str) -> dict[str, str]:
    """The text of each second-level heading."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def named(section: str) -> set[tuple[str, str]]:
    """(file, test) of each test that a section names."""
    usual = FILE.search(section)
    assert usual is not None, section[:80]
    return {(file or usual[1], name) for file, name in NAMED.findall(section)}


@cache
def names_in(file: str) -> frozenset[str]:
    """Its tests; those of a class behind its name."""
    found = set()
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        before = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for each in inside:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(before + each.name)
    return frozenset(found)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_tests_are_there(seed: str) -> None:
    found = named(sections(PAGE.read_text(encoding="utf-8"))[f"{seed}.md"])
    assert len(found) > 10
    missing = [f"{file}::{name}" for file, name in sorted(found) if name not in names_in(file)]
    assert missing == []


def test_the_modules_are_there() -> None:
    found = set(PLACE.findall(PAGE.read_text(encoding="utf-8")))
    assert "proxy/doors/generate.py" in found
    assert [place for place in sorted(found) if not (ROOT / place).is_file()] == []


def test_the_pages_are_there() -> None:
    missing = []
    for name, anchor in LINK.findall(PAGE.read_text(encoding="utf-8")):
        page = PAGE.parent / name
        text = page.read_text(encoding="utf-8") if page.is_file() else ""
        heads = {line.lstrip("# ").lower().replace(" ", "-") for line in text.splitlines()}
        if not text or (anchor and anchor not in {re.sub(r"[^\w-]", "", head) for head in heads}):
            missing.append(f"{name}#{anchor}")
    assert missing == []


@pytest.mark.parametrize("seed", SEEDS)
def test_every_test_of_a_walk_is_named(seed: str) -> None:
    """What a walk shows stands in the table: nothing is shown that the page does not say."""
    section = sections(PAGE.read_text(encoding="utf-8"))[f"{seed}.md"]
    usual = FILE.search(section)
    assert usual is not None
    shown = {name for file, name in named(section) if file == usual[1]}
    tests = {name for name in names_in(usual[1]) if name.rpartition("::")[2].startswith("test_")}
    assert sorted(tests - shown) == []


def test_what_is_missing_is_caught() -> None:
    text = "Tests without a file are in `tests/a.py`.\n| x | `::b`, `tests/c.py::D::e` |"
    assert named(text) == {("tests/a.py", "b"), ("tests/c.py", "D::e")}
    assert "test_what_is_missing_is_caught" in names_in("tests/test_seeds_doc.py")
    assert "nothing" not in names_in("tests/test_seeds_doc.py")
