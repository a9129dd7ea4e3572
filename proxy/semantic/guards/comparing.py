"""What one reading has that the other has not, after everything that is only another way to say
it was matched: synonyms, derived words, typing errors, initials."""

from dataclasses import dataclass

from proxy.semantic.guards.general import GENERAL
from proxy.semantic.guards.kinds import KINDS
from proxy.semantic.guards.reading import Reading
from proxy.semantic.guards.synonyms import LEXICON

Words = tuple[str, ...]

_LEAST = 3  # words that have to be the same around a place
_FEW = 12  # words lacking, up to which typing errors are looked for


@dataclass(frozen=True, slots=True)
class Gap:
    """`new` and `old` are the words of matter that the other side lacks; `alike` the share of the
    words of matter [0,1] that both sides have, of the side with more. A quotation that is in both
    does not count for that: it says little of what is asked about it. `places` are the words of
    each side between the beginning and the end that both have; two empty ones where too little is
    the same.
    """

    new: frozenset[str]
    old: frozenset[str]
    alike: float
    places: tuple[Words, Words]


def compare(new: Reading, old: Reading) -> Gap:
    """The gap between two readings."""
    mine = _lacking(new, old)
    theirs = _lacking(old, new)
    shared = new.inside if new.inside and new.quoted == old.quoted else frozenset()
    most = max(len(new.content - shared), len(old.content - shared))
    alike = 1 - max(len(mine), len(theirs)) / most if most else 0.0
    return Gap(mine, theirs, alike, _places(new, old))


def _places(new: Reading, old: Reading) -> tuple[Words, Words]:
    here, there = new.tokens, old.tokens
    shorter = min(len(here), len(there))
    start = 0
    while start < shorter and here[start] == there[start]:
        start += 1
    end = 0
    while end < shorter - start and here[-1 - end] == there[-1 - end]:
        end += 1
    common = here[:start] + here[len(here) - end :]
    if sum(word not in new.inside for word in common) < _LEAST:
        return (), ()
    return here[start : len(here) - end], there[start : len(there) - end]


def _lacking(here: Reading, there: Reading) -> frozenset[str]:
    left = [word for word in here.content if word not in there.words]
    if not left:
        return frozenset()
    one = {word for stuck, a, b in here.pairs if stuck in there.words for word in (a, b)}
    typed = len(left) <= _FEW
    return frozenset(w for w in left if w not in one and not _matched(w, there, typed=typed))


def _matched(word: str, there: Reading, *, typed: bool) -> bool:
    """Whether the other side has the word in another form, or, if `typed`, mistyped."""
    if not word.isalpha():
        return False
    if word[:5] in there.heads and len(word) >= 5:
        return True
    if len(word) == 4:
        return any(w.startswith(word) and len(w) <= 7 for w in there.content)
    if word[:4] in there.shorts and len(word) <= 7:
        return True
    return typed and len(word) >= 5 and any(mistyped(word, other) for other in there.content)


def mistyped(one: str, other: str) -> bool:
    """Whether two words of five letters and more are one edit apart, and not both known words."""
    if (
        one[0] != other[0]
        or len(other) < 5
        or not other.isalpha()
        or abs(len(one) - len(other)) > 1
    ):
        return False
    place = 1
    shorter = min(len(one), len(other))
    while place < shorter and one[place] == other[place]:
        place += 1
    a, b = one[place:], other[place:]
    near = a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
    return near and not (known(one) and known(other))


def known(word: str) -> bool:
    """Whether a word is of one of the lists, and so no typing error."""
    return word in GENERAL or word in KINDS or word in LEXICON.canon


def specific(word: str) -> bool:
    """Whether a word is likely what a question is about, and not a way to put it."""
    return word not in GENERAL and len(word) > 2 and word.isalpha()
