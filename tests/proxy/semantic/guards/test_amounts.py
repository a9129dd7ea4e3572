"""Numbers, units and dates that are found in a text."""

import pytest

from proxy.semantic.guards.amounts import Amounts, measure
from proxy.semantic.guards.tokens import clean, tokenize


def amounts(text: str) -> Amounts:
    return measure(tokenize(clean(text)))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,200.50 euros", [1200.5]),
        ("two hundred and fifty", [250]),
        ("forty-two", [42]),
        ("two and a half hours", [2.5]),
        ("2 1/2 hours", [2.5]),
        ("3\u00bd hours", [3.5]),
        ("half a dozen", [6]),
        ("half a million", [500_000]),
        ("3/4 of it", [0.75]),
        (".3 or -20 degrees", [0.3, -20]),
        ("70B parameters, 45k a year", [70e9, 45_000]),
        ("14, 3, 27", [14, 3, 27]),
        ("a 12x15 room", [12, 15]),
        ("my 401(k) and 0xFF", []),
        ("1..10", [1, 10]),
        ("3 hours 30 minutes", [3.5]),
        ("twenty-fifth", [25]),
        ("part II", [2]),
        ("one of them", []),
    ],
)
def test_values(text: str, values: list[float]) -> None:
    assert [number.value for number in amounts(text).numbers] == values


@pytest.mark.parametrize(
    ("text", "kind", "size"),
    [
        ("10kg", "mass", 1),
        ("10 lbs", "mass", 0.45359237),
        ("$10", "dollar", 1),
        ("10 dollars", "dollar", 1),
        ("10 \u00b0C", "celsius", 1),
        ("10 degrees Fahrenheit", "fahrenheit", 1),
        ("10 miles per hour", "speed", 1),
        ("10 km/h", "speed", 0.621371),
        ("10 square feet", "length2", 0.3048**2),
        ("10 more days", "time", 86_400),
        ("10-minute", "time", 60),
        ("10 short words", "words", 1),
        ("10%", "share", 1),
    ],
)
def test_units(text: str, kind: str, size: float) -> None:
    (number,) = amounts(text).numbers

    assert number.unit is not None
    assert (number.unit.kind, number.unit.size) == (kind, pytest.approx(size))


def test_letters_behind_a_comma_are_no_unit() -> None:
    assert [number.unit for number in amounts("C 40, H 6.7 and 5G").numbers] == [None, None, None]


def test_dates() -> None:
    found = amounts("On Monday, July 4th, in 1976 at 3:15 pm or 9 a.m. last week, at noon")

    assert found.days == {1}
    assert found.months == {7}
    assert found.years == {1976}
    assert found.clocks == {915, 540, 720}
    assert found.relative == {"last week"}


@pytest.mark.parametrize("text", ["You may march", "the sun sat", "port 1995", "a second"])
def test_words_that_only_look_like_dates(text: str) -> None:
    found = amounts(text)

    assert not found.months | found.days | found.years | found.ordinals


def test_what_is_asked_for() -> None:
    kinds = {unit.kind for unit in amounts("How many ounces are in a day in liters").asked}

    assert kinds == {"mass", "volume"}
