"""Money in other currencies."""

import pytest

from proxy.config_types import PricingSection
from proxy.ledger.currency import USD, Currency, UnknownRate

CANADA = PricingSection(currency="CAD", rates={"CAD": 1.37, "EUR": 0.9})


def test_the_currency_of_reports() -> None:
    assert Currency.of(CANADA) == Currency("CAD", 1.37)
    assert Currency.of(CANADA, "EUR") == Currency("EUR", 0.9)
    assert Currency.of(PricingSection()) == USD == Currency("USD", 1.0)
    assert Currency.of(CANADA, "USD").is_usd
    assert not Currency.of(CANADA).is_usd


def test_the_dollar_needs_no_rate_and_has_no_other() -> None:
    assert Currency.of(PricingSection(rates={"USD": 2.0})).rate == 1.0


def test_a_currency_without_a_rate() -> None:
    with pytest.raises(UnknownRate, match=r"pricing\.rates has no rate for JPY"):
        Currency.of(CANADA, "JPY")
    assert Currency.of_reports(PricingSection(currency="JPY")) == USD
    assert Currency.of_reports(CANADA).code == "CAD"


def test_sums() -> None:
    cad = Currency("CAD", 1.37)
    assert cad.of_usd(0.003) == 0.00411
    assert cad.of_nano(2_000_000_000) == 2.74
    assert cad.of_nano(1) == 0.000000001
    assert USD.of_usd(0.1) == 0.1
