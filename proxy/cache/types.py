"""The few values that the cache's parts pass on."""

from enum import StrEnum
from typing import NamedTuple

from adapters.base import Endpoint, Usage

PREFIX = "llm:cache:"
"""What the id of every entry begins with; then its task, or `-`, and its digest."""


class Tier(StrEnum):
    """Where a hit comes from."""

    EXACT = "exact"
    SEMANTIC = "semantic"


class Directives(NamedTuple):
    """What a request says by `x-turnout-cache`. `max_age` in seconds; `semantic` None says
    nothing."""

    read: bool = True
    write: bool = True
    only_if_cached: bool = False
    max_age: float | None = None
    semantic: bool | None = None
    namespace: str = ""
    tags: tuple[str, ...] = ()


class Key(NamedTuple):
    """What a request is known by.

    `digest` (32 hex digits) is of everything that its answer may depend on, `partition` (the
    same) of all that but its last user message, which is `question`; both None where it may not
    be answered by meaning, and `ineligible` then says why. `pool` (the same) is of its tenant and
    task: how often meaning is right is judged by it.
    """

    digest: str
    task: str | None = None
    partition: str | None = None
    question: str | None = None
    ineligible: str | None = None
    pool: str = ""

    @property
    def id(self) -> str:
        """The entry's name: `llm:cache:<task>:<digest>`."""
        return f"{PREFIX}{self.task or '-'}:{self.digest}"


class Entry(NamedTuple):
    """An answer that is kept, whole, in the shape of its endpoint without streaming.

    Times are epoch seconds; `cost_nanousd` is what it cost when it was made, None when nobody
    knows. `question` and `partition` are there if it may answer by meaning.
    """

    id: str
    endpoint: Endpoint
    body: bytes
    name: str
    provider: str
    model: str
    stored_at: float
    expires_at: float
    usage: Usage
    cost_nanousd: int | None = None
    tags: tuple[str, ...] = ()
    epoch: str = ""
    partition: str | None = None
    question: str | None = None

    @property
    def task(self) -> str | None:
        """The task it was asked for."""
        task = self.id.removeprefix(PREFIX).rpartition(":")[0]
        return None if task == "-" else task


class Purge(NamedTuple):
    """Which entries are to go: those that agree in all that is given. None given means all."""

    pattern: str | None = None  # of ids, with * and ?
    model: str | None = None  # as asked for, or as it answered, with or without its provider
    task: str | None = None
    tag: str | None = None
    epoch: str | None = None
    id: str | None = None
