"""Who does what to whom, and from where to where: two texts with the same words swapped."""

from proxy.semantic.guards.reading import Reading
from proxy.semantic.guards.tokens import FILLER

PAIRING = frozenset({"and", "or", "vs", "versus", "compare", "between", "with", "nor"})
"""Words around which two things stand in either order."""

_SYMMETRIC = frozenset({"difference", "compare", "distance", "duration", "same", "equal"})
_PLACING = frozenset({"in", "at", "on", "the", "a", "only", "my"})


def swapped(new: Reading, old: Reading) -> bool:
    """Whether the two texts have the same words in turned order."""
    if not _SYMMETRIC.isdisjoint(new.words):
        return False
    return _routes_turned(new, old) or _exchanged(new, old)


def _routes_turned(new: Reading, old: Reading) -> bool:
    return any((to, start) in old.routes for start, to in new.routes if start != to)


def _exchanged(new: Reading, old: Reading) -> bool:
    """Whether one text is the other with two words exchanged around others that stay."""
    here, there = new.tokens, old.tokens
    if len(here) != len(there) or len(here) < 5:
        return False
    places = [i for i, word in enumerate(here) if word != there[i]]
    if len(places) == 1:
        return {here[places[0]], there[places[0]]} == {"to", "from"}
    if len(places) != 2:
        return False
    i, j = places
    if here[i] != there[j] or here[j] != there[i]:
        return False
    middle = set(here[i + 1 : j])
    if middle <= _PLACING:
        return False
    sides = {*here[:i], *here[j + 1 :]}
    return middle.isdisjoint(PAIRING) or not middle <= sides | PAIRING | FILLER
