"""Differences that forbid nothing by themselves: features of a pair for a learned score."""

from collections.abc import Callable, Iterable

from proxy.semantic.guards.comparing import Gap, compare, specific
from proxy.semantic.guards.frames import bound, neighbours, replaced
from proxy.semantic.guards.kinds import of_one_kind
from proxy.semantic.guards.lemmas import DEGREES
from proxy.semantic.guards.lists import words
from proxy.semantic.guards.opposites import opposed
from proxy.semantic.guards.orders import swapped
from proxy.semantic.guards.reading import Reading
from proxy.semantic.guards.reckoning import lacking
from proxy.semantic.guards.vetoes import lengths

_CONDITIONS = words(
    "if unless without only except instead before after until since while during when although but"
    " even already still once again between than because per from"
)
_QUANTIFIERS = words(
    "all any both each every few many most no none only several some whole entire just alone"
    " half own other another"
)
_ORDERS = frozenset({"more", "less", "most", "least", "first", "last", "next", "better", "worse"})
_PERSONS = {
    "me": words("i me my mine myself we us our"),
    "you": words("you your yours yourself"),
    "he": words("he she him her his hers they them their someone"),
}
_KIN = words(
    "child baby teen son daughter wife husband spouse mother father parent brother sister friend"
    " grandmother grandfather boss colleague coworker neighbor landlord tenant dog cat customer"
    " employee student teacher adult senior man woman company team"
)
_PAST = frozenset({"was", "were", "did", "had"})
_PRESENT = frozenset({"is", "are", "do", "does", "has"})
_COMING = frozenset({"will", "shall"})


def doubts(new: Reading, old: Reading) -> tuple[float, ...]:
    """A value in [0, 1] for each of `DOUBTS`; 0 where nothing speaks against the old answer.

    All are the same with the two readings exchanged, but for those that name one of them.
    """
    gap = compare(new, old)
    return tuple(feature(new, old, gap) for feature in _FEATURES.values())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _capped(count: float, most: int) -> float:
    return min(count / most, 1.0)


def _apart(one: Iterable[object], other: Iterable[object]) -> float:
    """1 minus the share of all that both have; 0 where there is nothing."""
    mine, theirs = set(one), set(other)
    return 1 - _share(len(mine & theirs), len(mine | theirs)) if mine or theirs else 0.0


def _sided(one: object, other: object) -> float:
    """1 where both sides have something, a half where only one has."""
    return (bool(one) + bool(other)) / 2


def _pick(words: frozenset[str]) -> Callable[[Reading, Reading, Gap], float]:
    """A feature: which of `words` only one side has, three at most."""

    def differing(new: Reading, old: Reading, gap: Gap) -> float:
        return _capped(len((new.words & words) ^ (old.words & words)), 3)

    return differing


def _specifics(words: frozenset[str]) -> int:
    return sum(map(specific, words))


def _slot(new: Reading, old: Reading, gap: Gap) -> float:
    if replaced(new, old, gap, specifics=0):
        return 1.0
    mine = [word for word in gap.new if specific(word)][:8]
    theirs = [word for word in gap.old if specific(word)][:8]
    best = max((neighbours(new, a, old, b) for a in mine for b in theirs), default=0)
    return best / 4


def _kind(new: Reading, old: Reading, gap: Gap) -> float:
    return float(of_one_kind(gap.new, gap.old))


def _antonym(new: Reading, old: Reading, gap: Gap) -> float:
    return float(bool(opposed(gap.new, gap.old)))


def _numbers(new: Reading, old: Reading, gap: Gap) -> float:
    return _sided(lacking(new, old), lacking(old, new))


def _large(new: Reading, old: Reading, gap: Gap) -> float:
    numbers = lacking(new, old) + lacking(old, new)
    return float(any(number.digits and number.value >= 10 for number in numbers))


def _dates(new: Reading, old: Reading, gap: Gap) -> float:
    one, other = new.amounts, old.amounts
    fields = (
        (one.years, other.years), (one.months, other.months), (one.days, other.days),
        (one.clocks, other.clocks), (one.relative, other.relative),
    )  # fmt: skip
    return max(_sided(mine - theirs, theirs - mine) for mine, theirs in fields)


def _units(new: Reading, old: Reading, gap: Gap) -> float:
    mine = new.amounts.units | {n.unit for n in new.amounts.numbers if n.unit}
    theirs = old.amounts.units | {n.unit for n in old.amounts.numbers if n.unit}
    return _sided(mine - theirs, theirs - mine)


def _asks(new: Reading, old: Reading, gap: Gap) -> float:
    if new.asks == old.asks:
        return 0.0
    return 1.0 if new.asks and old.asks else 0.5


def _task(new: Reading, old: Reading, gap: Gap) -> float:
    if new.task == old.task:
        return 0.0
    return 1.0 if new.task and old.task else 0.5


