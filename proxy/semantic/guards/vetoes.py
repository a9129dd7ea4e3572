"""Whether something plain forbids the old answer for the new question.

Each test is for one reason. Most hold only between texts that are otherwise alike: where little
is shared, a different word is as likely another way to put it.
"""

from collections.abc import Callable

from proxy.semantic.guards.amounts import Number
from proxy.semantic.guards.comparing import Gap, compare
from proxy.semantic.guards.frames import (
    asked_otherwise,
    bound,
    counted,
    denied,
    neighbours,
    replaced,
)
from proxy.semantic.guards.kinds import of_one_kind
from proxy.semantic.guards.lists import words
from proxy.semantic.guards.opposites import CONVERSES, opposed
from proxy.semantic.guards.orders import swapped
from proxy.semantic.guards.reading import Reading
from proxy.semantic.guards.reckoning import (
    clocks_apart,
    equal,
    lacking,
    periods_apart,
    years,
)
from proxy.semantic.guards.units import LENGTHS, Unit

_TEMPERATURES = frozenset({"celsius", "fahrenheit", "kelvin", "angle"})
_WHOLE = frozenset({"words", "sentences", "paragraphs"})
_SIZES = words("word sentence paragraph para page line liner tweet text length max min")
_ONE = frozenset({"one", "single"})


def veto(new: Reading, old: Reading) -> str | None:
    """The first reason, of `REASONS`, that forbids serving the answer to `old`; None without."""
    gap = compare(new, old)
    for reason, test in _TESTS.items():
        if test(new, old, gap):
            return reason
    return None


def _number(new: Reading, old: Reading, gap: Gap) -> bool:
    if gap.alike < 0.5:
        return False
    if counted(gap):
        return True
    one, other = lacking(new, old), lacking(old, new)
    if one and other and (gap.alike >= 0.6 or (_large(one) and _large(other))):
        return True
    ordinals, others = new.amounts.ordinals, old.amounts.ordinals
    if ordinals - others and others - ordinals:
        return True
    mixed, old_mixed = _mixed(gap.new), _mixed(gap.old)
    if mixed and old_mixed and mixed != old_mixed:
        return True
    if gap.alike >= 0.75 and ((one and _ONE & old.words) or (other and _ONE & new.words)):
        return True
    return gap.alike >= 0.65 and _large(one + other)


def _large(numbers: list[Number]) -> bool:
    """Whether one of them is in digits, and has two at least."""
    return any(number.digits and number.value >= 10 for number in numbers)


def _mixed(words: frozenset[str]) -> set[str]:
    """The digits of words with letters and digits, as a product's or a flight's number has."""
    return {
        "".join(filter(str.isdecimal, word))
        for word in words
        if word.isalnum() and not word.isalpha() and not word.isdecimal()
    }


def _unit(new: Reading, old: Reading, gap: Gap) -> bool:
    if gap.alike < 0.5:
        return False
    mine = {n.value: n.unit for n in new.amounts.numbers if n.unit}
    return _asked(new, old) or any(
        n.value in mine and n.unit and _unlike(n.unit, mine[n.value]) and n.unit not in _units(new)
        for n in old.amounts.numbers
    )


def _unlike(one: Unit, other: Unit) -> bool:
    """Whether two units measure different amounts; "degrees" may be of any scale."""
    if {one.kind, other.kind} <= _TEMPERATURES and "angle" in {one.kind, other.kind}:
        return False
    return one != other


def _asked(new: Reading, old: Reading) -> bool:
    """Whether answers in two units of one kind are asked for."""
    one = new.amounts.asked - _units(old)
    other = old.amounts.asked - _units(new)
    return bool({u.kind for u in one} & {u.kind for u in other})


def _units(reading: Reading) -> frozenset[object]:
    return reading.amounts.units | {n.unit for n in reading.amounts.numbers}


def _time(new: Reading, old: Reading, gap: Gap) -> bool:
    one, other = new.amounts, old.amounts
    for mine, theirs in ((one.months, other.months), (one.days, other.days)):
        if mine - theirs and theirs - mine:
            return True
    year, old_year = years(new, old), years(old, new)
    if year and old_year:
        return True
    if gap.alike < 0.7:
        return False
    return clocks_apart(one, other) or bool(year or old_year) or periods_apart(one, other)


def _negation(new: Reading, old: Reading, gap: Gap) -> bool:
    if new.negatives % 2 == old.negatives % 2:
        return False
    if denied(new, old, gap):
        return True
    if gap.alike < 0.8:
        return False
    if new.denials != old.denials or "not" in new.inside | old.inside:
        return False
    more, less = (new, old) if new.negatives > old.negatives else (old, new)
    return not (more.negated - less.negated).isdisjoint(less.words)


