"""What the guards have to know of one text, found out once."""

import re
from dataclasses import dataclass
from itertools import pairwise

from proxy.semantic.guards.amounts import Amounts, measure
from proxy.semantic.guards.lists import words
from proxy.semantic.guards.questions import asked, attributes, task
from proxy.semantic.guards.routes import routes
from proxy.semantic.guards.tokens import FILLER, Token, clean, join, tokenize
from proxy.semantic.guards.wishes import Wishes, wish

_QUOTED = re.compile(
    r'"([^"\n]{1,400})"|```(.+?)```|`([^`\n]{1,400})`|(?<!\w)\'([^\'\n]{2,400})\'(?!\w)', re.DOTALL
)
_CODE = re.compile(r"#[A-Z]+[/!?\w]*|\b\w+\(\)|(?<!\w)--?[a-z][\w-]+")
_WORD = re.compile(r"\w+")
_RUN = re.compile(r"\d{1,3}(?:,\d{3})+|\d{1,15}(?:\.\d+)?")
NEGATIVE = words("not no never without nobody none nothing neither nor")
"""Plain forms that deny."""
_HARMLESS = words("""
    more less fewer later longer matter only just but same equal know understand sure mind idea
    until yet
    """)
_DENYING = words("""
    refuse fail forbid forbidden lack stop prevent avoid forget deny reject decline unable
    impossible missing lose lost zero free except exclude hide hidden closed close omit skip ignore
    leave out keep instead rather break broken fault faulty defective wrong hate dislike unlike
    disable invalid illegal false minus absent stay off
    """)
"""Words that can say what a negative says."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One text.

    `tokens` are the canonical forms in order, phrases joined; `sequence` those that carry matter,
    `content` the same as a set. `words` are all forms of all tokens, and two neighbours as one
    word, each of which `pairs` has with its parts; `heads` the first five letters of the long
    ones, `shorts` the ones of four. `names` are words with capitals, canonical.

    `quoted` are the words of each quotation, `inside` all of them, canonical; `code` spans that
    look like code; `spelled` all words as written;
    `runs` all digits in a row as numbers; `initials` the letters that words begin with.
    `routes` are pairs of which the one leads to the other. `negated` is what follows a "not" or
    "no", `negatives` how many of these there are, and `denials` how many words that can say the
    same ("refuse"). `asks`, `task` and `about` are those of `questions`.
    """

    tokens: tuple[str, ...]
    sequence: tuple[str, ...]
    content: frozenset[str]
    words: frozenset[str]
    pairs: tuple[tuple[str, str, str], ...]
    heads: frozenset[str]
    shorts: frozenset[str]
    names: frozenset[str]
    quoted: tuple[tuple[str, ...], ...]
    inside: frozenset[str]
    negated: frozenset[str]
    spelled: frozenset[str]
    runs: frozenset[float]
    code: frozenset[str]
    initials: str
    routes: frozenset[tuple[str, str]]
    negatives: int
    denials: int
    asks: str
    task: str
    about: frozenset[str]
    amounts: Amounts
    wishes: Wishes


def read(text: str) -> Reading:
    """Everything that `veto` and `doubts` compare of a text. Of a very long one, the beginning."""
    text = clean(text)
    single = tokenize(text)
    joined = join(single)
    sequence = tuple(t.canon for t in joined if t.canon not in FILLER or t.lower in NEGATIVE)
    quoted, inside = _quoted(text), _inside(text)
    outside = [t for t in joined if not any(a < t.start < b for a, b in inside)]
    negated = _negated(text, outside)
    pairs = tuple((a.lower + b.plain, a.canon, b.canon) for a, b in pairwise(single))
    forms = _forms(single) | _forms(joined)
    return Reading(
        tokens=tuple(t.canon for t in joined),
        sequence=sequence,
        content=frozenset(sequence),
        words=forms | {pair[0] for pair in pairs},
        pairs=pairs,
        heads=frozenset(word[:5] for word in forms if len(word) >= 5),
        shorts=frozenset(word for word in forms if len(word) == 4),
        names=_names(single),
        quoted=quoted,
        inside=frozenset(t.canon for t in joined for a, b in inside if a < t.start < b),
        negated=frozenset(negated),
        spelled=frozenset(_WORD.findall(text.lower())),
        runs=frozenset(float(run.replace(",", "")) for run in _RUN.findall(text)),
        code=_code(text, single),
        initials="".join(t.lower[0] for t in single),
        routes=routes(joined),
        negatives=len(negated),
        denials=sum(t.plain in _DENYING or t.lower in _DENYING for t in joined),
        asks=asked(joined),
        task=task(joined),
        about=attributes(frozenset(t.canon for t in joined)),
        amounts=measure(single),
        wishes=wish(single),
    )


def _forms(tokens: list[Token]) -> frozenset[str]:
    return frozenset(
        [t.lower for t in tokens] + [t.plain for t in tokens] + [t.canon for t in tokens]
    )


def _names(tokens: list[Token]) -> frozenset[str]:
    """Words with capitals where none belong. None of a text that is all capitals or titles."""
    capital = [t for t in tokens if t.raw[0].isupper() or t.raw[1:].lower() != t.raw[1:]]
    spelled = sum(t.raw[0].isalpha() for t in tokens)
    if len(capital) > 0.7 * spelled and spelled > 4:
        return frozenset()
    return frozenset(
        t.canon
        for t in capital
        if t.lower not in FILLER and (not t.opens or not t.raw[1:].islower()) and len(t.raw) > 1
    )


def _code(text: str, tokens: list[Token]) -> frozenset[str]:
    """Words like read_csv and readCsv, calls, flags and error values."""
    found = [t.lower for t in tokens if "_" in t.raw or t.raw[1:].lower() != t.raw[1:]]
    if "#" in text or "()" in text or "-" in text:
        found += [span.lower() for span in _CODE.findall(text)]
    return frozenset(found)


def _quoted(text: str) -> tuple[tuple[str, ...], ...]:
    if '"' not in text and "`" not in text and "'" not in text:
        return ()
    spans = ("".join(groups) for groups in _QUOTED.findall(text))
    return tuple(tuple(_WORD.findall(span.lower())) for span in spans)


def _inside(text: str) -> list[tuple[int, int]]:
    """Where the quotations are."""
    if '"' not in text and "`" not in text and "'" not in text:
        return []
    return [match.span() for match in _QUOTED.finditer(text)]


def _negated(text: str, tokens: list[Token]) -> list[str]:
    """For each negative the word of matter behind it, "" where there is none. Without those that
    deny nothing: "no. 5", "no more than", "or not"."""
    found = []
    for place, token in enumerate(tokens):
        if token.plain not in NEGATIVE:
            continue
        before = tokens[place - 1].lower if place else ""
        after = next((t for t in tokens[place + 1 : place + 4] if t.canon not in FILLER), None)
        if before in {"or", "if", "whether"} or (token.lower == "no" and _number_sign(text, token)):
            continue
        if place + 1 < len(tokens) and tokens[place + 1].lower == "but":
            continue
        if after and (after.lower in _HARMLESS or after.canon in _HARMLESS):
            continue
        found.append(after.canon if after else "")
    return found


def _number_sign(text: str, token: Token) -> bool:
    """Whether "no." stands for "number" here."""
    rest = text[token.start + 2 : token.start + 5].strip()
    return rest[:1].isdecimal() or (rest[:1] == "." and not rest[1:].strip()[:1].isupper())