def _tense(new: Reading, old: Reading, gap: Gap) -> float:
    differing = sum(
        new.words.isdisjoint(words) != old.words.isdisjoint(words)
        for words in (_PAST, _PRESENT, _COMING)
    )
    return differing / 3


def _person(new: Reading, old: Reading, gap: Gap) -> float:
    differing = sum(
        new.words.isdisjoint(words) != old.words.isdisjoint(words) for words in _PERSONS.values()
    )
    return differing / len(_PERSONS)


def _inversions(new: Reading, old: Reading, gap: Gap) -> float:
    """The share of pairs of common words that stand in turned order, of the first eight."""
    places = {word: place for place, word in reversed(list(enumerate(old.sequence)))}
    found = [places[word] for word in dict.fromkeys(new.sequence) if word in places][:8]
    pairs = [(a, b) for i, a in enumerate(found) for b in found[i + 1 :]]
    return _share(sum(a > b for a, b in pairs), len(pairs))


def _negation(new: Reading, old: Reading, gap: Gap) -> float:
    return float(new.negatives % 2 != old.negatives % 2)


def _names(new: Reading, old: Reading, gap: Gap) -> float:
    return _sided(new.names & gap.new, old.names & gap.old)


def _language(new: Reading, old: Reading, gap: Gap) -> float:
    mine, theirs = new.wishes, old.wishes
    return _sided(mine.spoken - theirs.tongues, theirs.spoken - mine.tongues)


_FEATURES: dict[str, Callable[[Reading, Reading, Gap], float]] = {
    "new lacks": lambda new, old, gap: _share(len(gap.new), len(new.content)),
    "old lacks": lambda new, old, gap: _share(len(gap.old), len(old.content)),
    "unlike": lambda new, old, gap: 1 - max(gap.alike, 0.0),
    "new specific": lambda new, old, gap: _capped(_specifics(gap.new), 3),
    "old specific": lambda new, old, gap: _capped(_specifics(gap.old), 3),
    "both specific": lambda new, old, gap: _capped(
        min(_specifics(gap.new), _specifics(gap.old)), 2
    ),
    "only new": lambda new, old, gap: float(not gap.old and _specifics(gap.new) > 0),
    "only old": lambda new, old, gap: float(not gap.new and _specifics(gap.old) > 0),
    "slot": _slot,
    "bound": lambda new, old, gap: float(bool(bound(gap))),
    "kind": _kind,
    "names": _names,
    "antonym": _antonym,
    "negation": _negation,
    "negatives": lambda new, old, gap: _capped(abs(new.negatives - old.negatives), 2),
    "denials": lambda new, old, gap: _capped(abs(new.denials - old.denials), 3),
    "numbers": _numbers,
    "large number": _large,
    "ordinals": lambda new, old, gap: _apart(new.amounts.ordinals, old.amounts.ordinals),
    "units": _units,
    "dates": _dates,
    "question": _asks,
    "task": _task,
    "attribute": lambda new, old, gap: _apart(new.about, old.about),
    "conditions": _pick(_CONDITIONS),
    "quantifiers": _pick(_QUANTIFIERS),
    "comparison": lambda new, old, gap: _apart(
        new.words & (DEGREES | _ORDERS), old.words & (DEGREES | _ORDERS)
    ),
    "swapped": lambda new, old, gap: float(swapped(new, old)),
    "inversions": _inversions,
    "person": _person,
    "kin": _pick(_KIN),
    "tense": _tense,
    "quoted": lambda new, old, gap: _apart(new.quoted, old.quoted),
    "code": lambda new, old, gap: _apart(new.code, old.code),
    "format": lambda new, old, gap: _apart(new.wishes.formats, old.wishes.formats),
    "shape": lambda new, old, gap: _apart(new.wishes.shaped, old.wishes.shaped),
    "length": lambda new, old, gap: _apart(lengths(new), lengths(old)),
    "manner": lambda new, old, gap: _apart(new.wishes.manner, old.wishes.manner),
    "audience": lambda new, old, gap: _apart(new.wishes.audience, old.wishes.audience),
    "language": _language,
    "longer": lambda new, old, gap: (
        1 - _share(min(len(new.tokens), len(old.tokens)), max(len(new.tokens), len(old.tokens)))
    ),
    "few words": lambda new, old, gap: 1 / (1 + max(min(len(new.content), len(old.content)), 0)),
}
DOUBTS: tuple[str, ...] = tuple(_FEATURES)
"""Names of the features, in their order. "new lacks" is the share of the new question's words of
matter that the old one lacks; "specific" counts words that are likely the subject, of three;
"slot" is 1 where the texts are the same but for one place. "longer" is how much the shorter is
short of the longer."""