def _antonym(new: Reading, old: Reading, gap: Gap) -> bool:
    if gap.alike < 0.5 or new.negatives % 2 != old.negatives % 2:
        return False
    if ("less" in new.words) != ("less" in old.words):
        return False
    return any(
        (gap.alike >= 0.85 or frozenset((mine, theirs)) not in CONVERSES)
        and (gap.alike >= 0.75 or neighbours(new, mine, old, theirs))
        for mine, theirs in opposed(gap.new, gap.old)
    )


def _entity(new: Reading, old: Reading, gap: Gap) -> bool:
    if not gap.new or not gap.old:
        return False
    if replaced(new, old, gap):
        # A name of a format, a length or a language, or a quotation, has a reason of its own.
        return not any(test(new, old, gap) for test in (_quoted, _format, _length, _language))
    if gap.alike < 0.6:
        return False
    if of_one_kind(gap.new, gap.old):
        return True
    return gap.alike >= 0.7 and _names(new, old, gap)


def _names(new: Reading, old: Reading, gap: Gap) -> bool:
    """Whether each side names something that the other does not, in its initials either."""
    mine = {n for n in new.names & gap.new if len(n) > 2 and n not in old.initials}
    theirs = {n for n in old.names & gap.old if len(n) > 2 and n not in new.initials}
    return bool(mine and theirs)


def _quoted(new: Reading, old: Reading, gap: Gap) -> bool:
    mine = any(_foreign(span, old) for span in new.quoted)
    theirs = any(_foreign(span, new) for span in old.quoted)
    return bool((mine and old.quoted) or (theirs and new.quoted))


def _foreign(span: tuple[str, ...], there: Reading) -> bool:
    return span not in there.quoted and not there.spelled.issuperset(span)


def _order(new: Reading, old: Reading, gap: Gap) -> bool:
    return gap.alike >= 0.5 and swapped(new, old)


def _scope(new: Reading, old: Reading, gap: Gap) -> bool:
    return bound(gap) == "scope" or asked_otherwise(new, old, gap)


def _condition(new: Reading, old: Reading, gap: Gap) -> bool:
    return bound(gap) == "condition"


def _format(new: Reading, old: Reading, gap: Gap) -> bool:
    mine, theirs = new.wishes, old.wishes
    if gap.alike >= 0.6 and mine.formats - theirs.formats and theirs.formats - mine.formats:
        return True
    one, other = mine.shaped - theirs.formats - {"list"}, theirs.shaped - mine.formats - {"list"}
    return gap.alike >= 0.5 and bool(one or other)


def _length(new: Reading, old: Reading, gap: Gap) -> bool:
    mine, theirs = lengths(new), lengths(old)
    if mine and theirs:
        return not any(equal(a, b) or _close(a, b) for a in mine for b in theirs)
    if gap.alike >= 0.3 and (_shaped(mine, old) or _shaped(theirs, new)):
        return True
    return {*new.wishes.manner, *old.wishes.manner} == {"brief", "detailed"} and not (
        new.wishes.manner & old.wishes.manner
    )


def _shaped(wished: frozenset[Number], there: Reading) -> bool:
    """Whether a text of so many words or sentences is wished for, of which `there` says nothing."""
    if there.wishes.manner or not there.words.isdisjoint(_SIZES):
        return False
    return any(
        n.unit.kind in _WHOLE and (n.unit.kind != "words" or n.value >= 10)
        for n in wished
        if n.unit
    )


def _close(one: Number, other: Number) -> bool:
    """Whether two lengths come to the same: "under 30 words", "at most 29"."""
    return one.unit == other.unit and abs(one.value - other.value) <= 0.05 * one.value


def lengths(reading: Reading) -> frozenset[Number]:
    return frozenset(
        n._replace(digits=True)
        for n in reading.amounts.numbers
        if n.unit and n.unit.kind in LENGTHS
    )


def _audience(new: Reading, old: Reading, gap: Gap) -> bool:
    mine, theirs = new.wishes, old.wishes
    return (mine.told and not theirs.hinted) or (theirs.told and not mine.hinted)


def _language(new: Reading, old: Reading, gap: Gap) -> bool:
    mine, theirs = new.wishes, old.wishes
    one, other = mine.spoken - theirs.tongues, theirs.spoken - mine.tongues
    if one and other:
        return True
    return gap.alike >= 0.3 and bool((one | other) - {"english", "latin"})


_TESTS: dict[str, Callable[[Reading, Reading, Gap], bool]] = {
    "number": _number,
    "unit": _unit,
    "time": _time,
    "negation": _negation,
    "antonym": _antonym,
    "entity": _entity,
    "quoted": _quoted,
    "order": _order,
    "scope": _scope,
    "format": _format,
    "length": _length,
    "audience": _audience,
    "language": _language,
    "condition": _condition,
}
REASONS = tuple(_TESTS)
"""In the order in which they are tried."""
