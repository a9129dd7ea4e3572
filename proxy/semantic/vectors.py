"""Where questions are found by their vectors: what an index has to do."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from proxy.semantic.meaning import Floats


class Neighbour(NamedTuple):
    """A question that is near, and the id of its answer. `similarity` is the cosine."""

    id: str
    question: str
    similarity: float


class Vectors(Protocol):
    """Questions by partition. Nothing of one partition is ever found in another."""

    async def add(
        self, partition: str, id: str, question: str, vector: Floats, expires_at: float
    ) -> None:
        """Makes a question findable until `expires_at` (epoch seconds); one of the same id goes."""
        ...

    async def nearest(self, partition: str, vector: Floats, count: int) -> list[Neighbour]:
        """The nearest, nearest first."""
        ...

    async def drop(self, ids: Iterable[str]) -> None: ...

    async def size(self) -> int:
        """Questions that are there; -1 where an index can't tell."""
        ...
