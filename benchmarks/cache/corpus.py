"""The project's own corpus: groups of questions, written for it, that one answer serves or not.

A line of `corpus/*.jsonl` is a group: `q`, four rephrasings `same` that the same answer serves,
four traps `near` that look alike and need another answer, each of a `kind`. A group's fold comes
from its id, so that no group is ever both tuned on and tested on.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "corpus"
FOLDS = 5


class Trap(NamedTuple):
    text: str
    kind: str


class Group(NamedTuple):
    id: str
    question: str
    same: tuple[str, ...]
    near: tuple[Trap, ...]

    @property
    def fold(self) -> int:
        return int(hashlib.md5(self.id.encode(), usedforsecurity=False).hexdigest(), 16) % FOLDS

    @property
    def domain(self) -> str:
        return self.id.rpartition("-")[0]


class Pair(NamedTuple):
    """Two questions. `kind` is `same` or the trap's; `first` says that one is the group's own."""

    left: str
    right: str
    right_to_serve: bool
    kind: str
    first: bool
    group: Group


def read(folder: Path = FOLDER) -> list[Group]:
    """All groups, in the order of the files' names."""
    groups = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            given = json.loads(line)
            near = tuple(Trap(trap["text"], trap["kind"]) for trap in given["near"])
            groups.append(Group(given["id"], given["q"], tuple(given["same"]), near))
    return groups


def pairs(group: Group) -> Iterator[Pair]:
    """Every pair whose label follows from the group: its rephrasings among each other, and each
    with each trap."""
    meant = (group.question, *group.same)
    for left, right in itertools.combinations(meant, 2):
        yield Pair(left, right, True, "same", left == group.question, group)
    for trap in group.near:
        for left in meant:
            yield Pair(left, trap.text, False, trap.kind, left == group.question, group)


def digest(folder: Path = FOLDER) -> str:
    """SHA-256 of the corpus, file by file in the order of their names."""
    summed = hashlib.sha256()
    for path in sorted(folder.glob("*.jsonl")):
        summed.update(path.name.encode() + b"\0" + path.read_bytes())
    return summed.hexdigest()
