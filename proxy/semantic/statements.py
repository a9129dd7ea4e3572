"""What an answer turns on: its answering sentence, its numbers, names, yes or no. Pure.

For English answers as chat models write them; of another language the words and numbers are read
all the same. The patterns take linear time, or are held to a text's beginning.
"""

import re
import unicodedata
from typing import NamedTuple

BEGIN = 120  # characters of a beginning: yes, no, `Sure!`, a refusal
SENTENCE = 400  # characters of an answering sentence that are looked at

_STOP = """
a an the this that these those it its it's i you he she we they them their his her your my our is
are was were be been being am do does did done has have had having can could will would should
shall may might must of in on at to for from by with as about into onto over under between through
during and or but if then than so because while when where what which who whom whose why how there
here also just only very more most some any each both such own same other not no yes n't up out off
use uses used using like please tell me answer following one called known usually typically
generally commonly often considered e.g i.e etc
"""
STOP = frozenset(_STOP.split())
"""Words that say nothing by themselves."""

_UNCOUNTED = frozenset({"one", "a", "an"})
_ONES = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen twenty
"""
_WORDS = {word: value for value, word in enumerate(_ONES.split())}
_WORDS |= {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "hundred": 100}
_SCALES = {"thousand": 1e3, "k": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_UNITS = {
    name: (dimension, factor)
    for dimension, names in {
        "length": "km:1e3 kilometer:1e3 kilometre:1e3 m:1 meter:1 metre:1 cm:.01 centimeter:.01 "
        "mm:.001 millimeter:.001 mi:1609.34 mile:1609.34 ft:.3048 foot:.3048 feet:.3048 "
        "inch:.0254 inche:.0254 yard:.9144",
        "mass": "kg:1e3 kilogram:1e3 kilo:1e3 g:1 gram:1 mg:.001 milligram:.001 lb:453.592 "
        "pound:453.592 oz:28.3495 ounce:28.3495",
        "time": "second:1 sec:1 s:1 minute:60 min:60 hour:3600 hr:3600 h:3600",
        "day": "day:1 week:7",
        "month": "month:1",
        "span": "year:1 decade:10 century:100 centurie:100",
        "percent": "%:1 percent:1 percentage:1",
        "money": "$:1 dollar:1 usd:1",
        "euro": "€:1 euro:1 eur:1",
        "sterling": "£:1 gbp:1",
        "kelvin": "k:1 kelvin:1",
    }.items()
    for name, factor in (pair.split(":") for pair in names.split())
}
_MEASURES = frozenset(("c", "f", "celsius", "fahrenheit", *_UNITS))
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w.)])[-\u2212])?(?P<currency>[$€£]\s?)?"
    r"(?<![\w.])(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(?![\d])"
    r"(?:\s?(?P<scale>thousand|million|billion|trillion|k)\b)?"
    r"(?:[\s-]?(?P<degrees>°|degrees?\b)?\s?(?P<unit>%|[A-Za-z]+\b))?",
    re.IGNORECASE,
)
_WORD_NUMBER = re.compile(r"\b(" + "|".join(_WORDS) + r")\b[\s-]?([A-Za-z]+)?", re.IGNORECASE)
_RANGE = re.compile(r"\s*(?:[-\u2013\u2014]|to|and|or)\s*")
_FENCE = re.compile(r"```[^\n]{0,80}\n(.*?)(?:```|\Z)", re.DOTALL)
_HEADING = re.compile(r"^#{1,6} [^\n]*\n", re.MULTILINE)
_MARKUP = re.compile(r"^[ \t]*(?:#{1,6}|[-*+•]|\d+[.)])[ \t]+|\*{1,3}|__|`|^>[ \t]?", re.MULTILINE)
_BREAK = re.compile(
    r"(?<!\bDr\.)(?<!\bMr\.)(?<!\bMrs\.)(?<!\bMt\.)(?<!\bSt\.)(?<!\bvs\.)"
    r"(?<!e\.g\.)(?<!i\.e\.)(?<!U\.S\.)(?<=\S[.!?])[\"\u201d)]?\s+(?![a-z\s])|\n+"
)
_OPENING = re.compile(
    r"^\W*(?:sure|certainly|of course|absolutely|great question|good question|happy to help|"
    r"hello|hi|here(?:'s| is| are)\b[^.]*:|run the following\b[^.]*:)[\w ,']{0,40}[.!:,]*\s*$",
    re.IGNORECASE,
)
_POSITIVE = re.compile(
    r"^\W*(?:yes|yep|yeah|absolutely|certainly|definitely|correct|true|of course)\b"
    r"|^[\w ]{0,40}, yes\b",
    re.IGNORECASE,
)
_NEGATIVE = re.compile(
    r"^\W*(?:no|nope|false|incorrect|not really|unfortunately,? no)\b(?! longer)"
    r"|^[\w ]{0,40}, no\b(?! )",
    re.IGNORECASE,
)
_NEGATION = re.compile(r"\b(?:not|never|cannot|neither|nor|without)\b|n't\b|\bno\b", re.IGNORECASE)
_REFUSAL = re.compile(
    r"^\W*(?:i'm sorry|i am sorry|sorry,|i apologi[sz]e|unfortunately,|as an ai[\w ]*,)?"
    r"\W*(?:but )?"
    r"(?:i can(?:no|')t|i can not|i(?:'m| am) (?:not able|unable) to|i (?:won't|will not))"
    r" (?:help|assist|provide|answer|fulfil|comply|access|browse|share|do that|create|generate)"
    r"|^\W*i do(?:n't| not) have (?:access|information|enough|real-time|the ability)\b",
    re.IGNORECASE,
)
_WORKING = re.compile(
    r"^\W*(?:to (?:find|calculate|compute|solve|work out)|let's|step)\b", re.IGNORECASE
)
_RESULT = re.compile(
    r"\b(?:so|therefore|thus|hence|answer|result|total|equals)\b.*\d", re.IGNORECASE
)
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?(?:\+\+|#)?")


class Quantity(NamedTuple):
    """A number in its dimension's base unit (metres, grams, seconds, days, degrees Celsius); a
    whole number of four digits without a unit is a year. `digits` are those that mean something."""

    value: float
    dimension: str
    digits: int


class Statement(NamedTuple):
    """An answer's point.

    `plain` is all of it without markup, `spoken` its words; `lead` the sentence that answers,
    `words` the stems of its words, and `all_words` those of the whole answer; `is_positive` None
    where it begins with neither yes nor no; `length` words, very many where there is code.
    """

    plain: str
    spoken: frozenset[str]
    lead: str
    words: frozenset[str]
    all_words: frozenset[str]
    quantities: tuple[Quantity, ...]
    all_quantities: tuple[Quantity, ...]
    names: frozenset[str]
    is_positive: bool | None
    is_negated: bool
    refuses: bool
    length: int


def read_statement(answer: str) -> Statement:
    """What a text says. It may be of any language and length, and say nothing."""
    answer = unicodedata.normalize("NFKC", answer).replace("\u2019", "'")
    prose = _MARKUP.sub("", _HEADING.sub("", _FENCE.sub("\n", answer))).strip()
    code = " ".join(found[1] for found in _FENCE.finditer(answer))
    text = prose or code
    lead = _lead(text)[:SENTENCE]
    return Statement(
        plain=" ".join(f"{prose} {code}".casefold().split()).strip(" .!\"'"),
        spoken=frozenset(_WORD.findall(f"{prose} {code}".casefold())),
        lead=lead,
        words=stems(lead),
        all_words=stems(f"{prose} {code}"),
        quantities=quantities(lead),
        all_quantities=quantities(text),
        names=_names(lead, text),
        is_positive=_polarity(text),
        is_negated=bool(_NEGATION.search(lead)),
        refuses=bool(_REFUSAL.search(text[:BEGIN])),
        length=len(_WORD.findall(text)) if prose and not code else 10**6,
    )


def stems(text: str) -> frozenset[str]:
    """The words that mean something, without most of their endings."""
    words = _WORD.findall(text.casefold())
    return frozenset(stem(word) for word in words if word not in STOP and not word.isdigit())


def stem(word: str) -> str:
    """`disable`, `disabled`, `disabling` -> `disabl`."""
    word = word.removesuffix("'s")
    for ending in ("ing", "ed", "es", "s", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word.removesuffix(ending)
            break
    word = word.removesuffix("e") if len(word) > 4 else word
    return word[:-1] + "i" if word.endswith("y") and len(word) > 3 else word


def quantities(text: str) -> tuple[Quantity, ...]:
    """All numbers of a text, in figures and up to sixty in words."""
    found: list[Quantity] = []
    end = -1
    for match in _NUMBER.finditer(text):
        quantity = _quantity(match)
        between = text[end : match.start()] if found else "."
        if found and _RANGE.fullmatch(between) and found[-1].dimension == "count":
            found[-1] = _in_unit(found[-1], match["degrees"], match["unit"])
        found.append(quantity)
        end = match.end("digits")
    for match in _WORD_NUMBER.finditer(text):
        word = match[1].casefold()
        if word in _WORDS and word not in _UNCOUNTED:
            value = Quantity(float(_WORDS[word]), "count", 2)
            found.append(_in_unit(value, None, match[2]))
    return tuple(found)


def _quantity(match: re.Match[str]) -> Quantity:
    digits = match["digits"]
    value = float(digits.replace(",", "")) * _SCALES.get((match["scale"] or "").casefold(), 1)
    if match["sign"]:
        value = -value
    said = digits.replace(",", "")
    kept = len((said if "." in said else said.rstrip("0")).replace(".", "").lstrip("0")) or 1
    plain = Quantity(value, "count", kept)
    measured = _in_unit(plain, match["degrees"], (match["currency"] or "").strip() or match["unit"])
    is_year = not match["scale"] and digits.isdigit() and 1000 <= value <= 2100
    return measured._replace(dimension="year") if measured == plain and is_year else measured


def _in_unit(quantity: Quantity, degrees: str | None, unit: str | None) -> Quantity:
    name = (unit or "").casefold()
    value = quantity.value
    if name in ("f", "fahrenheit") and (degrees or name != "f"):
        return quantity._replace(value=(value - 32) * 5 / 9, dimension="temperature")
    if degrees or name == "celsius":
        return quantity._replace(dimension="temperature")
    for known in (name, name.removesuffix("s")):
        if known in _UNITS:
            dimension, factor = _UNITS[known]
            return quantity._replace(value=value * float(factor), dimension=dimension)
    return quantity


def _lead(text: str) -> str:
    """The first sentence that says something beside yes, no or `Sure!`; of a calculation, the
    one with its result."""
    sentences = [sentence for sentence in _BREAK.split(text) if sentence]
    if _WORKING.match(text[:BEGIN]):
        results = [sentence for sentence in sentences if _RESULT.search(sentence[:SENTENCE])]
        sentences = results[-1:] + sentences
    for sentence in sentences:
        if stems(sentence) - _SAID_FIRST and not _OPENING.match(sentence[:BEGIN]):
            return sentence.strip()
        if quantities(sentence):
            return sentence.strip()
    return text.strip()


_SAID_FIRST = stems("yes yep yeah absolutely certainly definitely correct true sure course nope")


def _polarity(text: str) -> bool | None:
    if _NEGATIVE.search(text[:BEGIN]):
        return False
    return True if _POSITIVE.search(text[:BEGIN]) else None


def _names(lead: str, text: str) -> frozenset[str]:
    """Capitalised words of the lead: not one that is so only because its sentence begins."""
    found = set()
    for part in re.split(r"[:\n]", lead):
        words = [match[0] for match in _WORD.finditer(part)]
        for at, word in enumerate(words):
            if not word[0].isupper() or word.casefold() in STOP or word.casefold() in _MEASURES:
                continue
            follows = at + 1 < len(words) and words[at + 1][0].isupper()
            marked = any(letter.isupper() or letter.isdigit() for letter in word[1:])
            if at or follows or marked or len(words) == 1:
                found.add(word)
    return frozenset(name.casefold().removesuffix("'s") for name in found)
