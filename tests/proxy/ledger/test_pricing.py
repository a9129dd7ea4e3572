"""What tokens cost: no token twice, no price from nothing, the library's own sums."""

import genai_prices
import pytest

from adapters.base import Usage
from proxy.config_types import PriceOverride
from proxy.ledger.pricing import Prices

OPENAI = "https://api.openai.com/v1"
USAGE = Usage(prompt=300_000, completion=1_000, cached=100_000)


def test_by_hand() -> None:
    # gpt-4o-mini: $0.15 in, $0.075 cached, $0.60 out a million.
    usage = Usage(prompt=1000, completion=100, cached=100)
    assert Prices({}).cost("openai", OPENAI, "gpt-4o-mini", usage) == 135_000 + 7_500 + 60_000


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o"),
        ("openai", "gpt-4o-mini"),
        ("openai", "text-embedding-3-small"),
        ("anthropic", "claude-sonnet-4-5"),
        ("google", "gemini-2.5-pro"),
        ("google", "gemini-2.0-flash"),
        ("groq", "llama-3.1-8b-instant"),
        ("openrouter", "openai/gpt-4o-mini"),
        ("deepseek", "deepseek-chat"),
        ("mistral", "mistral-large-latest"),
    ],
)
def test_as_the_library_has_it(provider: str, model: str) -> None:
    tokens = genai_prices.Usage(
        input_tokens=USAGE.prompt,
        output_tokens=USAGE.completion,
        cache_read_tokens=USAGE.cached,
        cache_write_tokens=0,
    )
    theirs = genai_prices.calc_price(tokens, model_ref=model, provider_id=provider).total_price
    ours = Prices({}).cost(provider, "", model, USAGE)
    assert ours is not None
    assert ours > 0
    assert ours / 1e9 == pytest.approx(float(theirs), rel=1e-6)


def test_a_provider_of_another_name_is_known_by_its_url() -> None:
    prices = Prices({})
    assert prices.cost("mine", OPENAI, "gpt-4o", USAGE) == prices.cost(
        "openai", "", "gpt-4o", USAGE
    )


def test_nobody_knows() -> None:
    prices = Prices({})
    for provider, url, model in (("up", "http://127.0.0.1:1/v1", "m"), ("openai", OPENAI, "nope")):
        assert prices.cost(provider, url, model, USAGE) is None
        assert prices.unit(provider, url, model) is None
        assert prices.catalogue_entry(provider, url, model) is None
        assert prices.context_window(provider, url, model) is None


def test_overrides_win_and_the_longest_fits() -> None:
    prices = Prices(
        {
            "openai/*": PriceOverride(input=1, output=2),
            "openai/gpt-4o*": PriceOverride(input=3, output=4, cached=0.5, cache_write=5),
            "local/*": PriceOverride(input=0, output=0),
        }
    )
    million = Usage(prompt=1_000_000, completion=1_000_000)
    assert prices.cost("openai", OPENAI, "o1", million) == 3 * 10**9
    assert prices.cost("openai", OPENAI, "gpt-4o", million) == 7 * 10**9
    assert prices.cost("local", "", "smollm2", million) == 0
    mixed = Usage(prompt=1_000_000, cached=200_000, cache_write=100_000)
    assert (
        prices.cost("openai", OPENAI, "gpt-4o", mixed) == 2_100_000_000 + 100_000_000 + 500_000_000
    )


def test_the_list_of_models() -> None:
    prices = Prices({})
    assert prices.catalogue_entry("openai", OPENAI, "gpt-4o-mini") == {"input": 0.15, "output": 0.6}
    assert prices.context_window("openai", OPENAI, "gpt-4o-mini") == 128_000
    assert prices.unit("openai", OPENAI, "gpt-4o-mini") == pytest.approx(0.75)
    prices.warm([("openai", OPENAI), ("up", "http://127.0.0.1:1/v1")])
