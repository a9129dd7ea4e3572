"""The pair score against a second implementation: loops over plain numbers, from the paper."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxy.semantic import pairs
from proxy.semantic.embedders.minilm import MiniLm
from proxy.semantic.guards import DOUBTS
from proxy.semantic.meaning import Meaning
from proxy.semantic.pairs import Prior, Side, Weights

WIDTH, PROJECTED, HIDDEN, GIST, JUDGE, DOUBTED = 7, 5, 4, 3, 6, 2
FEATURES = 4 * HIDDEN + 2 * GIST + 4 + DOUBTED

Row = list[float]
Rows = list[Row]


def weights(seed: int) -> Weights:
    chance = np.random.default_rng(seed)

    def draw(*shape: int) -> Any:
        return chance.normal(0, 0.5, shape).astype(np.float32)

    return Weights(
        project=draw(WIDTH, PROJECTED),
        project_bias=draw(PROJECTED),
        sharpness=5.0,
        compare=draw(4 * PROJECTED + 2, HIDDEN),
        compare_bias=draw(HIDDEN),
        compare_more=draw(HIDDEN, HIDDEN),
        compare_more_bias=draw(HIDDEN),
        gist=draw(WIDTH, GIST),
        gist_bias=draw(GIST),
        judge=draw(FEATURES, JUDGE),
        judge_bias=draw(JUDGE),
        verdict=draw(JUDGE),
        verdict_bias=0.3,
        scale=0.7,
        shift=-0.2,
    )


def meaning(seed: int, tokens: int) -> Meaning:
    chance = np.random.default_rng(1000 + seed)
    vector = chance.normal(0, 1, WIDTH)
    states = chance.normal(0, 1, (tokens, WIDTH)).astype(np.float32)
    pieces = tuple(map(int, chance.integers(0, 6, tokens)))
    return Meaning((vector / np.linalg.norm(vector)).astype(np.float32), states, pieces)


def side(seed: int, tokens: int, given: Weights) -> Side:
    found = pairs.side_of(meaning(seed, tokens), given)
    assert found is not None
    return found


# The second implementation.


def dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def layer(values: Row, matrix: Any, bias: Any, relu: bool = True) -> Row:
    sums = [dot(values, column) + b for column, b in zip(matrix.T.tolist(), bias, strict=True)]
    return [max(value, 0.0) for value in sums] if relu else sums


def cosine(one: Row, other: Row) -> float:
    return dot(one, other) / math.sqrt(dot(one, one) * dot(other, other))


def compared(mine: Rows, theirs: Rows, pieces: Any, others: Any, w: Weights) -> tuple[Row, Row]:
    """The strongest and mean differences; and of each token the likeness of its likest."""
    told, likest = [], []
    for token, piece in zip(mine, pieces, strict=True):
        likeness = [cosine(token, other) for other in theirs]
        heat = [math.exp(value * w.sharpness) for value in likeness]
        found = [
            math.fsum(h * other[at] for h, other in zip(heat, theirs, strict=True)) / sum(heat)
            for at in range(PROJECTED)
        ]
        apart = [abs(a - b) for a, b in zip(token, found, strict=True)]
        product = [a * b for a, b in zip(token, found, strict=True)]
        row = [*token, *found, *apart, *product, max(likeness), float(piece in others)]
        inner = layer(layer(row, w.compare, w.compare_bias), w.compare_more, w.compare_more_bias)
        told.append(inner)
        likest.append(max(likeness))
    columns = list(zip(*told, strict=True))
    pooled = [*(max(column) for column in columns), *(sum(c) / len(c) for c in columns)]
    return pooled, likest


def by_loops(new: Meaning, old: Meaning, doubted: Sequence[float], w: Weights) -> float:
    assert new.states is not None
    assert old.states is not None
    mine = [layer(s, w.project, w.project_bias, relu=False) for s in new.states.tolist()]
    theirs = [layer(s, w.project, w.project_bias, relu=False) for s in old.states.tolist()]
    one, likest = compared(mine, theirs, new.pieces, old.pieces, w)
    other, likest_other = compared(theirs, mine, old.pieces, new.pieces, w)
    gists = [
        layer([8 * value for value in m.vector.tolist()], w.gist, w.gist_bias, relu=False)
        for m in (new, old)
    ]
    features = [
        *(a + b for a, b in zip(one, other, strict=True)),
        *(abs(a - b) for a, b in zip(one, other, strict=True)),
        *(abs(a - b) for a, b in zip(*gists, strict=True)),
        *(a * b for a, b in zip(*gists, strict=True)),
        dot(new.vector.tolist(), old.vector.tolist()),
        min(*likest, *likest_other),
        (sum(likest) / len(likest) + sum(likest_other) / len(likest_other)) / 2,
        abs(len(likest) - len(likest_other)) / 10,
        *doubted,
    ]
    logit = dot(layer(features, w.judge, w.judge_bias), w.verdict.tolist()) + w.verdict_bias
    return 1 / (1 + math.exp(-(w.scale * logit + w.shift)))


class TestScore:
    @pytest.mark.parametrize("seed", range(20))
    def test_it_is_what_loops_come_to(self, seed: int) -> None:
        given = weights(seed)
        sizes = 1 + seed % 5, 1 + seed % 7
        doubted = (0.25 * (seed % 3), float(seed % 2))
        wanted = by_loops(meaning(seed, sizes[0]), meaning(seed + 50, sizes[1]), doubted, given)
        new, old = side(seed, sizes[0], given), side(seed + 50, sizes[1], given)
        assert pairs.score(new, old, doubted, given) == pytest.approx(wanted, abs=1e-5)

    def test_the_oracle_tells_pairs_apart(self) -> None:
        """So that it agrees is worth something: twenty scores, none the same."""
        found = {
            round(by_loops(meaning(n, 4), meaning(n + 50, 3), (0.0, 0.0), weights(n)), 4)
            for n in range(20)
        }
        assert len(found) >= 18
        assert max(found) - min(found) > 0.5

    @pytest.mark.parametrize("seed", range(10))
    def test_without_doubts_it_is_the_same_from_both_sides(self, seed: int) -> None:
        given = weights(seed)
        new, old = side(seed, 4, given), side(seed + 50, 6, given)
        there = pairs.score(new, old, (0.0, 0.0), given)
        assert pairs.score(old, new, (0.0, 0.0), given) == pytest.approx(there, abs=1e-6)

    def test_a_doubt_changes_it(self) -> None:
        given = weights(3)
        new, old = side(3, 4, given), side(53, 6, given)
        scores = {round(pairs.score(new, old, (doubt, 0.0), given), 6) for doubt in (0.0, 0.5, 1.0)}
        assert len(scores) == 3


class TestSide:
    def test_a_meaning_without_states_has_none(self) -> None:
        bare = meaning(1, 3)
        assert pairs.side_of(bare._replace(states=None, pieces=()), weights(1)) is None
        nothing = np.zeros((0, WIDTH), np.float32)
        assert pairs.side_of(bare._replace(states=nothing, pieces=()), weights(1)) is None

    def test_its_units_have_the_length_one(self) -> None:
        lengths = np.linalg.norm(side(1, 5, weights(1)).units, axis=1)
        assert lengths.tolist() == pytest.approx([1.0] * 5)

    def test_a_long_question_counts_with_its_beginning(self) -> None:
        given, long = weights(1), meaning(1, 90)
        assert long.states is not None
        cut = long._replace(states=long.states[:64], pieces=long.pieces[:64])
        whole, beginning = pairs.side_of(long, given), pairs.side_of(cut, given)
        assert whole is not None
        assert beginning is not None
        assert whole.tokens.shape == (64, PROJECTED)
        assert pairs.score(whole, side(2, 3, given), (0.0, 0.0), given) == pairs.score(
            beginning, side(2, 3, given), (0.0, 0.0), given
        )


class TestPrior:
    @pytest.mark.parametrize(
        ("embedder", "fits"),
        [
            ("all-MiniLM-L6-v2/onnx-int8/8199be6f699a", True),
            ("sentence-transformers/sentence-transformers/all-MiniLM-L6-v2@5.1.0", True),
            ("sentence-transformers/all-MiniLM-L6-v2@5.1.0", True),
            ("sentence-transformers//srv/models/all-MiniLM-L6-v2@5.1.0", True),
            ("sentence-transformers//srv/models/all-MiniLM-L6-v2-ours@5.1.0", False),
            ("sentence-transformers/all-MiniLM-L6-v2/more@5.1.0", False),
            ("sentence-transformers/BAAI/bge-small-en-v1.5@5.1.0", False),
            ("ollama/all-MiniLM-L6-v2", False),
            ("openai/text-embedding-3-small@512", False),
        ],
    )
    def test_it_is_for_one_model_by_whole_names(self, embedder: str, fits: bool) -> None:
        given = Prior(weights(1), "all-MiniLM-L6-v2", (), "")
        assert given.fits(embedder) is fits

    def test_what_was_saved_is_loaded(self, tmp_path: Path) -> None:
        given, path = weights(7), tmp_path / "prior.npz"
        halved = {name: np.float16(value) for name, value in given._asdict().items()}
        thresholds = np.array([[0.05, 0.875], [0.1, 0.75]], np.float32)
        np.savez_compressed(path, **halved, thresholds=thresholds, embedder=np.array("a-model"))
        found = pairs.load(path)
        assert found.embedder == "a-model"
        assert [least for _, least in found.thresholds] == [0.875, 0.75]
        assert [most for most, _ in found.thresholds] == [0.05, 0.1]  # exactly what is asked for
        assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        for name, value in given._asdict().items():
            loaded = getattr(found.weights, name)
            assert np.allclose(loaded, value, atol=2e-3), name
            assert isinstance(loaded, float) == isinstance(value, float), name
            assert isinstance(loaded, float) or loaded.dtype == np.float32, name

    def test_the_shipped_one_is_for_these_guards_and_this_embedder(self) -> None:
        """A guard that is added or dropped wants the prior trained anew."""
        found = pairs.load()
        given = found.weights
        hidden, gist = given.compare_more.shape[0], given.gist.shape[1]
        assert given.judge.shape[0] == 4 * hidden + 2 * gist + 4 + len(DOUBTS)
        assert given.project.shape[0] == 384
        assert found.fits(MiniLm.id)
        assert all(0 <= least <= 1 for _, least in found.thresholds)
        assert 0.05 in [most for most, _ in found.thresholds]
        assert list(found.thresholds) == sorted(found.thresholds)
        least = [at for _, at in found.thresholds]
        assert least == sorted(least, reverse=True)
