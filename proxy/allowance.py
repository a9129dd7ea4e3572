"""How limits are written: by the configuration, and by a key over its defaults."""

from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol

from proxy.types import Budget, Limits, OwnLimits, Period

NANO = 10**9
MOST = 10**15  # of any limit: what JSON's numbers and every store hold exactly
MOST_USD = 10**6  # the same in nano-dollars
KEPT = 10_000  # pairs of a default and a key's own limits that are remembered


class Section(Protocol):
    """The `limits` of a configuration: `budget` in USD a month."""

    def model_dump(self) -> dict[str, Any]: ...


class LimitsError(ValueError):
    """A limit that can't be: the field, empty for the whole, and what is wrong with it."""

    def __init__(self, field: str, fault: str) -> None:
        self.field = "limits." + field if field else "limits"
        super().__init__(f"{self.field!r} {fault}")


def own_limits(value: Any) -> OwnLimits:
    """A key's own limits from JSON: `{rpm, tpm, rpd, tpd, concurrency, budget}`.

    A field that is left out has the configuration's default, null is no limit. A budget is USD
    a month, or `{"amount": USD, "per": "day"|"month"}`. Raises `LimitsError` naming the field.
    """
    if not isinstance(value, dict):
        raise LimitsError("", 'must be an object such as {"rpm": 60, "budget": 5}')
    known = Limits.__dataclass_fields__
    for field in value:
        if field not in known:
            raise LimitsError(field, f"is not known; known are {', '.join(known)}")
    counts = {f: _count(f, given) for f, given in value.items() if f != "budget"}
    limits = Limits(**counts, budget=_budget(value.get("budget")))
    return OwnLimits(limits, frozenset(value))


def _count(field: str, value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MOST:
        raise LimitsError(field, "must be a whole number above 0, or null for no limit")
    return value


def _budget(value: Any) -> Budget | None:
    if value is None:
        return None
    per = Period.MONTH
    if isinstance(value, dict):
        if value.keys() - {"amount", "per"}:
            raise LimitsError("budget", "has amount and per only")
        per = value.get("per", Period.MONTH)
        if per not in list(Period):
            raise LimitsError("budget.per", "must be 'day' or 'month'")
        value = value.get("amount")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_USD:
        raise LimitsError("budget", "must be USD above 0 a month, {amount, per}, or null")
    return Budget(nano(value), Period(per))


def nano(usd: float) -> int:
    """USD -> nano-dollars, to the nearest, at least one."""
    return max(1, round(Decimal(str(usd)) * NANO))


def shown(own: OwnLimits | None) -> dict[str, Any] | None:
    """A key's own limits as JSON, as `own_limits` reads them."""
    if own is None:
        return None
    said = {field: getattr(own.limits, field) for field in Limits.__dataclass_fields__}
    budget = own.limits.budget
    if budget is not None:
        said["budget"] = {"amount": budget.nanousd / NANO, "per": budget.per.value}
    return {field: value for field, value in said.items() if field in own.fields}


def of_section(section: Section) -> Limits:
    """The configuration's `limits`. More than can be counted is as much as can be."""
    given = {field: value for field, value in section.model_dump().items() if value is not None}
    usd = given.pop("budget", None)
    counts = {field: min(value, MOST) for field, value in given.items()}
    return Limits(**counts, budget=None if usd is None else Budget(nano(min(usd, MOST_USD))))


@lru_cache(maxsize=KEPT)
def effective(default: Limits, own: OwnLimits) -> Limits:
    """A key's own limits over the default, field by field."""
    return replace(default, **{field: getattr(own.limits, field) for field in own.fields})


def over(stored: OwnLimits | None, given: OwnLimits | None) -> OwnLimits | None:
    """What a key says after a change: the fields `given` over those `stored`; None drops all."""
    if stored is None or given is None:
        return given
    return OwnLimits(effective(stored.limits, given), stored.fields | given.fields)
