"""Numbers with their units, and when: what of a text can be counted or dated."""

import re
from typing import NamedTuple

from proxy.semantic.guards.tokens import NUMBER_WORDS, Token

_UNIT_TEXT = """
mass 0.000001: mg milligram
mass 0.000000001: microgram mcg
mass 0.001: g gram gramme
mass 1: kg kgs kilo kilogram kilogramme
mass 1000: tonne
mass 0.028349523: oz ounce
mass 0.45359237: lb lbs pound
length 0.001: mm millimeter
length 0.01: cm centimeter
length 1: m meter
length 1000: km kilometer
length 0.0254: inch inches
length 0.3048: ft foot
length 0.9144: yard yd
length 1609.344: mile mi
length2 1: m2 sqm
length2 0.0001: cm2
length3 1: m3
volume 0.001: ml milliliter
volume 0.1: deciliter dl
volume 1: l liter
volume 3.785411784: gallon gal
volume 0.473176: pint
volume 0.946353: quart
volume 0.2365882365: cup
volume 0.014786765: tablespoon tbsp
volume 0.004928922: teaspoon tsp
time 0.001: ms millisecond
time 1: s sec second
time 60: min minute
time 3600: h hr hrs hour
time 86400: day
time 604800: week wk wks
time 2629746: month
time 31557600: year yr yrs
time 315576000: decade
time 3155760000: century
data 1: bit
data 8: byte
data 8000: kb kilobyte
data 8000000: mb megabyte
data 8000000000: gb gigabyte gig
data 8000000000000: tb terabyte
speed 1: mph
speed 0.621371: kmh kph
celsius 1: celsius centigrade c
fahrenheit 1: fahrenheit f
kelvin 1: kelvin
angle 1: degree
radian 1: radian
power 1: w watt
power 1000: kw kilowatt
energy 1: kwh
joule 1: joule j
calorie 1: calorie kcal
volt 1: volt v
ampere 1: amp ampere
hertz 1: hz hertz
hertz 1000: khz
hertz 1000000: mhz
hertz 1000000000: ghz
share 1: % percent
dollar 1: $ usd dollar buck
euro 1: € eur euro
pound_sterling 1: £ gbp quid
yen 1: ¥ yen jpy
rupee 1: ₹ rupee inr
cent 0.01: cent
"""
_TIMES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000,
          "k": 1_000, "mio": 1_000_000, "b": 1_000_000_000, "bn": 1_000_000_000, "dozen": 12, "dozens": 12}  # fmt: skip
_ORDINALS = {
    word: value
    for value, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split(),
        start=1,
    )
}
_ROMAN = {"II": 2, "III": 3, "IV": 4, "VI": 6, "VII": 7, "VIII": 8, "IX": 9, "XI": 11, "XII": 12,
          "XIII": 13, "XIV": 14, "XV": 15, "XVI": 16}  # fmt: skip
_MONTHS = {
    name: number
    for number, names in enumerate(
        "january jan,february feb,march,april apr,may,june jun,july jul,august aug,september sep"
        " sept,october oct,november nov,december dec".split(","),
        start=1,
    )
    for name in names.split()
}
_DAYS = {
    name: number
    for number, names in enumerate(
        "monday mon,tuesday tue tues,wednesday wed,thursday thu thur thurs,friday fri"
        ",saturday sat,sunday sun".split(","),
        start=1,
    )
    for name in names.split()
}
_AMBIGUOUS = frozenset({"march", "may", "mon", "wed", "sat", "sun", "second", "jan", "mar"})
_RELATIVE = {
    "today": "today", "tonight": "tonight", "tomorrow": "tomorrow", "yesterday": "yesterday",
    "morning": "morning", "afternoon": "afternoon", "evening": "evening", "night": "night",
    "midnight": "midnight", "noon": "noon", "spring": "spring", "summer": "summer",
    "autumn": "autumn", "winter": "winter", "weekend": "weekend", "weekday": "weekday",
    "christmas": "christmas", "easter": "easter",
}  # fmt: skip
_ATTACHED = re.compile(r"[a-z%]+\d?$")
_SYMBOLS = frozenset("$€£¥₹")


class Unit(NamedTuple):
    """`kind` is what it measures; `size` how many of the kind's smallest it is."""

    kind: str
    size: float


class Number(NamedTuple):
    """A value as written, its unit, and whether the text has it in digits."""

    value: float
    unit: Unit | None
    digits: bool


