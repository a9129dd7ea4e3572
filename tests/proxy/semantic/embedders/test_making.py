"""From a name to an embedder."""

import json

import pytest

from proxy.semantic.embedders.making import make
from proxy.semantic.embedders.minilm import MiniLm
from proxy.semantic.embedders.provider import Post, ProviderEmbedder
from proxy.semantic.embedders.transformers import SentenceTransformers


def test_minilm() -> None:
    assert isinstance(make("minilm"), MiniLm)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("sentence-transformers/all-mpnet-base-v2", "all-mpnet-base-v2"),
        ("sentence-transformers/BAAI/bge-small-en-v1.5", "BAAI/bge-small-en-v1.5"),
        ("sentence-transformers//srv/model", "/srv/model"),
        ("sentence-transformers/./model", "./model"),
    ],
)
def test_sentence_transformers(spec: str, name: str) -> None:
    made = make(spec)
    assert isinstance(made, SentenceTransformers)
    assert made.id.startswith(f"sentence-transformers/{name}@")


async def test_a_provider_s() -> None:
    sent: list[tuple[str, str, str]] = []

    def post_to(provider: str, model: str) -> Post:
        async def post(body: bytes) -> bytes:
            sent.append((provider, model, json.loads(body)["model"]))
            return b'{"data": [{"index": 0, "embedding": [0, 2]}]}'

        return post

    made = make("together/BAAI/bge-base", post_to)
    assert isinstance(made, ProviderEmbedder)
    (meaning,) = await made.embed(["Hello"])
    assert meaning.vector.tolist() == [0.0, 1.0]
    assert sent == [("together", "BAAI/bge-base", "BAAI/bge-base")]


@pytest.mark.parametrize(
    "spec", ["", "MiniLM", "/", "/model", "openai/", "sentence-transformers/", "minilm "]
)
def test_what_names_none(spec: str) -> None:
    with pytest.raises(ValueError, match="write minilm, sentence-transformers/<model> or"):
        make(spec)


def test_a_provider_s_without_providers() -> None:
    with pytest.raises(ValueError, match="needs a provider 'openai', and there is none"):
        make("openai/text-embedding-3-small")
