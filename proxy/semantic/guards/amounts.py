"""Numbers with their units, and when: what of a text can be counted or dated."""

from typing import NamedTuple

from proxy.semantic.guards.lists import lines, words
from proxy.semantic.guards.tokens import NUMBER_WORDS, Token
from proxy.semantic.guards.units import LENGTHS, UNITS, Unit

_TIMES = {
    "hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000,
    "k": 1_000, "mio": 1_000_000, "b": 1_000_000_000, "bn": 1_000_000_000,
    "dozen": 12, "dozens": 12,
}  # fmt: skip
_ORDINAL_TEXT = """
first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth
"""
_ORDINALS = {word: value for value, word in enumerate(_ORDINAL_TEXT.split(), start=1)}
_PARTS = {
    "thirds": 3, "quarters": 4, "fourths": 4, "fifths": 5, "sixths": 6, "eighths": 8, "tenths": 10,
}  # fmt: skip
_ROMAN = {
    "II": 2, "III": 3, "IV": 4, "VI": 6, "VII": 7, "VIII": 8, "IX": 9, "XI": 11, "XII": 12,
    "XIII": 13, "XIV": 14, "XV": 15, "XVI": 16,
}  # fmt: skip
_MONTH_TEXT = """
january jan
february feb
march mar
april apr
may
june jun
july jul
august aug
september sep sept
october oct
november nov
december dec
"""
_DAY_TEXT = """
monday mon
tuesday tue tues
wednesday wed
thursday thu thur thurs
friday fri
saturday sat
sunday sun
"""


def _numbered(text: str) -> dict[str, int]:
    """The words of each line, with the line's number from 1 on."""
    return {
        word: number for number, line in enumerate(lines(text), start=1) for word in line.split()
    }


_MONTHS = _numbered(_MONTH_TEXT)
_DAYS = _numbered(_DAY_TEXT)
_AMBIGUOUS = frozenset({"march", "may", "mon", "wed", "sat", "sun", "second", "jan", "mar"})
_RELATIVE = words("""
    today tonight tomorrow yesterday morning afternoon evening night weekend weekday spring summer
    autumn winter christmas easter
    """)
_ASKING = frozenset({"many", "in", "to", "into"})
_DATING = _MONTHS.keys() | words(
    "in since of from by before after until till year for during between to and around the"
)
_CLOCKS = {"noon": 720, "midday": 720, "midnight": 0}
_SYMBOLS = frozenset("$€£¥₹")
_BETWEEN = words(
    "short simple brief long full complete plain concise single more additional extra whole"
    " business working calendar"
)


class Number(NamedTuple):
    """A value as written, its unit, and whether the text has it in digits."""

    value: float
    unit: Unit | None
    digits: bool


