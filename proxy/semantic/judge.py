"""Do two answers say the same? So a fresh answer tells whether a kept one was right. Pure.

Two right answers to one question differ in wording, and answers to two questions share most of
their words; the cosine of their embeddings hardly tells these apart. So what decides is what an
answer turns on: yes or no, its number, its name, its code, in the sentence that answers. Where
nothing of that kind speaks, likeness does, and where that is neither high nor low nobody does.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import orjson

from proxy.semantic.statements import Quantity, Statement, quantities, read_statement, stem, stems

ALIKE, UNLIKE = 0.90, 0.55  # cosines at which likeness decides alone
RATHER_ALIKE, RATHER_UNLIKE = 0.70, 0.72  # cosines at which it does with the words' overlap
SHARED, APART = 0.5, 0.3  # that overlap
DEEPEST = 40  # objects and lists within each other that are compared
LONGEST, QUESTION = 20_000, 2_000  # characters that are read
SHORT = 12  # words of an answer that is nothing but its point
BEGINNING = 5  # letters that make a name out
PRECISION = 0.012  # by which two measures may differ

_FENCE = re.compile(r"```[ \t]*([\w+#-]*)[^\n]{0,80}\n(.*?)(?:```|\Z)", re.DOTALL)
_COMMENT = re.compile(r"(?:#|//|--)[^\n]*")
_SYMBOL = re.compile(r"[<>&|^]")
_TOKEN = re.compile(r"\w+|[^\w\s]")
_TURN = re.compile(r"\b(\w+) (?:to|into|->|→) (\w+)\b", re.IGNORECASE)
_POINTING = re.compile(r"\b(?:it|they|them|he|she|this|these)\b", re.IGNORECASE)
_COUNTED = re.compile(
    r"\bhow (?:many|much|far|long|tall|high|deep|old|big|large|fast|heavy|hot|cold|often)\b|"
    r"^\W*when\b|\b(?:what|which) year\b|\bsquare root\b|\bpercent\w*|\bpopulation\b|"
    r"\btemperature\b|\bdistance\b|\bboil|"
    r"\b(?:speed|height|weight|mass|length|width|depth|density|area|age|price|cost) of\b|"
    r"\b(?:what is|what's|calculate|compute)\b[^a-z]*\d",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"^\W*(?:who|where|whose)\b|\bcapital of\b|\bsymbol for\b|\bstands? for\b|"
    r"\b(?:which|what|what's) (?:the \w+ )?(?:city|country|planet|language|animal|element|company|"
    r"author)\b",
    re.IGNORECASE,
)
_FREE = re.compile(
    r"\b(?:poem|haiku|limerick|story|joke|song|lyrics|slogan|tagline|riddle|essay|brainstorm)\b",
    re.IGNORECASE,
)
_POLAR = re.compile(
    r"^\W*(?:is|are|was|were|am|do|does|did|can|could|will|would|should|may|must|has|have|had)"
    r"(?:n't)?\b",
    re.IGNORECASE,
)
_OPPOSITES = """
enable activate / disable deactivate
increase rise / decrease fall drop
before / after
ascending / descending
largest biggest larger / smallest smaller
maximum max largest / minimum min smallest
highest tallest higher / lowest shortest lower
upload / download
install / uninstall
encrypt / decrypt
encode / decode
import / export
north northern / south southern
east eastern / west western
closest nearest / farthest furthest
born birth / died death
buy / sell
legal / illegal
safe / unsafe dangerous toxic harmful
possible / impossible
positive / negative
true / false
locally local / remote remotely
hard / soft
lock / unlock
fastest faster / slowest slower
best / worst
odd / even
open / close
left / right
"""


def _opposites() -> tuple[tuple[frozenset[str], frozenset[str]], ...]:
    lines = (line.split("/") for line in _OPPOSITES.strip().splitlines())
    return tuple((_stemmed(one), _stemmed(other)) for one, other in lines)


def _stemmed(words: str) -> frozenset[str]:
    return frozenset(map(stem, words.split()))


OPPOSITES = _opposites()
"""Stems of words of which an answer has one or the other."""


class _Pair(NamedTuple):
    question: str
    fresh: Statement
    kept: Statement
    cosine: float | None


def agree(question: str, fresh: str, kept: str, cosine: float | None) -> bool | None:
    """Whether two answers say the same to a question; None where that can't be told.

    `fresh` was made for this very question, `kept` perhaps for another one. `cosine` is of the
    two answers' embeddings, of their beginnings where they are long; None where there is none.
    """
    question, fresh, kept = question[:QUESTION], fresh[:LONGEST].strip(), kept[:LONGEST].strip()
    if not fresh or not kept:
        return None
    one, other = _parsed(fresh), _parsed(kept)
    if one is not None and other is not None:
        return _same_values(one, other)
    if _FREE.search(question):  # two poems are two, and both may be right
        return False if cosine is not None and cosine < UNLIKE else None
    said = read_statement(fresh), read_statement(kept)
    code = _code_of(fresh), _code_of(kept)
    if said[0].plain == said[1].plain and code[0] == code[1]:
        return True
    pair = _Pair(question, *said, cosine)
    if _contradicts(pair) or _other_language(*code):
        return False
    if code[0] and code[0] == code[1]:
        return True
    verdict = _confirms(pair)
    return _by_likeness(pair, bool(code[0] and code[1])) if verdict is None else verdict


# Values and code.


def _parsed(text: str) -> Any:
    """The object or list that an answer is, in a fence or not; None where it is none."""
    match = _FENCE.fullmatch(text)
    inner = match[2] if match is not None else text
    if not inner.lstrip().startswith(("{", "[")) or _depth(inner) > DEEPEST:
        return None
    try:
        return orjson.loads(inner)
    except orjson.JSONDecodeError:
        return None


def _depth(text: str) -> int:
    """How deep brackets are nested; too much where texts have brackets too."""
    steps = ((mark in "{[") - (mark in "}]") for mark in text)
    return max(accumulate(steps), default=0)


def _same_values(fresh: Any, kept: Any) -> bool | None:
    """Texts in it may be worded otherwise; all else is equal or not."""
    if isinstance(fresh, dict) and isinstance(kept, dict):
        if fresh.keys() != kept.keys():
            return False
        return _all(_same_values(fresh[name], kept[name]) for name in fresh)
    if isinstance(fresh, list) and isinstance(kept, list):
        if len(fresh) != len(kept):
            return False
        if Counter(map(orjson.dumps, fresh)) == Counter(map(orjson.dumps, kept)):
            return True
        return _all(map(_same_values, fresh, kept))
    if isinstance(fresh, str) and isinstance(kept, str):
        if fresh.strip().casefold() == kept.strip().casefold():
            return True
        return None if len(fresh.split()) > 3 and len(kept.split()) > 3 else False
    return bool(fresh == kept and isinstance(fresh, bool) == isinstance(kept, bool))


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    found = set(verdicts)
    return False if False in found else None if None in found else True


class _Code(NamedTuple):
    language: str
    tokens: tuple[str, ...]


_SAME_LANGUAGE = {"py": "python", "python3": "python", "js": "javascript", "ts": "typescript"} | (
    dict.fromkeys(("sh", "shell", "console", "zsh", "text", "plaintext"), "bash")
)


def _code_of(text: str) -> tuple[_Code, ...]:
    found = []
    for language, body in _FENCE.findall(text):
        name = language.lower()
        tokens = tuple(_TOKEN.findall(_COMMENT.sub("", body)))
        found.append(_Code(_SAME_LANGUAGE.get(name, name), tokens))
    return tuple(found)


def _other_language(fresh: Sequence[_Code], kept: Sequence[_Code]) -> bool:
    one, other = ({code.language for code in codes} - {""} for codes in (fresh, kept))
    return bool(one and other and not one & other)


# What speaks against.


def _contradicts(pair: _Pair) -> bool:
    return (
        pair.fresh.refuses != pair.kept.refuses
        or _by_polarity(pair) is False
        or _numbers_differ(pair)
        or _names_differ(pair)
        or _is_opposite(pair)
        or _is_turned(pair)
    )


def _by_polarity(pair: _Pair) -> bool | None:
    """Whether both say yes, or both no; None where one says neither."""
    fresh, kept = pair.fresh.is_positive, pair.kept.is_positive
    if fresh is not None and kept is not None:
        return fresh == kept
    if not _POLAR.match(pair.question) or (fresh is None and kept is None):
        return None
    return (_leans(pair.fresh)) == (_leans(pair.kept))


def _leans(said: Statement) -> bool:
    return not said.is_negated if said.is_positive is None else said.is_positive


def _numbers_differ(pair: _Pair) -> bool:
    """Whether the question's numbers are another's, or the answers' numbers are."""
    asked = quantities(pair.question)
    said, there = list(pair.fresh.quantities), list(pair.kept.quantities)
    if _strange(_common(said, asked), there) and _strange(_without(there, asked), said):
        return True
    if not _COUNTED.search(pair.question):
        return False
    fresh, kept = _without(said, asked) or said, _without(there, asked) or there
    for dimension in {one.dimension for one in fresh} & {other.dimension for other in kept}:
        one = [quantity for quantity in fresh if quantity.dimension == dimension]
        other = [quantity for quantity in kept if quantity.dimension == dimension]
        if not _meet(one, other) and not (
            _meet(one, pair.kept.all_quantities) and _meet(other, pair.fresh.all_quantities)
        ):
            return True
    return False


