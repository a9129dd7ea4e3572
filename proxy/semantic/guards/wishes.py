"""How an answer is wished for: its format, length, audience and language."""

from typing import NamedTuple

from proxy.semantic.guards.lemmas import lemma
from proxy.semantic.guards.tokens import NUMBER_WORDS, Token

_FORMAT_TEXT = """
table: table tabular
bullets: bullet bulleted bullets checklist
list: list
numbered: numbered
json: json
csv: csv
yaml: yaml
xml: xml
html: html
markdown: markdown
latex: latex
essay: essay
paragraph: paragraph
sentence: sentence
poem: poem verse rhyme rhyming
haiku: haiku
limerick: limerick
sonnet: sonnet
song: song lyrics
rap: rap
tweet: tweet
email: email
letter: letter
text_message: sms
headline: headline
slogan: slogan tagline motto
mission: mission
code: code
pseudocode: pseudocode
diagram: diagram flowchart chart graph
timeline: timeline
story: story tale
joke: joke pun riddle
quiz: quiz questionnaire
worksheet: worksheet
speech: speech toast eulogy
dialog: dialog conversation
press: press
blog: blog
report: report
summary: summary
analogy: analogy metaphor
mnemonic: mnemonic
formula: formula equation
memo: memo
poster: poster
crossword: crossword
table_of_contents: contents
template: template
podcast: podcast
steps: step
keyword: keyword
emoji: emoji
"""
_LENGTHS = frozenset(
    "word sentence paragraph page line tweet bullet character stanza verse slide".split()
)
_BRIEF = frozenset("brief briefly short shortly concise concisely succinct succinctly".split())
_DETAILED = frozenset(
    "detail detailed details thorough thoroughly comprehensive extensive lengthy length depth"
    " elaborate long".split()
)
_AUDIENCE_TEXT = """
child: child kid toddler preschooler kindergarten kindergartner grader kindergartener eli5 pupil
teen: teenager teen
beginner: beginner layman layperson laymen novice newbie newcomer dummy nontechnical
expert: expert professional specialist professor physicist engineer scientist developer programmer phd researcher statistician mathematician biologist chemist economist accountant
elder: grandmother grandma granny grandfather grandpa pensioner senior
student: student undergraduate graduate undergrad
manager: ceo executive manager director investor
adult: adult
patient: patient
"""
_LANGUAGES = frozenset(
    """
    arabic bengali bulgarian cantonese catalan chinese croatian czech danish dutch english estonian
    finnish french german greek hebrew hindi hungarian icelandic indonesian irish italian japanese
    korean latin latvian lithuanian malay mandarin norwegian persian farsi polish portuguese punjabi
    romanian russian serbian slovak slovenian spanish swahili swedish tagalog tamil thai turkish
    ukrainian urdu vietnamese welsh yiddish esperanto
    """.split()
)
_TOWARDS = frozenset({"in", "into", "to", "as", "of", "using", "with"})
_BETWEEN = frozenset(
    "a an the plain simple form of short markdown two three well formatted valid proper good mexican"
    " brazilian formal informal modern simplified everyday american british friendly correct"
    " colloquial its form format".split()
)


class Wishes(NamedTuple):
    """`formats` are all that are named, `shaped` those asked for by "as a" or "in a". A length is
    a number and what is counted, as "50 word"; `manner` is brief or detailed. `spoken` are
    languages behind in, into or to; `tongues` all languages that are named."""

    formats: frozenset[str]
    shaped: frozenset[str]
    lengths: frozenset[str]
    manner: frozenset[str]
    audience: frozenset[str]
    told: bool
    spoken: frozenset[str]
    tongues: frozenset[str]


def _table(text: str) -> dict[str, str]:
    found = {}
    for line in text.strip().splitlines():
        name, _, words = line.partition(": ")
        found |= {lemma(word): name for word in words.split()}
    return found


_FORMATS = _table(_FORMAT_TEXT)
_AUDIENCES = _table(_AUDIENCE_TEXT)
_EXPLAINING = frozenset({"to", "for", "like", "aimed", "as"})


def wish(tokens: list[Token]) -> Wishes:
    """What a text's tokens wish for, phrases not yet joined."""
    formats, shaped, lengths, manner = set(), set(), set(), set()
    audience, spoken, tongues = set(), set(), set()
    told = False
    for place, token in enumerate(tokens):
        word, plain = token.lower, token.plain
        if plain in _FORMATS:
            formats.add(_FORMATS[plain])
            if _led(tokens, place):
                shaped.add(_FORMATS[plain])
        if plain in _LENGTHS and (count := _count(tokens, place)):
            lengths.add(f"{count} {plain}")
        if word in _BRIEF:
            manner.add("brief")
        elif word in _DETAILED:
            manner.add("detailed")
        if plain in _AUDIENCES or _aged(tokens, place):
            audience.add(_AUDIENCES.get(plain, "child"))
            told = told or _addressed(tokens, place)
        if word in _LANGUAGES:
            tongues.add(word)
            if _led(tokens, place):
                spoken.add(word)
    return Wishes(
        *(frozenset(found) for found in (formats, shaped, lengths, manner, audience)),
        told,
        frozenset(spoken),
        frozenset(tongues),
    )


def _led(tokens: list[Token], place: int) -> bool:
    """Whether "in", "as" or the like leads to the word at `place`."""
    before = place - 1
    while before >= 0 and before >= place - 3 and tokens[before].lower in _BETWEEN:
        before -= 1
    return before >= 0 and tokens[before].lower in _TOWARDS


def _count(tokens: list[Token], place: int) -> str:
    """The number before what is counted, "" where there is none."""
    for before in range(place - 1, max(place - 3, -1), -1):
        word = tokens[before].lower
        if word[0].isdigit():
            return word.replace(",", "")
        if word in NUMBER_WORDS:
            after = tokens[before + 1].lower
            return str(NUMBER_WORDS[word] * {"hundred": 100, "thousand": 1000}.get(after, 1))
        if word == "single":
            return "1"
    return ""


def _aged(tokens: list[Token], place: int) -> bool:
    """Whether "year old" stands here."""
    if tokens[place].plain != "year" or place + 1 >= len(tokens):
        return False
    return tokens[place + 1].plain == "old"


def _addressed(tokens: list[Token], place: int) -> bool:
    """Whether "to a", "for my" or the like leads to the word at `place`."""
    return any(t.lower in _EXPLAINING for t in tokens[max(place - 5, 0) : place])
