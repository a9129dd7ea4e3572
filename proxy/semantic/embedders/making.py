"""From an embedder's name in the configuration to the embedder."""

from collections.abc import Callable

from proxy.semantic.embedders.minilm import MiniLm
from proxy.semantic.embedders.provider import Post, ProviderEmbedder
from proxy.semantic.embedders.transformers import SentenceTransformers
from proxy.semantic.meaning import Embedder

MINILM = "minilm"
TRANSFORMERS = "sentence-transformers/"

PostTo = Callable[[str, str], Post]
"""From a provider's name and a model's to what asks it for embeddings."""


def make(spec: str, post: PostTo | None = None, *, states: bool = False) -> Embedder:
    """The embedder called `spec`; nothing is loaded yet. Raises `ValueError` with what is wrong.

    `minilm`, `sentence-transformers/<folder or name of the hub's>` or `<provider>/<model>`, which
    needs `post`. `states` asks for tokens' states where they are not free (`minilm` always gives
    them, a provider never).
    """
    if spec == MINILM:
        return MiniLm()
    if spec.startswith(TRANSFORMERS):
        model = spec.removeprefix(TRANSFORMERS)
        if model:
            return SentenceTransformers(model, states=states)
    provider, _, model = spec.partition("/")
    if not provider or not model:
        raise ValueError(
            f"no embedder {spec!r}; write minilm, sentence-transformers/<model> or "
            "<provider>/<model>"
        )
    if post is None:
        raise ValueError(f"the embedder {spec!r} needs a provider {provider!r}, and there is none")
    return ProviderEmbedder(provider, model, post(provider, model))