def _strange(some: Sequence[Quantity], others: Sequence[Quantity]) -> bool:
    """Whether there are some whose like the others have, but none of them."""
    alike = {quantity.dimension for quantity in others}
    return any(one.dimension in alike and not _meet([one], others) for one in some)


def _common(some: Sequence[Quantity], others: Sequence[Quantity]) -> list[Quantity]:
    return [one for one in some if _meet([one], others)]


def _without(some: Sequence[Quantity], others: Sequence[Quantity]) -> list[Quantity]:
    return [one for one in some if not _meet([one], others)]


def _meet(some: Sequence[Quantity], others: Sequence[Quantity]) -> bool:
    return any(_equal(one, other) for one in some for other in others)


def _equal(one: Quantity, other: Quantity) -> bool:
    """Measures may be rounded or converted; what is counted may be rounded from 1,000 on."""
    if one.dimension != other.dimension:
        return False
    gap, size = abs(one.value - other.value), max(abs(one.value), abs(other.value))
    if one.dimension == "temperature":
        return gap <= 0.6
    if one.dimension in ("length", "mass") or (one.value % 1 or other.value % 1):
        return gap <= PRECISION * size
    if one.dimension == "count" and size >= 1000 and one.digits != other.digits:
        return gap <= 0.5 * size * 10.0 ** (1 - max(min(one.digits, other.digits), 2))
    return gap == 0


