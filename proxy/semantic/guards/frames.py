"""Texts that are the same but for one place: there a difference is meant."""

from proxy.semantic.guards.comparing import Gap, Words, specific
from proxy.semantic.guards.kinds import KINDS
from proxy.semantic.guards.lemmas import ADJECTIVES, DEGREES
from proxy.semantic.guards.lists import words
from proxy.semantic.guards.reading import NEGATIVE, Reading
from proxy.semantic.guards.tokens import FILLER

_MOST = 4  # words of the place
_MOST_DENIED = 5
_EDGE = ""
_NUMERIC = words(
    "half hundred thousand million first second third fourth fifth ii iii th rd nd st ° %"
)
_ARTICLES = frozenset({"a", "an", "the", "one", "this", "my", "your", "its"})
_QUESTIONS = frozenset({"who", "when", "where", "why", "how"})
_LIMITING = words("only just all every each half own my for who")
_BINDING = _LIMITING | words(
    "with without if whether unless when after before until since while during from at by"
    " but not than as except instead"
)
"""Words that lead to what a question is bound to: "without bleach", "if I have twins"."""


def replaced(new: Reading, old: Reading, gap: Gap, specifics: int = 2) -> bool:
    """Whether the texts are the same but for one to four words on end, none of which the other
    side has, no numbers: specific ones on `specifics` sides at least, or a thing of a kind."""
    here, there = gap.places
    if not 0 < len(here) <= _MOST or not 0 < len(there) <= _MOST:
        return False
    mine, theirs = _matter(here), _matter(there)
    if not _NUMERIC.isdisjoint(here + there) or any(w[0].isdecimal() for w in here + there):
        return False
    if "less" in here + there or _initials(mine, old) or _initials(theirs, new):
        return False
    if not mine or not theirs or not (gap.new.issuperset(mine) and gap.old.issuperset(theirs)):
        return False
    sides = any(map(specific, mine)) + any(map(specific, theirs))
    return sides >= specifics or any(word in KINDS and specific(word) for word in mine + theirs)


def _initials(words: Words, there: Reading) -> bool:
    """Whether one of the words may be made of the first letters of the other side's."""
    return any(1 < len(word) < 6 and word in there.initials for word in words)


def denied(new: Reading, old: Reading, gap: Gap) -> bool:
    """Whether the texts are the same but for five words at most, with a negative on one side."""
    one, other = gap.places
    if max(len(one), len(other)) > _MOST_DENIED or new.denials != old.denials:
        return False
    if not one or not other:  # "without" and what comes with it is a condition
        return not (NEGATIVE - {"without"}).isdisjoint(one or other)
    return NEGATIVE.isdisjoint(one) != NEGATIVE.isdisjoint(other)


def counted(gap: Gap) -> bool:
    """Whether a number stands where the other side has an article: "a haiku", "three haiku"."""
    one, other = gap.places
    if len(one) != 1 or len(other) != 1:
        return False
    return any(
        a[0] in _ARTICLES and b[0].isdecimal() and b[0] != "1"
        for a, b in ((one, other), (other, one))
    )


def asked_otherwise(new: Reading, old: Reading, gap: Gap) -> bool:
    """Whether another question word, or another degree ("fastest", "cheapest"), is all that
    differs."""
    one, other = gap.places
    if len(one) != 1 or len(other) != 1 or one == other:
        return False
    if {one[0], other[0]} <= ADJECTIVES:
        return not DEGREES.isdisjoint(new.words) and not DEGREES.isdisjoint(old.words)
    return {one[0], other[0]} <= _QUESTIONS


def bound(gap: Gap) -> str:
    """Whether one text is the other with a phrase put in that binds it: "scope" where that says
    what of, "condition" otherwise, "" without one."""
    one, other = gap.places
    if bool(one) == bool(other):
        return ""
    phrase = one or other
    if _BINDING.isdisjoint(phrase) or not _matter(phrase):
        return ""
    return "condition" if _LIMITING.isdisjoint(phrase) else "scope"


def _matter(words: Words) -> Words:
    return tuple(w for w in words if w not in FILLER and w not in _BINDING)


def neighbours(new: Reading, mine: str, old: Reading, theirs: str) -> int:
    """How many of the two words beside `mine` are beside `theirs` as well: 0 to 2."""
    if mine not in new.sequence or theirs not in old.sequence:
        return 0
    here, there = new.sequence, old.sequence
    i, j = here.index(mine), there.index(theirs)
    left = (here[i - 1] if i else _EDGE) == (there[j - 1] if j else _EDGE)
    right = here[i + 1 : i + 2] == there[j + 1 : j + 2]
    return left + right
