"""How likely one question's answer serves another: the pair score.

A cosine can't say it: "order 48213" and "order 48231" are closer than most paraphrases are. So the
words of the two questions are laid beside each other. Each token, as the encoder's last layer has
it, is projected to a few dimensions, looks for its like in the other question (soft alignment),
and what it finds is compared with it (Parikh et al., "A Decomposable Attention Model", 2016). The
strongest and the mean difference of both sides, the two vectors, and the plain words' doubts of
`proxy.semantic.guards` go into one small layer and a logistic.

The weights are trained on the project's own corpus by `benchmarks.cache.train` and read from
`data/prior.npz`. Some 0.3 ms a pair with numpy; symmetric but for the doubts.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from proxy.semantic.meaning import Floats, Meaning

FILE = Path(__file__).parent / "data" / "prior.npz"
TOKENS = 64  # of a question that are compared; more than most have

Flags = NDArray[np.bool_]


class Weights(NamedTuple):
    """The trained numbers, float32. `scale` and `shift` make a probability of the last layer's
    number; `embedder` is the model that the states have to be of."""

    project: Floats  # [width, d]
    project_bias: Floats
    sharpness: float
    compare: Floats  # [4 d + 2, h]
    compare_bias: Floats
    compare_more: Floats  # [h, h]
    compare_more_bias: Floats
    gist: Floats  # [width, g]
    gist_bias: Floats
    judge: Floats  # [4 h + 2 g + 4 + doubts, j]
    judge_bias: Floats
    verdict: Floats  # [j]
    verdict_bias: float
    scale: float
    shift: float


class Side(NamedTuple):
    """A question, made ready to be compared: some 5 KB, so it is kept for few."""

    tokens: Floats  # [n, d]
    units: Floats  # [n, d], of length 1
    pieces: tuple[int, ...]
    gist: Floats  # [g]
    vector: Floats  # [width]


def side_of(meaning: Meaning, weights: Weights) -> Side | None:
    """None of a meaning without states."""
    if meaning.states is None or not len(meaning.states):
        return None
    tokens = meaning.states[:TOKENS] @ weights.project + weights.project_bias
    units = tokens / np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), 1e-12)
    gist = (meaning.vector * 8) @ weights.gist + weights.gist_bias
    return Side(tokens, units, meaning.pieces[:TOKENS], gist, meaning.vector)


def score(new: Side, old: Side, doubts: tuple[float, ...], weights: Weights) -> float:
    """P(the old question's answer serves the new one), as the corpus has it."""
    likeness = new.units @ old.units.T
    same = np.equal.outer(new.pieces, old.pieces)
    one = _compared(new.tokens, old.tokens, likeness, same, weights)
    other = _compared(old.tokens, new.tokens, likeness.T, same.T, weights)
    best, best_other = likeness.max(axis=1), likeness.max(axis=0)
    plain = (
        float(new.vector @ old.vector),
        min(float(best.min()), float(best_other.min()), 1.0),
        (float(best.mean()) + float(best_other.mean())) / 2,
        abs(len(new.tokens) - len(old.tokens)) / 10,
    )
    features = np.concatenate(
        (
            one + other,
            np.abs(one - other),
            np.abs(new.gist - old.gist),
            new.gist * old.gist,
            np.asarray((*plain, *doubts), np.float32),
        )
    )
    hidden = np.maximum(features @ weights.judge + weights.judge_bias, 0)
    logit = float(hidden @ weights.verdict) + weights.verdict_bias
    return float(1 / (1 + np.exp(-(weights.scale * logit + weights.shift))))


def _compared(
    tokens: Floats, others: Floats, likeness: Floats, same: Flags, weights: Weights
) -> Floats:
    """[2 h]: the strongest and the mean of what each token finds different."""
    heat = likeness * weights.sharpness
    heat = np.exp(heat - heat.max(axis=1, keepdims=True))
    found = (heat / heat.sum(axis=1, keepdims=True)) @ others
    told = np.concatenate(
        (
            tokens,
            found,
            np.abs(tokens - found),
            tokens * found,
            likeness.max(axis=1, keepdims=True),
            same.any(axis=1, keepdims=True),
        ),
        axis=1,
        dtype=np.float32,
    )
    inner = np.maximum(told @ weights.compare + weights.compare_bias, 0)
    inner = np.maximum(inner @ weights.compare_more + weights.compare_more_bias, 0)
    return np.concatenate((inner.max(axis=0), inner.mean(axis=0)))


class Prior(NamedTuple):
    """What is shipped: the weights, the encoder they are for, and from which score on what share
    of answers was wrong on the corpus (`max_wrong`, threshold)."""

    weights: Weights
    embedder: str
    thresholds: tuple[tuple[float, float], ...]
    sha256: str

    def fits(self, embedder: str) -> bool:
        """Whether the weights are for the states of the embedder with this id: this project's own
        or, of sentence-transformers, a model or a folder of exactly that name."""
        parts = embedder.partition("@")[0].split("/")
        is_of_library = parts[0] == "sentence-transformers" and parts[-1] == self.embedder
        return parts[0] == self.embedder or is_of_library


@cache
def load(path: Path = FILE) -> Prior:
    """Reads the shipped prior; some 2 ms."""
    raw = path.read_bytes()
    with np.load(path, allow_pickle=False) as file:
        numbers = {name: file[name].astype(np.float32) for name in Weights._fields}
        values: dict[str, Any] = {
            name: value if value.ndim else float(value) for name, value in numbers.items()
        }
        # As written: 0.05 in 32 bits is a little more, and would not be allowed where 5 % is.
        thresholds = tuple(
            (round(float(most), 6), float(least)) for most, least in file["thresholds"]
        )
        embedder = str(file["embedder"])
    return Prior(Weights(**values), embedder, thresholds, hashlib.sha256(raw).hexdigest())
