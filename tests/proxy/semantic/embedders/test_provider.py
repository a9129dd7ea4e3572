"""A provider's embeddings: what is asked, what is read, and what is not taken."""

import asyncio
import base64
import json
import struct
from typing import Any

import pytest

from proxy.semantic.embedders.provider import ProviderEmbedder
from proxy.semantic.meaning import Embedder, EmbedderUnavailable


class FakeProvider:
    """Answers with what it is given, and writes down what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []

    async def post(self, body: bytes) -> bytes:
        self.asked.append(json.loads(body))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def listed(*vectors: Any) -> dict[str, Any]:
    data = [
        {"object": "embedding", "index": at, "embedding": vector}
        for at, vector in enumerate(vectors)
    ]
    return {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1}}


def embedder(provider: FakeProvider, **settings: Any) -> ProviderEmbedder:
    return ProviderEmbedder("openai", "text-embedding-3-small", provider.post, **settings)


async def vectors(made: Embedder, *texts: str) -> list[list[float]]:
    return [meaning.vector.tolist() for meaning in await made.embed(texts)]


async def test_base64_is_asked_for_and_made_of_length_1() -> None:
    provider = FakeProvider(listed(packed(3, 4), packed(0, -2)))
    found = await vectors(embedder(provider), "one", "two")
    assert found[0] == pytest.approx([0.6, 0.8])
    assert found[1] == [0.0, -1.0]
    assert provider.asked == [
        {
            "model": "text-embedding-3-small",
            "encoding_format": "base64",
            "input": ["one", "two"],
        }
    ]


async def test_floats_and_dimensions_are_asked_for() -> None:
    provider = FakeProvider(listed([3, 4.0]))
    made = embedder(provider, encoding="float", dimensions=2)
    assert (await vectors(made, "one"))[0] == pytest.approx([0.6, 0.8])
    assert provider.asked[0]["encoding_format"] == "float"
    assert provider.asked[0]["dimensions"] == 2


async def test_a_provider_that_gives_the_other_encoding_is_read_too() -> None:
    assert (await vectors(embedder(FakeProvider(listed([0, 5]))), "a")) == [[0.0, 1.0]]
    made = embedder(FakeProvider(listed(packed(0, 5))), encoding="float")
    assert (await vectors(made, "a")) == [[0.0, 1.0]]


async def test_the_order_is_the_index_s() -> None:
    data = [{"index": 2, "embedding": [0, 1]}, {"index": 0, "embedding": [1, 0]}]
    data.append({"index": 1, "embedding": [-1, 0]})
    found = await vectors(embedder(FakeProvider({"data": data})), "a", "b", "c")
    assert found == [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]


async def test_without_an_index_the_order_is_as_it_stands() -> None:
    data = [{"embedding": [1, 0]}, {"embedding": [0, 1]}]
    found = await vectors(embedder(FakeProvider({"data": data})), "a", "b")
    assert found == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (listed([1, 0]), "did not answer with 2 embeddings"),
        (listed([1, 0], [0, 1], [1, 1]), "did not answer with 2 embeddings"),
        ({"data": [{"index": 0, "embedding": [1]}] * 2}, "did not answer with 2 embeddings"),
        (listed([1, 0], [0, 1, 0]), "of another width"),
        (listed([1, 0], [0, 0]), "unreadable"),
        (listed([1, 0], []), "unreadable"),
        (listed([1, 0], [[1, 0]]), "unreadable"),
        (listed([1, 0], ["x", 0]), "unreadable"),
        (listed([1, 0], None), "unreadable"),
        (listed([1, 0], packed(1, float("nan"))), "unreadable"),
        (listed([1, 0], "AAA"), "unreadable"),
        (listed([1, 0], "AAAA"), "unreadable"),
        (listed([1, 0], "#!"), "unreadable"),
        ({"error": {"message": "no"}}, "unreadable"),
        ({"data": 5}, "unreadable"),
        ({"data": ["x", "y"]}, "unreadable"),
        ({"data": [{"index": "0"}, {"index": 1}]}, "unreadable"),
        ([], "unreadable"),
        (b"<html>", "unreadable"),
    ],
)
async def test_what_is_not_taken(answer: Any, why: str) -> None:
    with pytest.raises(EmbedderUnavailable, match=f"^openai/text-embedding-3-small .*{why}"):
        await embedder(FakeProvider(answer)).embed(["a", "b"])


async def test_a_width_that_changes_is_not_taken() -> None:
    provider = FakeProvider(listed([1, 0]), listed([1, 0, 0]), listed([0, 1]))
    made = embedder(provider)
    await made.embed(["a"])
    with pytest.raises(EmbedderUnavailable, match="another width"):
        await made.embed(["b"])
    assert await vectors(made, "c") == [[0.0, 1.0]]


async def test_another_width_than_was_asked_for_is_not_taken() -> None:
    with pytest.raises(EmbedderUnavailable, match="another width"):
        await embedder(FakeProvider(listed([1, 0])), dimensions=3).embed(["a"])


async def test_whatever_the_post_raises_is_told_without_its_words() -> None:
    made = embedder(FakeProvider(OSError("key sk-1"), EmbedderUnavailable("the breaker is open")))
    with pytest.raises(EmbedderUnavailable, match=r"^openai/text-embedding-3-small failed: OSErr"):
        await made.embed(["a"])
    with pytest.raises(EmbedderUnavailable, match=r"^the breaker is open$"):
        await made.embed(["a"])


async def test_too_slow_is_an_error() -> None:
    async def post(body: bytes) -> bytes:
        await asyncio.sleep(60)
        return body

    made = ProviderEmbedder("openai", "m", post, timeout=0.02)
    with pytest.raises(EmbedderUnavailable, match="no answer in time"):
        await made.embed(["a"])


async def test_nothing_is_asked_for_nothing() -> None:
    provider = FakeProvider()
    made = embedder(provider)
    assert await made.embed([]) == []
    assert provider.asked == []
    await made.close()


def test_its_name_tells_what_is_not_to_be_compared() -> None:
    assert embedder(FakeProvider()).id == "openai/text-embedding-3-small"
    assert embedder(FakeProvider(), dimensions=256).id == "openai/text-embedding-3-small@256"
    assert embedder(FakeProvider()).limit == 8000