class Amounts(NamedTuple):
    """What was counted and dated in a text. `units` are those without a number."""

    numbers: tuple[Number, ...]
    ordinals: frozenset[int]
    units: frozenset[Unit]
    years: frozenset[int]
    months: frozenset[int]
    days: frozenset[int]
    clocks: frozenset[int]
    relative: frozenset[str]


def _units() -> dict[str, Unit]:
    units = {}
    for line in _UNIT_TEXT.strip().splitlines():
        head, _, words = line.partition(": ")
        kind, size = head.split()
        units |= {word: Unit(kind, float(size)) for word in words.split()}
    return units


UNITS = _units()
_SHORT = frozenset(word for word in UNITS if len(word) < 3 and word.isalpha())


def measure(tokens: list[Token]) -> Amounts:
    """What is counted and dated in a text's tokens, phrases not yet joined."""
    reader = _Reader(tokens)
    place = 0
    while place < len(tokens):
        place = reader.read(place)
    return reader.amounts()


class _Reader:
    """Goes over tokens once, each step from a place to the next one unread."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.numbers: list[Number] = []
        self.ordinals: set[int] = set()
        self.units: set[Unit] = set()
        self.years: set[int] = set()
        self.months: set[int] = set()
        self.days: set[int] = set()
        self.clocks: set[int] = set()
        self.relative: set[str] = set()

    def amounts(self) -> Amounts:
        return Amounts(
            tuple(dict.fromkeys(self.numbers)),
            frozenset(self.ordinals),
            frozenset(self.units),
            frozenset(self.years),
            frozenset(self.months),
            frozenset(self.days),
            frozenset(self.clocks),
            frozenset(self.relative),
        )

    def read(self, place: int) -> int:
        token = self.tokens[place]
        word = token.lower
        if not word.strip("0123456789.,:/"):
            return self._clock(place) if ":" in word else self._digits(place)
        if word in NUMBER_WORDS or word in _TIMES or word == "half":
            return self._words(place)
        if token.raw in _ROMAN:
            self.numbers.append(Number(_ROMAN[token.raw], None, True))
        elif word in _ORDINALS and not (word == "second" and self._counted(place)):
            self.ordinals.add(_ORDINALS[word])
        elif word in _MONTHS or token.plain in _DAYS:
            self._calendar(place)
        elif word in _RELATIVE:
            self.relative.add(self._told(place, _RELATIVE[word]))
        elif len(word) > 1 and (token.plain in UNITS):
            self._unit(place)
        return place + 1

    def _word(self, place: int) -> str:
        return self.tokens[place].lower if 0 <= place < len(self.tokens) else ""

    def _counted(self, place: int) -> bool:
        """Whether "second" is a time here."""
        before = self._word(place - 1)
        return before in {"per", "a", "each", "every", "one"} or before[-1:].isdecimal()

    def _clock(self, place: int) -> int:
        hour, minute = self.tokens[place].lower.split(":")
        return self._time_of_day(place + 1, int(hour), int(minute))

    def _time_of_day(self, place: int, hour: int, minute: int) -> int:
        """`place` is of what may be am or pm."""
        half = self._word(place).replace(".", "")
        if half == "pm" and hour < 12:
            hour += 12
        if half == "am" and hour == 12:
            hour = 0
        self.clocks.add(60 * hour + minute)
        return place + 1 if half in {"am", "pm"} else place

    def _digits(self, place: int) -> int:
        token = self.tokens[place]
        value = _value(token.lower)
        if "/" in self._word(place + 1) and "/" not in token.lower and value < 100:
            place += 1
            value += _value(self._word(place))
        if [self._word(place + step) for step in (1, 2, 3)] == ["and", "a", "half"]:
            place += 3
            value += 0.5
        after = self._word(place + 1)
        attached = self._attached(place)
        if after.replace(".", "") in {"am", "pm"} and value <= 24:
            return self._time_of_day(place + 1, int(value), 0)
        if attached and after in {"st", "nd", "rd", "th"}:
            near = {self._word(place - 1), self._word(place + 2), self._word(place + 3)}
            if near & _MONTHS.keys():
                self.numbers.append(Number(value, None, True))
            else:
                self.ordinals.add(int(value))
            return place + 2
        if after in _TIMES and (attached or len(after) > 1):
            value *= _TIMES[after]
            place += 1
        return self._count(place, value, digits=True)

    def _attached(self, place: int) -> bool:
        if place + 1 >= len(self.tokens):
            return False
        token = self.tokens[place]
        return token.start + len(token.raw) == self.tokens[place + 1].start

    def _words(self, place: int) -> int:
        """Number words from here on: "two hundred and fifty", "half a dozen"."""
        value, known, first = 0.0, False, place
        while place < len(self.tokens):
            word = self._word(place)
            if word in NUMBER_WORDS and (not known or _adds(value, NUMBER_WORDS[word])):
                value += NUMBER_WORDS[word]
            elif word == "half" and (not known or self._word(place - 1) == "a"):
                value += 0.5
            elif word in _TIMES:
                value = (value or 1.0) * _TIMES[word]
            elif not (known and word in {"and", "a"} and self._more(place)):
                break
            known = True
            place += 1
        alone = place == first + 1 and self._word(first) in {"one", "half", "zero"}
        if alone and self.tokens[min(place, len(self.tokens) - 1)].plain not in UNITS:
            return place
        return self._count(place - 1, value, digits=False)

    def _more(self, place: int) -> bool:
        """Whether "two hundred and" goes on as a number."""
        after, before = self._word(place + 1), self._word(place - 1)
        if self._word(place) == "a":
            return (before == "half" and after in _TIMES) or (before == "and" and after == "half")
        if after == "a":
            return self._word(place + 2) == "half"
        return before in _TIMES and after in NUMBER_WORDS

    def _count(self, place: int, value: float, *, digits: bool) -> int:
        """Keep a number whose last token is at `place`, with the unit before or after it."""
        unit = UNITS[self._word(place - 1)] if self._word(place - 1) in _SYMBOLS else None
        after = place + 1
        if unit is None:
            unit, after = self._unit_at(after, self._attached(place))
        year = digits and unit is None and value.is_integer() and 1400 <= value <= 2100
        if year and self.tokens[place].lower.isdecimal():
            self.years.add(int(value))
        else:
            self.numbers.append(Number(value, unit, digits))
        return after

    def _unit_at(self, place: int, attached: bool) -> tuple[Unit | None, int]:
        """The unit of the number before `place`, and the place behind it."""
        if place >= len(self.tokens):
            return None, place
        power = {"square": "2", "sq": "2", "cubic": "3"}.get(self._word(place), "")
        token = self.tokens[min(place + bool(power), len(self.tokens) - 1)]
        word = token.plain if token.plain in UNITS else token.lower
        if word in {"degree", "°"}:
            scale = UNITS.get(self._word(place + 1))
            if scale is not None and scale.kind in {"celsius", "fahrenheit", "kelvin"}:
                return scale, place + 2
            return UNITS["degree"], place + 1
        if word not in UNITS or token.raw == "G" or (attached and word == "s"):
            return None, place
        if word in {"c", "f", "v", "w", "j"} and not token.raw.isupper():
            return None, place
        unit = UNITS[word]
        if power:
            unit = Unit(unit.kind + power, unit.size ** int(power))
        return unit, place + 1 + bool(power)

    def _calendar(self, place: int) -> None:
        token = self.tokens[place]
        if token.lower in _AMBIGUOUS:
            near = self._word(place - 1)[-1:].isdecimal() or self._word(place + 1)[:1].isdecimal()
            said = self._word(place - 1) in {"in", "of", "since", "until", "by", "on", "next"}
            if not token.raw[0].isupper() or not (near or (said and token.lower in {"may", "march"})):
                return
        if token.lower in _MONTHS:
            self.months.add(_MONTHS[token.lower])
        else:
            self.days.add(_DAYS[token.plain])

    def _told(self, place: int, word: str) -> str:
        before = self._word(place - 1)
        return f"{before} {word}" if before in {"last", "next"} else word

    def _unit(self, place: int) -> None:
        token = self.tokens[place]
        before = self._word(place - 1)
        if before in {"last", "next"} and token.plain in {"week", "month", "year"}:
            self.relative.add(f"{before} {token.plain}")
        else:
            self.units.add(UNITS[token.plain])


def _adds(value: float, more: int) -> bool:
    """Whether `more` goes on with a number: "two hundred" "five", "twenty" "five"."""
    return (value >= 100 and not value % 100) or (value % 100 >= 20 and not value % 10 and more < 10)


def _value(digits: str) -> float:
    """Of digits with points: the third point and on of a version count for thousandths."""
    if "/" in digits:
        above, below = digits.split("/")
        return int(above) / (int(below) or 1)
    parts = digits.replace(",", "").split(".")
    if len(parts) < 3:
        return float(".".join(parts))
    return sum(int(part) / 1000**index for index, part in enumerate(parts))
