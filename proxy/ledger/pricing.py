"""What tokens cost: the operator's overrides, else the catalogue of `genai-prices`.

The catalogue is part of its package; nothing is fetched. A look-up and a sum by the library take
70 µs, which a request would pay for its cost header, so a flat price is turned into integer
rates once a model. Tiered and time-bound prices go through the library each time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Protocol
from urllib.parse import urlsplit

import genai_prices
from genai_prices import data_snapshot
from genai_prices.types import ModelInfo, ModelPrice
from genai_prices.types import Provider as Vendor

from adapters.base import Usage

NANO = 10**9
MILLION = 10**6
KEPT = 10_000  # models whose price is remembered

_VENDORS = {"gemini": "google", "xai": "x-ai", "bedrock": "aws"}
"""Usual names of a provider in a configuration that the catalogue spells otherwise."""

_FIELDS = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")


class Override(Protocol):
    """USD for a million tokens, and for one image, by the operator."""

    input: float
    output: float
    cached: float | None
    cache_write: float | None
    image: float | None


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-dollars for a million tokens of each class, and for one image; exact, and cheap to
    add up."""

    input: int
    output: int
    cached: int
    cache_write: int
    image: int = 0

    def cost(self, usage: Usage) -> int:
        """Nano-dollars, rounded to the nearest. No token is billed in two classes."""
        fresh = max(0, usage.prompt - usage.cached - usage.cache_write)
        total = (
            fresh * self.input
            + usage.cached * self.cached
            + usage.cache_write * self.cache_write
            + usage.completion * self.output
        )
        return (total + MILLION // 2) // MILLION + usage.images * self.image


Price = Rates | tuple[Vendor, ModelInfo]


class Prices:
    """Prices under one configuration. `overrides` maps `provider/model`, with `*`, to a price."""

    def __init__(self, overrides: Mapping[str, Override]) -> None:
        self._overrides = overrides
        self._known: dict[tuple[str, str, str], Price | None] = {}

    def warm(self, providers: Iterable[tuple[str, str]]) -> None:
        """Loads the catalogue and looks each (name, base URL) up in it, so that no request has to.

        The first look-up of a provider by its URL compiles fifty patterns: 200 ms.
        """
        for name, base_url in providers:
            _find(name, base_url, "")

    def cost(self, provider: str, base_url: str, model: str, usage: Usage) -> int | None:
        """Nano-dollars; None when nobody knows the price."""
        price = self._price(provider, base_url, model)
        if price is None:
            return None
        return price.cost(usage) if isinstance(price, Rates) else _by_library(price, usage)

    def unit(self, provider: str, base_url: str, model: str) -> float | None:
        """USD of a million tokens in and a million out; None when nobody knows."""
        cost = self.cost(provider, base_url, model, Usage(prompt=MILLION, completion=MILLION))
        return None if cost is None else cost / NANO

    def catalogue_entry(self, provider: str, base_url: str, model: str) -> dict[str, float] | None:
        """USD for a million tokens in and out, for the list of models."""
        prompt = self.cost(provider, base_url, model, Usage(prompt=MILLION))
        completion = self.cost(provider, base_url, model, Usage(completion=MILLION))
        if prompt is None or completion is None:
            return None
        return {"input": prompt / NANO, "output": completion / NANO}

    def context_window(self, provider: str, base_url: str, model: str) -> int | None:
        """Tokens that the model reads at most; None when the catalogue does not say."""
        found = _find(provider, base_url, model)
        return found[1].context_window if found else None

    def _price(self, provider: str, base_url: str, model: str) -> Price | None:
        """What is known of a model's price: rates, or the catalogue's entry to work it out."""
        key = (provider, base_url, model)
        if key not in self._known:
            if len(self._known) > KEPT:
                self._known.clear()  # names come from requests: they must not fill the memory
            rates = self._override(f"{provider}/{model}")
            found = None if rates else _find(provider, base_url, model)
            self._known[key] = rates or _flat_rates(found) or found
        return self._known[key]

    def _override(self, name: str) -> Rates | None:
        """The longest pattern that fits."""
        fitting = [p for p in self._overrides if p == name or fnmatchcase(name, p)]
        if not fitting:
            return None
        price = self._overrides[max(fitting, key=len)]
        plain = _rate(price.input)
        return Rates(
            input=plain,
            output=_rate(price.output),
            cached=plain if price.cached is None else _rate(price.cached),
            cache_write=plain if price.cache_write is None else _rate(price.cache_write),
            image=0 if price.image is None else _rate(price.image),
        )


def _find(provider: str, base_url: str, model: str) -> tuple[Vendor, ModelInfo] | None:
    """The catalogue's entry, by the provider's name or else by its URL."""
    snapshot = data_snapshot.get_snapshot()
    by_name = (_VENDORS.get(provider, provider), None)
    ways = (by_name, (None, base_url)) if _may_be_known(base_url) else (by_name,)
    for vendor, url in ways:
        try:
            return snapshot.find_provider_model(model, None, vendor, url)
        except LookupError:
            continue
    return None


def _may_be_known(base_url: str) -> bool:
    """Whether a look-up by URL is worth its 200 ms and 4 MB: no vendor serves on an address."""
    host = urlsplit(base_url).hostname or "localhost"
    return host != "localhost" and not host.replace(".", "").isdecimal() and ":" not in host


def _flat_rates(found: tuple[Vendor, ModelInfo] | None) -> Rates | None:
    """Rates, when the price is the same at all times and for all amounts."""
    prices = found[1].prices if found else None
    if not isinstance(prices, ModelPrice):
        return None
    values: dict[str, Any] = {name: getattr(prices, name, None) for name in _FIELDS}
    if any(value is not None and not isinstance(value, Decimal) for value in values.values()):
        return None
    if values["input_mtok"] is None or values["output_mtok"] is None:
        return None
    plain = values["input_mtok"]
    return Rates(
        input=_rate(plain),
        output=_rate(values["output_mtok"]),
        cached=_rate(plain if values["cache_read_mtok"] is None else values["cache_read_mtok"]),
        cache_write=_rate(
            plain if values["cache_write_mtok"] is None else values["cache_write_mtok"]
        ),
    )


def _rate(price: float | Decimal) -> int:
    return round(Decimal(str(price)) * NANO)


def _by_library(found: tuple[Vendor, ModelInfo], usage: Usage) -> int:
    vendor, model = found
    tokens = genai_prices.Usage(
        input_tokens=usage.prompt,
        output_tokens=usage.completion,
        cache_read_tokens=usage.cached,
        cache_write_tokens=usage.cache_write,
    )
    price = model.calc_price(tokens, vendor, genai_request_timestamp=datetime.now(UTC))
    return round(price.total_price * NANO)
