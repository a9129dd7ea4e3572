"""Any model of the library sentence-transformers, on the CPU: the extra [sentence-transformers].

A folder is read where it is, and nothing is fetched. Any other name is one of the hub's: that an
operator writes it down is what allows the library to fetch it, once, at the first use.
"""

import math
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from proxy.semantic.embedders.worker import BATCH, Model, Outcome, Worker, missing
from proxy.semantic.meaning import EmbedderUnavailable, Floats, Meaning

EXTRA = "sentence-transformers"
TIMEOUT = 5.0  # seconds
FIRST_LIMIT = 300  # characters, while the model's own limit is not known
HIGHEST_LIMIT = 2400  # characters: one text is not to hold the thread for long


class SentenceTransformers:
    """`model` is a folder (absolute, or begun with `./`, `../` or `~`) or a name of the hub's.

    Loaded at its first use, in its own thread; that takes seconds, during which askers run into
    `timeout` (seconds). With `states` a meaning has the tokens' too, those of the frame left out.
    A text that is more tokens than the model takes is refused, not cut, and so is one with a word
    that the model's vocabulary lacks.
    """

    def __init__(self, model: str, *, states: bool = False, timeout: float = TIMEOUT) -> None:
        self._model = model
        self._states = states
        self._timeout = timeout
        self._limit = FIRST_LIMIT
        self._worker = Worker(self._load, "turnout-sentences")
        self.id = f"sentence-transformers/{model}@{_version()}"

    @property
    def limit(self) -> int:
        """Characters, by the model's own limit once it is loaded."""
        return self._limit

    async def embed(self, texts: Sequence[str]) -> list[Meaning]:
        """In their order. Raises `EmbedderUnavailable`."""
        return await self._worker.ask(texts, self._timeout)

    async def close(self) -> None:
        await self._worker.close()

    def _load(self) -> Model:
        folder = _folder(self._model)
        if folder is not None and not folder.is_dir():
            raise EmbedderUnavailable(f"there is no folder {folder}")
        try:
            # Optional dependencies that take seconds to load.
            import torch
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise missing(EXTRA) from error
        torch.set_num_threads(1)
        encoder = SentenceTransformer(
            self._model if folder is None else str(folder),
            device="cpu",
            local_files_only=folder is not None,
        )
        tokens = encoder.max_seq_length
        self._limit = _limit(tokens)
        return _Encoder(encoder, tokens, self._states)


class _Encoder:
    """The loaded model."""

    def __init__(self, encoder: Any, tokens: float | None, states: bool) -> None:
        self._encoder = encoder
        self._tokens = math.inf if tokens is None else tokens
        self._states = states
        self._frame = frozenset(getattr(encoder.tokenizer, "all_special_ids", ()))

    def __call__(self, texts: Sequence[str]) -> list[Outcome]:
        outcomes: list[Outcome] = [self._refusal(text) for text in texts]
        fitting = [at for at, refusal in enumerate(outcomes) if not refusal]
        if not fitting:
            return outcomes
        chosen = [texts[at] for at in fitting]
        read = self._with_states if self._states else self._without_states
        for at, meaning in zip(fitting, read(chosen), strict=True):
            outcomes[at] = meaning
        return outcomes

    def _refusal(self, text: str) -> str:
        """Why a text is not embedded; empty if it is."""
        if len(text) > HIGHEST_LIMIT:
            return f"a text is longer than {HIGHEST_LIMIT} characters"
        if math.isinf(self._tokens):
            return ""
        tokenizer = self._encoder.tokenizer
        ids = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)[
            "input_ids"
        ]
        if len(ids) + tokenizer.num_special_tokens_to_add() > self._tokens:
            return f"a text is longer than the model's {self._tokens:g} tokens"
        return _UNKNOWN if tokenizer.unk_token_id in ids else ""

    def _without_states(self, texts: list[str]) -> list[Meaning]:
        vectors = self._encoder.encode(texts, batch_size=BATCH, show_progress_bar=False)
        return [Meaning(_normal(vector)) for vector in vectors]

    def _with_states(self, texts: list[str]) -> list[Meaning]:
        # None gives all there is; "token_embeddings" alone would want the vectors run again.
        rows = self._encoder.encode(
            texts, batch_size=BATCH, show_progress_bar=False, output_value=None
        )
        return [
            Meaning(_normal(_array(row["sentence_embedding"])), *self._inner(row)) for row in rows
        ]

    def _inner(self, row: dict[str, Any]) -> tuple[Floats | None, tuple[int, ...]]:
        """The text's own tokens, their states and numbers; None of a model that has none."""
        if not {"token_embeddings", "input_ids", "attention_mask"} <= row.keys():
            return None, ()
        ids = row["input_ids"].tolist()
        mask = row["attention_mask"].tolist()
        inner = [at for at, token in enumerate(ids) if mask[at] and token not in self._frame]
        return _array(row["token_embeddings"])[inner], tuple(ids[at] for at in inner)


_UNKNOWN = "a text has a word that the model does not know"


def _array(tensor: Any) -> Floats:
    return np.asarray(tensor.detach().cpu().float().numpy(), np.float32)


def _normal(vector: Floats) -> Floats:
    wide = vector.astype(np.float64)
    return (wide / np.linalg.norm(wide)).astype(np.float32)


def _folder(model: str) -> Path | None:
    """None of a name of the hub's."""
    if model.startswith(("/", "./", "../", "~")):
        return Path(model).expanduser()
    return None


def _limit(tokens: float | None) -> int:
    """600 characters for 256 tokens, in proportion."""
    if tokens is None or math.isinf(tokens):
        return HIGHEST_LIMIT
    return min(HIGHEST_LIMIT, int(tokens) * 600 // 256)


def _version() -> str:
    try:
        return version(EXTRA)
    except PackageNotFoundError:
        return "missing"
