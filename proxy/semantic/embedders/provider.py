"""A provider's embeddings, in OpenAI's shape: `POST /v1/embeddings`."""

import asyncio
import binascii
from base64 import b64decode
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import numpy as np
import orjson

from proxy.semantic.meaning import EmbedderUnavailable, Floats, Meaning

LIMIT = 8000  # characters; OpenAI's models take 8,192 tokens
TIMEOUT = 5.0  # seconds

Post = Callable[[bytes], Awaitable[bytes]]
"""Sends a body to the provider's endpoint and gives the body of its answer. Whatever it raises
is taken as: no embeddings now."""


class ProviderEmbedder:
    """Asks `model` of `provider` through `post`, once for each `embed`; waits `timeout` seconds.

    The width is `dimensions` where given (then it is asked for), else that of the first answer;
    an answer of any other width is refused. Gives no states.
    """

    def __init__(
        self,
        provider: str,
        model: str,
        post: Post,
        *,
        encoding: Literal["base64", "float"] = "base64",
        dimensions: int | None = None,
        limit: int = LIMIT,
        timeout: float = TIMEOUT,
    ) -> None:
        self.id = f"{provider}/{model}" + (f"@{dimensions}" if dimensions else "")
        self.limit = limit
        self._fixed: dict[str, Any] = {"model": model, "encoding_format": encoding}
        if dimensions:
            self._fixed["dimensions"] = dimensions
        self._post = post
        self._width = dimensions
        self._timeout = timeout

    async def embed(self, texts: Sequence[str]) -> list[Meaning]:
        """In their order. Raises `EmbedderUnavailable`."""
        if not texts:
            return []
        body = orjson.dumps({**self._fixed, "input": list(texts)})
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._post(body)
        except TimeoutError:
            raise EmbedderUnavailable(f"{self.id} gave no answer in time") from None
        except EmbedderUnavailable:
            raise
        except Exception as error:  # the post is given from outside: whatever ails it is a miss
            raise EmbedderUnavailable(f"{self.id} failed: {type(error).__name__}") from error
        return [Meaning(vector) for vector in self._read(answer, len(texts))]

    async def close(self) -> None:
        """Nothing is held."""

    def _read(self, answer: bytes, count: int) -> list[Floats]:
        try:
            items = orjson.loads(answer)["data"]
            indexes = [item.get("index", at) for at, item in enumerate(items)]
            if sorted(indexes) != list(range(count)):
                raise EmbedderUnavailable(f"{self.id} did not answer with {count} embeddings")
            found = dict(zip(indexes, (_vector(item["embedding"]) for item in items), strict=True))
        except (KeyError, TypeError, ValueError, AttributeError, binascii.Error):
            raise EmbedderUnavailable(f"{self.id} gave an unreadable answer") from None
        self._check([len(vector) for vector in found.values()])
        return [found[at] for at in range(count)]

    def _check(self, widths: list[int]) -> None:
        if self._width is None:
            self._width = widths[0]
        if set(widths) != {self._width}:
            raise EmbedderUnavailable(f"{self.id} gave vectors of another width than before")


def _vector(written: object) -> Floats:
    """Of length 1. `written` is base64 of little-endian float32, or a list of numbers."""
    if isinstance(written, str):
        wide = np.frombuffer(b64decode(written, validate=True), "<f4").astype(np.float64)
    else:
        wide = np.array(written, np.float64)
    length = float(np.linalg.norm(wide))
    if wide.ndim != 1 or not np.isfinite(length) or length == 0:
        raise ValueError("no direction")
    return (wide / length).astype(np.float32)
