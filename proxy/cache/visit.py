"""One request's way through the cache: what was found out about it so far."""

from dataclasses import dataclass, field
from typing import NamedTuple

from proxy.cache.policy import Policy
from proxy.cache.types import Directives, Entry, Key, Tier

TAPE_LIMIT = 4 * 2**20  # bytes of an answer that may be kept


class Near(NamedTuple):
    """An answer to a question like this one, that was or was not good enough to serve.

    `similarity` is the cosine; `score` the estimate of P(right), None where a guard, named in
    `veto`, had its say first. `drawn` says that it belongs to the checked share of hits.
    """

    entry: Entry
    similarity: float
    score: float | None = None
    veto: str | None = None
    drawn: bool = False


class Found(NamedTuple):
    """What the tier by meaning says: `serve` or, with a reason, not. `near` may be there either
    way, to be compared with a fresh answer."""

    serve: bool
    reason: str
    near: Near | None = None


@dataclass(slots=True)
class Visit:
    """`reason` says why there was no hit, or why none was looked for (`key` is None then)."""

    policy: Policy
    said: Directives
    key: Key | None
    reason: str
    leads: bool = False
    landed: bool = False  # it led, and who waited for it has been told
    entry: Entry | None = None
    tier: Tier = Tier.EXACT
    similarity: float = 1.0
    age: int = 0
    near: Near | None = None
    tape: "Tape | None" = None
    meaning: object | None = None  # the tier by meaning's own: what it made of the question

    def header(self) -> bytes:
        """The value of `x-turnout-cache`."""
        if self.entry is not None:
            said = f"hit; tier={self.tier.value}; sim={self.similarity:.2f}; age={self.age}"
            return said.encode()
        if self.key is None:
            return b"bypass; reason=" + self.reason.encode()
        return b"miss; reason=" + self.reason.encode() if self.reason else b"miss"


@dataclass(slots=True)
class Tape:
    """What a client gets, as it gets it. A chunk of a stream is one append."""

    pieces: list[bytes] = field(default_factory=list)
    size: int = 0

    def take(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size <= TAPE_LIMIT:
            self.pieces.append(piece)

    def whole(self) -> bytes | None:
        """All of it; None where it was too much."""
        return b"".join(self.pieces) if self.size <= TAPE_LIMIT else None
