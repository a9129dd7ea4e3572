"""What one text counts or dates and the other does not, however each of them says it."""

from proxy.semantic.guards.amounts import Amounts, Number
from proxy.semantic.guards.lists import words
from proxy.semantic.guards.reading import Reading
from proxy.semantic.guards.units import LENGTHS, Unit

_NONE: frozenset[str] = frozenset()
_FRACTIONS = words("half quarter quarters third thirds fourths fifth eighth eighths tenth tenths")
_SAID: dict[float, frozenset[str]] = {
    0: words("zero none nothing"),
    1: words("one single once"),
    2: words("both twice double couple pair two_times second duo"),
    3: words("thrice triple trio"),
    25: _FRACTIONS,
    33: _FRACTIONS,
    50: _FRACTIONS,
    66: _FRACTIONS,
    75: _FRACTIONS,
    100: words("all full whole entire double twice"),
}
"""Words that are a number without being one; of fifty and the like they say it as a share."""
_DECADES = {
    "fifties": 1950, "sixties": 1960, "seventies": 1970, "eighties": 1980, "nineties": 1990,
    "twenties": 2020,
}  # fmt: skip
_HALF_DAY = 720  # minutes
_CLOSE = 0.04  # of a number, between units: a month is four weeks
_PERIODS = (
    words("today tonight tomorrow yesterday"),
    words("morning afternoon evening"),
    words("spring summer autumn winter"),
    frozenset(f"{which} {span}" for which in ("last", "this", "next") for span in
              ("week", "month", "year", "weekend", "summer", "winter", "spring", "autumn")),
    words("weekday weekend"),
    words("christmas easter"),
)  # fmt: skip
"""What excludes one another, group by group."""


def lacking(here: Reading, there: Reading) -> list[Number]:
    """Numbers that the other side has not: in no other unit, not as a word, a year, an ordinal or
    a clock, and not in the same digits anywhere. Lengths of a text aside."""
    known = _known(there.amounts)
    return [
        number
        for number in here.amounts.numbers
        if not (number.unit and number.unit.kind in LENGTHS)
        and int(number.value) not in known
        and number.value not in there.runs
        and _said(number).isdisjoint(there.words)
        and not any(equal(number, other) for other in there.amounts.numbers)
        and not (number.unit and _whole(number, there.amounts.units))
        and round(number.value // 1 * 60 + number.value % 1 * 100) not in there.amounts.clocks
    ]


def _known(there: Amounts) -> frozenset[int]:
    years = {year % 100 for year in there.years}
    return there.years | there.ordinals | there.months | there.hours | years


def _said(number: Number) -> frozenset[str]:
    return _SAID.get(number.value, _FRACTIONS if number.value % 1 else _NONE)


def _whole(number: Number, units: frozenset[Unit]) -> bool:
    """Whether it is one of a unit that is named: twelve months where "a year" is."""
    return any(equal(number, Number(1.0, unit, False)) for unit in units)


def equal(one: Number, other: Number) -> bool:
    """Whether two numbers come to the same."""
    if one.value == other.value:
        return True
    if one.unit is None or other.unit is None:
        bare, counted = (one, other) if one.unit is None else (other, one)
        return counted.unit is not None and bare.value == _base(counted)
    if one.unit.kind != other.unit.kind or one.unit == other.unit:
        return False
    return abs(_base(one) - _base(other)) <= _CLOSE * abs(_base(one))


def _base(number: Number) -> float:
    """A number in its kind's smallest unit; a percentage as a fraction of one."""
    if number.unit is None:
        return number.value
    return number.value / 100 if number.unit.kind == "share" else number.value * number.unit.size


def years(here: Reading, there: Reading) -> frozenset[int]:
    """Years that the other side has not: not as a bare number, of two digits, or as a decade."""
    bare = {int(number.value) for number in there.amounts.numbers}
    decades = {_DECADES[word] for word in there.words if word in _DECADES}
    return frozenset(
        year
        for year in here.amounts.years - there.amounts.years
        if not {year, year % 100} & bare
        and year // 10 * 10 not in decades
        and year not in there.runs
    )


def clocks_apart(one: Amounts, other: Amounts) -> bool:
    """Whether each side has a time of day that the other has not. One without am or pm may be of
    either half of the day."""
    return _late(one, other) and _late(other, one)


def _late(here: Amounts, there: Amounts) -> bool:
    halves = {clock % _HALF_DAY for clock in there.clocks}
    return any(
        clock not in there.clocks
        and (clock % _HALF_DAY not in halves or (here.halved and there.halved))
        for clock in here.clocks
    )


def periods_apart(one: Amounts, other: Amounts) -> bool:
    """Whether the sides name periods that exclude one another: yesterday, tomorrow."""
    for group in _PERIODS:
        mine, theirs = one.relative & group, other.relative & group
        if mine and theirs and not mine & theirs:
            return True
    return False
