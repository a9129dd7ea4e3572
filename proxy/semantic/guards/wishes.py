"""How an answer is wished for: its format, length, audience and language."""

from typing import NamedTuple

from proxy.semantic.guards.lemmas import lemma
from proxy.semantic.guards.lists import lines, words
from proxy.semantic.guards.tokens import FILLER, Token

_FORMAT_TEXT = """
table: table tabular tabulate
list: list bullet bulleted bullets checklist numbered
json: json
csv: csv
yaml: yaml yml
xml: xml
html: html
markdown: markdown
latex: latex
essay: essay
haiku: haiku
limerick: limerick
sonnet: sonnet
song: song lyrics
rap: rap
tweet: tweet
letter: letter
headline: headline
slogan: slogan tagline motto
pseudocode: pseudocode
diagram: diagram flowchart mermaid
timeline: timeline
joke: joke pun
quiz: quiz
worksheet: worksheet
eulogy: eulogy
memo: memo
poster: poster
crossword: crossword
podcast: podcast
analogy: analogy metaphor
mnemonic: mnemonic
"""
_BRIEF = words("brief briefly short shortly concise concisely succinct succinctly")
_DETAILED = words(
    "detail detailed details thorough thoroughly comprehensive extensive lengthy length depth"
    " elaborate long"
)
_AUDIENCE_TEXT = """
child: child kid toddler preschooler kindergarten kindergartner grader kindergartener eli5 pupil
beginner: beginner layman layperson laymen novice newbie newcomer dummy nontechnical
expert: expert professional specialist professor physicist engineer scientist developer phd
    researcher statistician mathematician biologist chemist economist accountant
student: student undergraduate graduate
elder: grandmother grandma granny grandfather grandpa pensioner senior
manager: ceo executive manager director investor
"""
_LANGUAGES = words("""
    arabic bengali bulgarian cantonese catalan chinese croatian czech danish dutch english estonian
    finnish french german greek hebrew hindi hungarian icelandic indonesian irish italian japanese
    korean latin latvian lithuanian malay mandarin norwegian persian farsi polish portuguese punjabi
    romanian russian serbian slovak slovenian spanish swahili swedish tagalog tamil thai turkish
    ukrainian urdu vietnamese welsh yiddish esperanto
    """)
_AS, _IN = frozenset({"as"}), frozenset({"in", "into"})
_SPEAKING = frozenset({"in", "into", "to", "as", "of", "using", "with"})
_BETWEEN = words("""
    a an the plain simple form of short markdown two three well formatted valid proper good mexican
    brazilian formal informal modern simplified everyday american british friendly correct its
    colloquial format
    """)


class Wishes(NamedTuple):
    """`formats` are all that are named, `shaped` those asked for by "as a", or by "in a" where no
    noun follows. `manner` is brief or detailed. `told` says that something is to be explained to
    the audience, `hinted` that anything could mean one. `spoken` are languages behind in, into or
    to; `tongues` all languages that are named."""

    formats: frozenset[str]
    shaped: frozenset[str]
    manner: frozenset[str]
    audience: frozenset[str]
    told: bool
    hinted: bool
    spoken: frozenset[str]
    tongues: frozenset[str]


def _table(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines(text):
        name, _, words = line.partition(": ")
        found |= {form: name for word in words.split() for form in (word, lemma(word))}
    return found


_FORMATS = _table(_FORMAT_TEXT)
_AUDIENCES = _table(_AUDIENCE_TEXT)
_TELLING = words("explain describe summarize present understand teach")
_TOWARDS = frozenset({"to", "for", "like", "as"})
_HINTS = words("""
    new never school schooler level grade grader age aged year yr old little learn learner simple
    easy plain class teach teacher start starter intro introduction basic teen adult nan gran
    granddad head boss daughter son nephew niece someone people person pupil
    """)


def wish(tokens: list[Token]) -> Wishes:
    """What a text's tokens wish for, phrases not yet joined."""
    formats, shaped, manner = set[str](), set[str](), set[str]()
    audience, spoken, tongues = set[str](), set[str](), set[str]()
    told = False
    explains = any(token.plain in _TELLING for token in tokens)
    for place, token in enumerate(tokens):
        word, plain = token.lower, token.plain
        if shape := _FORMATS.get(word) or _FORMATS.get(plain):
            formats.add(shape)
            if _led(tokens, place, _AS) or (_led(tokens, place, _IN) and _ends(tokens, place)):
                shaped.add(shape)
        if word in _BRIEF:
            manner.add("brief")
        elif word in _DETAILED:
            manner.add("detailed")
        if plain in _AUDIENCES or _aged(tokens, place):
            audience.add(_AUDIENCES.get(plain, "child"))
            told = told or (explains and _addressed(tokens, place))
        if word in _LANGUAGES:
            tongues.add(word)
            if _led(tokens, place, _SPEAKING) and _ends(tokens, place):
                spoken.add(word)
    return Wishes(
        formats=frozenset(formats),
        shaped=frozenset(shaped),
        manner=frozenset(manner),
        audience=frozenset(audience),
        told=told,
        hinted=bool(audience) or any(token.plain in _HINTS for token in tokens),
        spoken=frozenset(spoken),
        tongues=frozenset(tongues),
    )


def _led(tokens: list[Token], place: int, leading: frozenset[str]) -> bool:
    """Whether one of `leading` leads to the word at `place`."""
    before = place - 1
    while before >= 0 and before >= place - 3 and tokens[before].lower in _BETWEEN:
        before -= 1
    return before >= 0 and tokens[before].lower in leading


def _ends(tokens: list[Token], place: int) -> bool:
    """Whether the word at `place` leads to no noun, as "Irish" does in "Irish pubs"."""
    if place + 1 >= len(tokens):
        return True
    after, here = tokens[place + 1], tokens[place]
    if after.opens or after.start - here.start - len(here.raw) != 1:
        return True
    return after.lower in FILLER or after.lower in {"without", "before", "after", "please", "under"}


def _aged(tokens: list[Token], place: int) -> bool:
    """Whether "year old" stands here, of a child."""
    if tokens[place].plain != "year" or not 0 < place < len(tokens) - 1:
        return False
    age = tokens[place - 1].plain
    return tokens[place + 1].plain == "old" and age.isdecimal() and int(age[:3]) < 14


def _addressed(tokens: list[Token], place: int) -> bool:
    """Whether "to a", "for my" or the like leads to the word at `place`."""
    return any(t.lower in _TOWARDS for t in tokens[max(place - 3, 0) : place])
