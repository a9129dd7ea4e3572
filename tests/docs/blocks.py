"""Fenced code blocks of Markdown, with what a comment right before one says of it.

<!-- not run: REASON -->     it can't be run here
<!-- command: NAME -->       `.ci/run` runs it
<!-- checked by TEST: … -->  another test reads it
<!-- file: NAME -->          a reader saves it under that name
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

FENCE = re.compile(r"^( *)(`{3,}|~{3,})\s*([\w+-]*)")
MARK = re.compile(r"^\s*<!-- (.+?) -->\s*$")


class Block(NamedTuple):
    """A code block. `page` is relative to the root, `line` that of its opening fence, from 1."""

    page: str
    line: int
    end: int
    language: str
    mark: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    def marked(self, kind: str) -> str | None:
        """What the comment before it says after `kind: `; None if it says nothing of the kind."""
        before, parted, after = self.mark.partition(": ")
        return after if parted and before == kind else None


def pages() -> list[Path]:
    """README.md, and all of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(text: str, page: str) -> Iterator[Block]:
    """The blocks of a page, in order. Raises `ValueError` for a fence that nothing closes."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        opened = FENCE.match(lines[at])
        if opened is None:
            at += 1
            continue
        indent, fence, language = opened.groups()
        end = at + 1
        while end < len(lines) and lines[end].strip() != fence:
            end += 1
        if end == len(lines):
            raise ValueError(f"{page}:{at + 1}: nothing closes this fence")
        mark = MARK.match(lines[at - 1]) if at else None
        inside = (line.removeprefix(indent) for line in lines[at + 1 : end])
        said = mark[1] if mark else ""
        yield Block(page, at + 1, end + 1, language.lower(), said, "\n".join(inside) + "\n")
        at = end + 1


def every_block() -> list[Block]:
    """All blocks of all pages."""
    found = []
    for path in pages():
        page = str(path.relative_to(ROOT))
        found += blocks_of(path.read_text(encoding="utf-8"), page)
    return found
