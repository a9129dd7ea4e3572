"""Money in another currency than that of the books, at the rates of the configuration."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

_USD = "USD"
NANO = 10**9
DIGITS = 9  # behind the point: those of a nano-dollar


class Pricing(Protocol):
    """What a configuration says of money. A rate is what one US dollar is in the currency."""

    @property
    def currency(self) -> str: ...

    @property
    def rates(self) -> Mapping[str, float]: ...


class UnknownRate(LookupError):
    """There is no rate for a currency: `pricing.rates` lacks it."""


class Currency(NamedTuple):
    """A currency by its code, and what one US dollar is in it."""

    code: str
    rate: float

    @classmethod
    def of(cls, pricing: Pricing, code: str | None = None) -> "Currency":
        """That currency, else the one of reports. Raises `UnknownRate`."""
        code = code or pricing.currency
        rate = 1.0 if code == _USD else pricing.rates.get(code)
        if rate is None:
            raise UnknownRate(f"pricing.rates has no rate for {code}")
        return cls(code, rate)

    @classmethod
    def of_reports(cls, pricing: Pricing) -> "Currency":
        """The one of reports; US dollars where there is no rate for it."""
        try:
            return cls.of(pricing)
        except UnknownRate:
            return USD

    @property
    def is_usd(self) -> bool:
        return self.code == _USD

    def of_usd(self, usd: float) -> float:
        """US dollars in this currency."""
        return round(usd * self.rate, DIGITS)

    def of_nano(self, nanousd: int) -> float:
        """Nano-dollars in this currency."""
        return round(nanousd * self.rate / NANO, DIGITS)


USD = Currency(_USD, 1.0)
"""That of the books."""
