"""Do two answers say the same? So a fresh answer tells whether a kept one was right. Pure.

Two right answers to one question differ in wording, and answers to two questions share most of
their words; the cosine of their embeddings hardly tells these apart. So what decides is what an
answer turns on: yes or no, its number, its name, its code, in the sentence that answers. Where
nothing of that kind speaks, likeness does, and where that is neither high nor low nobody does.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import orjson

from proxy.semantic.statements import Quantity, Statement, read_statement, stems

ALIKE, UNLIKE = 0.90, 0.55  # cosines at which likeness decides alone
RATHER_ALIKE, RATHER_UNLIKE = 0.70, 0.70  # and with the words' overlap
LONGEST = 20_000  # characters that are read
SHORT = 12  # words of an answer that is nothing but its point
PRECISION = 0.012  # by which two numbers may differ where they are measured, not counted

_FENCE = re.compile(r"```[ \t]*([\w+#-]*)[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
_COMMENT = re.compile(r"(?:#|//|--)[^\n]*")
_TOKEN = re.compile(r"\w+|[^\w\s]")
_COUNTED = re.compile(
    r"\b(how (?:many|much|far|long|tall|high|deep|old|big|large|fast|heavy|hot|cold|often)|when|"
    r"what year|which year|what (?:is|are|was|'s) (?:the )?[-\d(]|square root|percent\w*|"
    r"population|temperature|distance|boil\w*|age|price|cost|speed|height|weight|length)\b"
    r"|\d\s*[-+*/×x÷^%]",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"^\W*(?:who|where|whose)\b|\b(?:in )?(?:which|what) (?:\w+ )?(?:is|was|are|city|country|"
    r"planet|language|animal|element|company|author|symbol|capital)\b|\bcapital\b",
    re.IGNORECASE,
)
_POLAR = re.compile(
    r"^\W*(?:(?:so|and|but|then|please|tell me|if|whether)\W+)*(?:is|are|was|were|am|do|does|did|"
    r"can|could|will|would|should|shall|may|might|must|has|have|had)(?:n't)?\b",
    re.IGNORECASE,
)
_OPPOSITES = tuple(
    (frozenset(one.split("|")), frozenset(other.split("|")))
    for one, other in (
        pair.split(" / ")
        for pair in (
            "enable|enabl|activ / disabl|disable|deactiv", "increas|rise|raise / decreas|fall|reduc",
            "before / after", "ascend / descend", "largest|biggest|larger / smallest|smaller",
            "maximum|max / minimum|min", "highest|tallest|higher / lowest|shortest|lower",
            "upload / download", "install / uninstall", "encrypt / decrypt", "encod / decod",
            "import / export", "north / south", "east / west", "closest|nearest / farthest|furthest",
            "born|birth / died|death|die", "first / last", "buy / sell", "legal / illegal",
            "safe / unsaf|dangerou|toxic|harmful", "possibl / impossibl", "posit / negat",
            "true / fals", "local|locally / remot", "hard / soft", "lock / unlock",
            "fastest|faster / slowest|slower", "best / worst", "odd / even", "inner / outer",
            "subscrib / unsubscrib", "mute / unmut", "open / clos", "left / right",
        )
    )
)  # fmt: skip
"""Stems of which an answer has one or the other."""


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
    fresh, kept = fresh[:LONGEST].strip(), kept[:LONGEST].strip()
    if not fresh or not kept:
        return None
    one, other = _parsed(fresh), _parsed(kept)
    if one is not None and other is not None:
        return _same_values(one, other)
    said = read_statement(fresh), read_statement(kept)
    if said[0].plain == said[1].plain:
        return True
    pair = _Pair(question[:LONGEST], *said, cosine)
    code = _code_of(fresh), _code_of(kept)
    if code[0] and code[1]:
        verdict = _same_code(*code)
        if verdict is not None:
            return verdict and not _contradicts(pair)
    for step in _STEPS:
        verdict = step(pair)
        if verdict is not None:
            return verdict
    return _by_likeness(pair)