def _names_differ(pair: _Pair) -> bool:
    """Whether each answers with a name that the other never mentions; who is asked for a place or
    a person may name it along with others."""
    fresh, kept = _unsaid(pair.fresh.names, pair.kept), _unsaid(pair.kept.names, pair.fresh)
    if not fresh or not kept:
        return False
    if _NAMED.search(pair.question) and _same_name(pair):
        return bool({stem(name) for name in fresh} & stems(pair.question))
    return True


def _unsaid(names: frozenset[str], said: Statement) -> set[str]:
    """Names of which not even the beginning is said: `German` is, where `Germany` is."""
    begun = {word[:BEGINNING] for word in said.spoken}
    return {
        name for name in names if name[:BEGINNING] not in begun and stem(name) not in said.all_words
    }


def _is_opposite(pair: _Pair) -> bool:
    """Whether one says a word and the other its opposite; a negation would turn that round.

    Or the question says it, and the kept one only its opposite, which the fresh one does not.
    """
    if pair.fresh.is_negated != pair.kept.is_negated:
        return False
    fresh, kept, asked = pair.fresh, pair.kept, stems(pair.question)
    return any(
        (_has_only(fresh.words, one, other) and _has_only(kept.words, other, one))
        or (
            _has_only(asked, one, other)
            and _has_only(kept.all_words, other, one)
            and not fresh.all_words & other
        )
        for pairs in OPPOSITES
        for one, other in (pairs, pairs[::-1])
    )


def _has_only(words: frozenset[str], one: frozenset[str], other: frozenset[str]) -> bool:
    return bool(words & one) and not words & other