class Amounts(NamedTuple):
    """What was counted and dated in a text. `units` are those without a number, `asked` those of
    them behind "how many", "in", "to" and the like. `clocks` are minutes after midnight, `halved`
    says that a half of the day was told for one of them."""

    numbers: tuple[Number, ...]
    ordinals: frozenset[int]
    units: frozenset[Unit]
    asked: frozenset[Unit]
    years: frozenset[int]
    months: frozenset[int]
    days: frozenset[int]
    clocks: frozenset[int]
    halved: bool
    relative: frozenset[str]

    @property
    def hours(self) -> frozenset[int]:
        """The full hours among the clocks, of twelve and of twenty-four."""
        return frozenset(
            hour for clock in self.clocks for hour in (clock // 60, clock // 60 % 12 or 12)
        )


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
        self.end = -9
        self.ordinals: set[int] = set()
        self.units: set[Unit] = set()
        self.asked: set[Unit] = set()
        self.years: set[int] = set()
        self.months: set[int] = set()
        self.days: set[int] = set()
        self.clocks: set[int] = set()
        self.halved = False
        self.relative: set[str] = set()

    def amounts(self) -> Amounts:
        return Amounts(
            tuple(dict.fromkeys(self.numbers)),
            frozenset(self.ordinals),
            frozenset(self.units),
            frozenset(self.asked),
            frozenset(self.years),
            frozenset(self.months),
            frozenset(self.days),
            frozenset(self.clocks),
            self.halved,
            frozenset(self.relative),
        )

    def read(self, place: int) -> int:
        token = self.tokens[place]
        word = token.lower
        if not word.strip("-0123456789.,:/"):
            return self._clock(place) if ":" in word else self._digits(place)
        if word in {"night", "tonight", "evening"}:
            self._night(place)
            return place + 1
        if word == "single" and self._word(place + 1) in UNITS:
            self.numbers.append(Number(1.0, UNITS[self._word(place + 1)], False))
            return place + 2
        if word in NUMBER_WORDS or word == "half" or (word in _TIMES and len(word) > 2):
            return self._words(place)
        if token.raw in _ROMAN:
            self.numbers.append(Number(_ROMAN[token.raw], None, True))
        elif word in _ORDINALS and not (word == "second" and self._counted(place)):
            self.ordinals.add(_ORDINALS[word])
        elif word in _MONTHS or token.plain in _DAYS:
            self._calendar(place)
        elif word in _CLOCKS:
            self.clocks.add(_CLOCKS[word])
        elif word in _RELATIVE:
            self.relative.add(self._told(place, word))
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
        self.halved = self.halved or half in {"am", "pm"} or hour > 12
        return place + 1 if half in {"am", "pm"} else place

    def _digits(self, place: int) -> int:
        token, first = self.tokens[place], place
        value = _value(token.lower)
        if "/" in self._word(place + 1) and "/" not in token.lower and value < 100:
            place += 1
            value += _value(self._word(place))
        if [self._word(place + step) for step in (1, 2, 3)] == ["and", "a", "half"]:
            place += 3
            value += 0.5
        after = self._word(place + 1)
        attached = self._attached(place)
        if after.replace(".", "") in {"am", "pm"} and 0 <= value <= 24:
            minute = round(value % 1 * 100)
            return self._time_of_day(place + 1, int(value), minute)
        if after == "oclock" and 0 < value <= 12:
            late = {self._word(place + step) for step in (2, 3, 4)} & {"afternoon", "evening"}
            hour = int(value) + 12 * (bool(late) and value < 12)
            return self._time_of_day(place + 2, hour, 0)
        if attached and after in {"st", "nd", "rd", "th"}:
            near = {self._word(place - 1), self._word(place + 2), self._word(place + 3)}
            if near & _MONTHS.keys():
                self.numbers.append(Number(value, None, True))
            else:
                self.ordinals.add(int(value))
            return place + 2
        if attached and after in {"m", "mn"} and self._millions(place):
            return self._count(place + 1, value * 1_000_000, digits=True, first=first)
        if after in _TIMES and (attached or len(after) > 1):
            value *= _TIMES[after]
            place += 1
        return self._count(place, value, digits=True, first=first)

    def _millions(self, place: int) -> bool:
        """Whether the "m" behind the digits at `place` is no meter: "$5m", "5M"."""
        return self._word(place - 1) in _SYMBOLS or self.tokens[place + 1].raw == "M"

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
            elif known and word in _ORDINALS and value >= 20:
                value += _ORDINALS[word]
            elif word in _TIMES and len(word) > 2:
                value = (value or 1.0) * _TIMES[word]
            elif not (known and word in {"and", "a"} and self._more(place)):
                break
            known = True
            place += 1
        if parts := self._parts(place, value):
            return self._count(place, value / parts, digits=False)
        alone = place == first + 1 and self._word(first) in {"one", "half", "zero"}
        if alone and self.tokens[min(place, len(self.tokens) - 1)].plain not in UNITS:
            return place
        return self._count(place - 1, value, digits=False)

    def _parts(self, place: int, value: float) -> int:
        """How many parts make a whole in "two thirds" or "one eighth", 0 where there are none."""
        word = self._word(place)
        if not 0 < value < 20 or not value.is_integer() or not word:
            return 0
        return _PARTS.get(word if value > 1 else f"{word}s", 0)

    def _more(self, place: int) -> bool:
        """Whether "two hundred and" goes on as a number."""
        after, before = self._word(place + 1), self._word(place - 1)
        if self._word(place) == "a":
            return (before == "half" and after in _TIMES) or (before == "and" and after == "half")
        if after == "a":
            return self._word(place + 2) == "half"
        return before in _TIMES and after in NUMBER_WORDS

    def _count(self, place: int, value: float, *, digits: bool, first: int | None = None) -> int:
        """Keep a number whose tokens are from `first` to `place`, one of them by default, with the
        unit before or after them."""
        sign = self._word(place - 1 if first is None else first - 1)
        unit = UNITS[sign] if sign in _SYMBOLS else None
        after = place + 1
        if unit is None:
            unit, after = self._unit_at(after, self._attached(place))
        year = digits and unit is None and value.is_integer() and 1400 <= value <= 2100
        if year and self._dates(place):
            self.years.add(int(value))
        else:
            self._keep(Number(value, unit, digits), place)
            self.end = after
        return after

    def _dates(self, place: int) -> bool:
        """Whether four digits that could be a year follow what leads to one."""
        before = self._word(place - 1)
        written = self.tokens[place].lower.isdecimal()
        return written and (before in _DATING or before[:1].isdecimal())

    def _keep(self, number: Number, place: int) -> None:
        """As part of the one before where that is "3 hours" and this "30 minutes"."""
        if self.numbers and place - self.end <= 1:
            before = self.numbers[-1]
            if before.unit and number.unit and _within(number.unit, before.unit):
                more = number.value * number.unit.size / before.unit.size
                self.numbers[-1] = before._replace(value=before.value + more)
                return
        self.numbers.append(number)

    def _unit_at(self, place: int, attached: bool) -> tuple[Unit | None, int]:
        """The unit of the number before `place`, and the place behind it."""
        if place >= len(self.tokens):
            return None, place
        power = {"square": "2", "sq": "2", "cubic": "3"}.get(self._word(place), "")
        token = self.tokens[min(place + bool(power), len(self.tokens) - 1)]
        if not self._near(place):
            return None, place
        if token.plain in {"mile", "mi", "kilometer", "km"}:
            if self._word(place + 1) in {"per", "an"}:
                return UNITS["mph" if token.plain[0:2] == "mi" else "kmh"], place + 3
            if self._word(place + 1) in {"h", "hr"} and self._near(place + 1):
                return UNITS["mph" if token.plain[0:2] == "mi" else "kmh"], place + 2
        word = token.plain if token.plain in UNITS else token.lower
        if word in {"degree", "°"}:
            scale = UNITS.get(self._word(place + 1))
            if scale is not None and scale.kind in {"celsius", "fahrenheit", "kelvin"}:
                return scale, place + 2
            return UNITS["degree"], place + 1
        if word in _BETWEEN and self._word(place + 1) and self.tokens[place + 1].plain in UNITS:
            return UNITS[self.tokens[place + 1].plain], place + 2
        if word not in UNITS or token.raw == "G" or (attached and word == "s"):
            return None, place
        if word in {"c", "f", "v", "w", "j"} and not token.raw.isupper():
            return None, place
        unit = UNITS[word]
        if power:
            unit = Unit(unit.kind + power, unit.size ** int(power))
        return unit, place + 1 + bool(power)

    def _near(self, place: int) -> bool:
        """Whether no comma stands before the token at `place`."""
        before = self.tokens[place - 1]
        return self.tokens[place].start - before.start - len(before.raw) <= 1

    def _calendar(self, place: int) -> None:
        token = self.tokens[place]
        if token.lower in _AMBIGUOUS:
            near = self._word(place - 1)[-1:].isdecimal() or self._word(place + 1)[:1].isdecimal()
            said = self._word(place - 1) in {"in", "of", "since", "until", "by", "on", "next"}
            if not token.raw[0].isupper() or not (
                near or (said and token.lower in {"may", "march"})
            ):
                return
        if token.lower in _MONTHS:
            self.months.add(_MONTHS[token.lower])
        else:
            self.days.add(_DAYS[token.plain])

    def _told(self, place: int, word: str) -> str:
        """With "last" or "next"; "this morning" is a morning."""
        before = self._word(place - 1)
        return f"{before} {word}" if before in {"last", "next"} else word

    def _night(self, place: int) -> None:
        """Night and evening are one, and last night was yesterday."""
        if self._word(place - 1) in {"last", "yesterday"}:
            self.relative.add("yesterday")
        elif self._word(place) == "tonight" or self._word(place - 1) == "this":
            self.relative |= {"today", "tonight", "evening"}
        else:
            self.relative.add("evening")

    def _unit(self, place: int) -> None:
        token = self.tokens[place]
        before = self._word(place - 1)
        if before in {"last", "next", "this"} and token.plain in {"week", "month", "year"}:
            self.relative.add(f"{before} {token.plain}")
        elif UNITS[token.plain].kind not in LENGTHS:
            self.units.add(UNITS[token.plain])
            if before in _ASKING:
                self.asked.add(UNITS[token.plain])


def _within(small: Unit, large: Unit) -> bool:
    """Whether both are of time, and the one is less than the other."""
    return small.kind == large.kind == "time" and small.size < large.size


def _adds(value: float, more: int) -> bool:
    """Whether `more` goes on with a number: "two hundred" "five", "twenty" "five"."""
    return (value >= 100 and not value % 100) or (
        value % 100 >= 20 and not value % 10 and more < 10
    )


def _value(digits: str) -> float:
    """Of digits with points: the third point and on of a version count for thousandths."""
    if "/" in digits:
        above, below = digits.split("/")
        return int(above) / (int(below) or 1)
    parts = digits.replace(",", "").split(".")
    if len(parts) < 3:
        return float(".".join(parts))
    return sum(int(part) / 1000.0**index for index, part in enumerate(parts))
