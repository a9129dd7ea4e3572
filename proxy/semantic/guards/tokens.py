"""A text cut into tokens that can be compared: plain forms, phrases joined, filler left out."""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from proxy.semantic.guards.lemmas import lemma
from proxy.semantic.guards.lists import words
from proxy.semantic.guards.synonyms import LEXICON

LONGEST = 4_000
"""Characters that are looked at; the rest of a longer text is not read."""


class Token(NamedTuple):
    """`raw` as written; `lower` in lower case; `plain` its plain form; `canon` what stands for it
    and its synonyms. `start` is its place in the text; `opens` that a sentence starts here."""

    raw: str
    lower: str
    plain: str
    canon: str
    start: int
    opens: bool


_ONES = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NUMBER_WORDS = {word: value for value, word in enumerate(_ONES.split())} | {
    word: 10 * ten for ten, word in enumerate(_TENS.split(), start=2)
}
"""The words of which numbers up to 99 are made."""
_QUOTES = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u201e": '"',
        "\u00ab": '"', "\u00bb": '"', "\u2013": "-", "\u2014": "-", "\u2212": "-",
        "\u00d7": "x", "\u00a0": " ", "\u202f": " ",
        "\u00bd": " 1/2", "\u00bc": " 1/4", "\u00be": " 3/4",
    }
)  # fmt: skip
"""Quotation marks, dashes, spaces, the sign of multiplication, fractions."""
_TOKEN = re.compile(
    r"[#@]?[A-Za-z_]\w*(?:[._]\w+)+"  # user.name, node.js, read_csv
    r"|(?<!\w)(?:[CFcf]\#|[cC]\+\+|\.(?:NET|net)\b)"
    r"|401\s?\(?k\)?|0x[0-9a-fA-F]+|\d{1,2}:\d{2}|(?<![\d/])\d{1,4}/\d{1,4}(?![\d/])|(?<![\w.])\.\d+"
    r"|(?<=\s)-\d+(?:\.\d+)?|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)*"
    r"|[^\W\d_]+(?:'[^\W\d_]+)*\d*|_+\w+"
    r"|[$€£¥₹%°]|[.!?\n:]"
)
_TIMES = re.compile(r"(\d)\s?[x*]\s?(\d)")
_ACCENTS = re.compile("([A-Za-z])[\u0300-\u036f]+")
_CONTRACTED = {
    "can't": "can not", "cannot": "can not", "won't": "will not", "shan't": "shall not",
    "ain't": "is not", "let's": "let us", "whats": "what is", "hows": "how is",
    "dont": "do not", "doesnt": "does not", "didnt": "did not", "isnt": "is not",
    "arent": "are not", "wasnt": "was not", "cant": "can not", "wont": "will not",
    "im": "i am", "ive": "i have", "wanna": "want to", "gonna": "going to", "gotta": "got to",
}  # fmt: skip
_CAPITALS = {"US": "usa", "WHO": "w.h.o", "IT": "i.t"}
"""Names that are other words without their capitals."""
_TAILS = {"n't": "not", "'s": "", "'re": "are", "'m": "am", "'ve": "have", "'ll": "will", "'d": ""}
_STOPS = ".!?\n:"
_WORD_LENGTH = 40  # letters; what is longer is no word, and would fill the cache


def clean(text: str) -> str:
    """Compatibility forms, straight quotes, plain dashes, no accents; cut to `LONGEST`."""
    text = text[:LONGEST]
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text.translate(_QUOTES)).translate(_QUOTES)
        text = unicodedata.normalize("NFKC", _ACCENTS.sub(r"\1", text))
    return _TIMES.sub(r"\1 x \2", text)


def tokenize(text: str) -> list[Token]:
    """The tokens of a text that `clean` has gone over, without phrases joined."""
    tokens: list[Token] = []
    opens = True
    for match in _TOKEN.finditer(text):
        raw = match.group()
        if raw in _STOPS:
            opens = True
            continue
        for part, plain, canon in _parts(_CAPITALS.get(raw) or raw.lower()):
            tokens.append(Token(raw, part, plain, canon, match.start(), opens))
            opens = False
    return tokens


def _parts(lower: str) -> tuple[tuple[str, str, str], ...]:
    return _read(lower) if len(lower) <= _WORD_LENGTH else ((lower, lower, lower),)


@lru_cache(maxsize=20_000)
def _read(lower: str) -> tuple[tuple[str, str, str], ...]:
    """Lower case, plain form and canonical form of each word that a token is made of."""
    return tuple(_forms(part) for part in _words(lower))


def _words(lower: str) -> list[str]:
    if lower[0] == "4" and lower[-1] in "k)":
        return ["401k"]
    if lower in _CONTRACTED:
        return _CONTRACTED[lower].split()
    if "'" not in lower:
        return [lower]
    for tail, word in _TAILS.items():
        if lower.endswith(tail) and len(lower) > len(tail):
            head = lower[: -len(tail)]
            return [head, word] if word else [head]
    return [lower.replace("'", "")]


def _forms(word: str) -> tuple[str, str, str]:
    if word in NUMBER_WORDS and word != "one":
        return word, str(NUMBER_WORDS[word]), str(NUMBER_WORDS[word])
    plain = lemma(word)
    return word, plain, LEXICON.canon.get(plain, plain)


def join(tokens: list[Token]) -> list[Token]:
    """The same with each phrase of the lexicon as one token."""
    joined: list[Token] = []
    place = 0
    while place < len(tokens):
        token = tokens[place]
        length = 1
        if token.lower == "non" and place + 1 < len(tokens):
            stuck = "non" + tokens[place + 1].plain
            token = token._replace(plain=stuck, canon=LEXICON.canon.get(stuck, stuck))
            length = 2
        for rest, stands_for in LEXICON.phrases.get(token.plain, ()):
            after = tokens[place + 1 : place + 1 + len(rest)]
            if after and after[0].plain == rest[0] and tuple(t.plain for t in after) == rest:
                length += len(rest)
                token = token._replace(plain=stands_for, canon=stands_for)
                break
        joined.append(token)
        place += length
    return joined


FILLER = words("""
    a an the please pls plz kindly hey hi hello thanks thank thx dear ok just really actually
    exactly quick quickly question wonder curious tell let know me i we you one us my our your
    be do have would could can may might shall should will to of and so then there here that this
    these those it its very some any also too bit want like need help explain describe give show
    say mean get got am by on in at for from with as or if but into about what which who whom
    whose how when where why is are was were does did has had been being they he she him her his
    them their myself yourself itself
    """)
"""Words that carry a question's grammar or manners rather than its matter."""
