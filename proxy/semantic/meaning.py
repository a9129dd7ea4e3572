"""What an embedder makes of a text, and what an embedder is."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.int8]


class Meaning(NamedTuple):
    """A text's meaning. `vector` [width] has length 1, so that a dot product is a cosine.

    `states` [tokens, width] are the last layer's, without the frame's two tokens, and `pieces`
    those tokens' numbers in the vocabulary; None and none where an embedder gives none.
    """

    vector: Floats
    states: Floats | None = None
    pieces: tuple[int, ...] = ()


class EmbedderUnavailable(Exception):
    """An embedder that is missing, broken or too slow. Its text says what to do."""


class Embedder(Protocol):
    """Turns texts into meanings, never on the event loop's own thread.

    `id` names model and version: what two embedders made is never compared. `limit` is the most
    characters of a text that fit for sure; a longer one is not embedded.
    """

    @property
    def id(self) -> str: ...

    @property
    def limit(self) -> int: ...

    async def embed(self, texts: Sequence[str]) -> list[Meaning]:
        """In their order. Raises `EmbedderUnavailable`."""
        ...

    async def close(self) -> None: ...
