"""Which models a provider has, as far as the price catalogue of `genai-prices` knows.

It tells what is for sale, not what a key may use; and of old models seldom that they are old.
"""

import re
from datetime import UTC, datetime
from typing import NamedTuple

from genai_prices import data_snapshot
from genai_prices.types import ModelInfo
from genai_prices.types import Provider as Vendor

MOST = 1000  # models of one provider that are listed

_WORDS = re.compile(r"[a-z]+")
_OTHER_JOBS = frozenset(
    {
        "ada", "audio", "babbage", "curie", "davinci", "embed", "embedding", "embeddings", "image",
        "live", "moderation", "realtime", "rerank", "robotics", "transcribe", "tts", "whisper",
    }
)  # fmt: skip
"""Words in the names of models that don't chat."""


class Sold(NamedTuple):
    """A model of a vendor: the name that its API takes, and the one for people."""

    model: str
    title: str


def listed(provider: str, base_url: str, dialect: str) -> list[Sold]:
    """The chat models of a provider, by its name or else its URL; none for one that is not known.

    The first look-up by a URL takes 200 ms: not for the event loop.
    """
    vendor = _vendor(provider, base_url)
    if vendor is None:
        return []
    found = [Sold(m.id, m.name or m.id) for m in vendor.models if _is_sold(m, dialect)]
    return found[:MOST]


def title(provider: str, base_url: str, model: str) -> str:
    """A model's name for people; its own name where the catalogue has none."""
    vendor = _vendor(provider, base_url)
    found = vendor.find_model(model) if vendor else None
    return found.name if found is not None and found.name else model


def _vendor(provider: str, base_url: str) -> Vendor | None:
    snapshot = data_snapshot.get_snapshot()
    for name, url in ((provider, None), (None, base_url)):
        try:
            return snapshot.find_provider(None, name, url)
        except LookupError:
            continue
    return None


def _is_sold(model: ModelInfo, dialect: str) -> bool:
    """Whether it chats, at a price, and under that very name. Google's models in the catalogue
    are those of two APIs: the one with Claude is another dialect's."""
    if model.deprecated or model.id.endswith("-") or model.id.startswith("ft:"):
        return False
    if dialect == "gemini" and model.id.startswith("claude"):
        return False
    if not _OTHER_JOBS.isdisjoint(_WORDS.findall(model.id.lower())):
        return False
    price = model.get_prices(datetime.now(UTC))
    return price.input_mtok is not None and price.output_mtok is not None