def _is_turned(pair: _Pair) -> bool:
    """From A to B here, from B to A there."""
    fresh = {tuple(map(str.casefold, found)) for found in _TURN.findall(pair.fresh.lead)}
    kept = {tuple(map(str.casefold, found)) for found in _TURN.findall(pair.kept.lead)}
    return any((there, here) in kept and (here, there) not in kept for here, there in fresh)


# What speaks for.


def _confirms(pair: _Pair) -> bool | None:
    """True where the point of both is the same, False where two short answers share nothing."""
    if _SYMBOL.findall(pair.fresh.plain) != _SYMBOL.findall(pair.kept.plain):
        return None
    if _NAMED.search(pair.question) and _same_name(pair):
        return True
    is_elsewhere = _is_elsewhere(pair)
    if _COUNTED.search(pair.question) and _same_number(pair, measured=is_elsewhere):
        return True
    if is_elsewhere:
        return None
    return True if _by_polarity(pair) else _by_short(pair)


def _is_elsewhere(pair: _Pair) -> bool:
    """Whether the kept one seems to be about something else: it lacks a word of the question that
    the fresh one repeats, says another in its place, and does not point back with a pronoun."""
    asked = stems(pair.question)
    lacking = (asked & pair.fresh.words) - pair.kept.all_words
    strange = pair.kept.words - pair.fresh.all_words - asked
    numbers = quantities(pair.question)
    if numbers and len(_common(numbers, pair.kept.all_quantities)) == len(numbers):
        return False
    return bool(lacking and strange) and not _POINTING.search(pair.kept.lead)


def _same_number(pair: _Pair, measured: bool) -> bool:
    """Whether the numbers that the question has not agree; `measured` leaves out mere counts."""
    asked = quantities(pair.question)
    both = []
    for said in (pair.fresh, pair.kept):
        found = said.quantities or said.all_quantities
        found = tuple(one for one in found if not measured or one.dimension != "count")
        both.append(_without(found, asked) or found)
    return _meet(*both)


def _same_name(pair: _Pair) -> bool:
    """Whether most names that the question has not are both answers'."""
    asked = stems(pair.question)
    fresh = {stem(name) for name in pair.fresh.names} - asked
    kept = {stem(name) for name in pair.kept.names} - asked
    return 2 * len(fresh & kept) > min(len(fresh), len(kept))


def _by_short(pair: _Pair) -> bool | None:
    """A short answer is its words that the question has not: the other has them in its lead."""
    asked = stems(pair.question)
    fresh, kept = (said.words - asked or said.words for said in (pair.fresh, pair.kept))
    short = [said.length <= SHORT for said in (pair.fresh, pair.kept)]
    if not any(short) or pair.fresh.is_negated != pair.kept.is_negated or not fresh or not kept:
        return None
    if (short[0] and fresh <= pair.kept.words) or (short[1] and kept <= pair.fresh.words):
        return True
    if all(short) and not fresh & kept:
        return None if pair.cosine is not None and pair.cosine >= RATHER_ALIKE else False
    return None


# Likeness.


def _by_likeness(pair: _Pair, has_code: bool) -> bool | None:
    if pair.cosine is None:
        return None
    overlap = _overlap(pair)
    if pair.cosine < UNLIKE:
        return False
    if _is_elsewhere(pair):
        return False if pair.cosine < RATHER_UNLIKE and overlap < SHARED else None
    if pair.cosine >= ALIKE and not has_code:
        return True
    if pair.cosine >= RATHER_ALIKE and overlap >= SHARED:
        return True
    return False if pair.cosine < RATHER_UNLIKE and overlap < APART else None


def _overlap(pair: _Pair) -> float:
    """The share of the shorter one's words that the other has; the question's words don't count,
    unless hardly any are left."""
    asked = stems(pair.question)
    fresh, kept = pair.fresh.all_words - asked, pair.kept.all_words - asked
    if min(len(fresh), len(kept)) < 4:
        fresh, kept = pair.fresh.all_words, pair.kept.all_words
    least = min(len(fresh), len(kept))
    return len(fresh & kept) / least if least else 0.0
