"""A word's plain form: "buying", "bought" and "buys" are "buy", "colours" is "color".

Rules and lists of exceptions, no dictionary: a wrong form does no harm as long as both sides of
a pair get the same one.
"""

import re
from functools import lru_cache

from proxy.semantic.guards.lists import words

_IRREGULAR_TEXT = """
be: am is are was were been being 'm 're
have: has had having
do: does did done doing
go: goes went gone going
buy: bought
sell: sold
get: got gotten getting
give: gave given
take: took taken
make: made
pay: paid
say: said
see: saw seen
send: sent
lend: lent
spend: spent
lose: lost
find: found
keep: kept
sleep: slept
leave: left
feel: felt
mean: meant
meet: met
tell: told
think: thought
bring: brought
catch: caught
teach: taught
fight: fought
build: built
write: wrote written
drive: drove driven
ride: rode ridden
rise: rose risen
eat: ate eaten
drink: drank drunk
swim: swam swum
begin: began begun
run: ran running
come: came
become: became
grow: grew grown
know: knew known
throw: threw thrown
fly: flew flown flies
draw: drew drawn
break: broke broken
speak: spoke spoken
steal: stole stolen
choose: chose chosen
freeze: froze frozen
wear: wore worn
tear: tore torn
bear: bore
swear: swore sworn
shake: shook shaken
forget: forgot forgotten
hide: hid hidden
bite: bit bitten
fall: fell fallen
hold: held
stand: stood
understand: understood
win: won
sit: sat
hang: hung
sing: sang sung
ring: rang rung
sink: sank sunk
shrink: shrank shrunk
stick: stuck
dig: dug
hear: heard
lead: led
feed: fed
breed: bred
shoot: shot
light: lit
slide: slid
wake: woke woken
bind: bound
bend: bent
burn: burnt
learn: learnt
spell: spelt
dream: dreamt
smell: smelt
seek: sought
sweep: swept
lay: laid
lie: lying lied
die: dying dies died dead
tie: tying ties tied
show: shown
prove: proven
owe: owing owed owes
use: using used uses
child: children kid kids
man: men
woman: women
foot: feet
tooth: teeth
mouse: mice
goose: geese
person: people persons
leaf: leaves
wolf: wolves
knife: knives
wife: wives
life: lives
shelf: shelves
half: halves
loaf: loaves
thief: thieves
index: indices indexes
matrix: matrices
vertex: vertices
axis: axes
crisis: crises
analysis: analyses
hypothesis: hypotheses
criterion: criteria
appendix: appendices
medium: media
bacterium: bacteria
good: well
better: better
datum: data
movie: movies
cookie: cookies
calorie: calories
zombie: zombies
pie: pies
shoe: shoes
toe: toes
hero: heroes
potato: potatoes
tomato: tomatoes
echo: echoes
bus: buses
gas: gases
lens: lenses
virus: viruses
status: statuses
bonus: bonuses
campus: campuses
process: processes processing processed
address: addresses addressing addressed
access: accesses accessing accessed
express: expressed
discuss: discussed discussing
pass: passed passing passes
free: freed
agree: agreed agreeing
see: seeing
delete: deleted deleting
complete: completed completing
compete: competing competed
write: writing
cite: citing cited
invite: inviting invited
unite: united
excite: excited exciting
promote: promoted promoting
quote: quoted quoting
vote: voted voting
note: noted noting
invoke: invoking invoked
smoke: smoking smoked
joke: joking joked
provoke: provoked
change: changing changed
charge: charging charged
arrange: arranging arranged
exchange: exchanging exchanged
practice: practise practising practised practicing practiced
license: licence licences licensing licensed
defense: defence
offense: offence
cancel: cancelled cancelling cancellation
travel: travelled travelling traveller traveler
label: labelled labelling
model: modelled modelling
fuel: fuelled fuelling
control: controlled controlling
enroll: enrol enrolled enrolling enrolment enrollment
install: instal installed installing
fulfill: fulfil
skill: skilful
program: programme programmes programming programmed
check: cheque cheques
gray: grey
tire: tyre tyres tires
aluminum: aluminium
mom: mum mummy mommy mums
mother: mothers
dad: daddy
jewelry: jewellery
pajamas: pyjamas
plow: plough
mold: mould mouldy moldy
skeptical: sceptical
aging: ageing
cozy: cosy
draft: draught
airplane: aeroplane plane planes airplanes
storey: storeys
curb: kerb
maneuver: manoeuvre
pediatric: paediatric
anemia: anaemia
diarrhea: diarrhoea
estrogen: oestrogen
fetus: foetus
leukemia: leukaemia
encyclopedia: encyclopaedia
center: centre centres
meter: metre metres
liter: litre litres
kilometer: kilometre kilometres
centimeter: centimetre centimetres
millimeter: millimetre millimetres
milliliter: millilitre millilitres
theater: theatre theatres
fiber: fibre fibres
caliber: calibre
catalog: catalogue catalogues
dialog: dialogue dialogues
analog: analogue
judgment: judgement
whiskey: whisky
donut: doughnut doughnuts
ok: okay
add: added adding
ignore: ignoring ignored
escape: escaping escaped
focus: focused focusing focuses
organization: organizations
"""
_KEPT = words("""
    this his its us as is was has yes gas bus plus thus less unless news always perhaps series
    species physics mathematics maths economics politics ethics statistics athletics gymnastics
    diabetes tennis chess business loss boss class glass grass cross dress stress press success
    thing king ring string spring bring sing wing morning evening ceiling during nothing something
    anything everything wedding building sibling pudding red bed shed weed seed feed need speed
    breed indeed embed bleed exceed proceed succeed hundred sacred kindred naked wicked rugged
    united kubernetes redis postgres aws ios sms gps css dns https windows jenkins paris texas
    kansas athens wales brussels alps andes james jesus mars venus christmas moses charles
    lens atlas canvas cactus focus bias basis corpus versus virus status bonus census campus
    surplus minus genius radius sinus thomas lucas always afterwards across besides towards
    family reply apply supply only early daily weekly monthly yearly hourly nightly italy july
    assembly anomaly monopoly bully belly jelly rally fly ally rely imply comply multiply
    costly friendly lonely likely unlikely ugly silly holy
    """)
_LONG_E = re.compile(
    r"(?:v|z|[^n]c|nc|rc|dg|rg|[^s]s|[bpdgfkt]l|u|[^eo]at|[^aeo]id|[^aeio]ur|[^aeo]ir|[^aeo]in"
    r"|[^aeo]ar|[^o]ut|[^o]ud|um|im|yp|[^aeo]il|ul|[^aeo]ag|[^eo]ad|[ft]er?or|st?or|pl?or|od)$"
)
_SHORT = re.compile(r"^(?:qu|[^aeiou])*[aeiouy][^aeiouwxy]$")
_VOWEL = re.compile(r"[aeiouy]")
_BRITISH = (
    (re.compile(r"(?<=[a-z]{3})is(?=(?:e|es|ed|er|ers|ing|ation|ations)$)"), "iz"),
    (re.compile(r"(?<=[a-z]{2})ys(?=(?:e|es|ed|ing)$)"), "yz"),
    (
        re.compile(
            r"^(behavi|fav|col|neighb|hon|lab|hum|flav|harb|rum|vap|arm|od|parl|sav|endeav|tum)our"
        ),
        r"\1or",
    ),
)
_ISE = words("""
    rise raise praise advise revise supervise exercise promise precise concise surprise otherwise
    wise noise disguise compromise enterprise expertise franchise improvise televise premise
    advertise merchandise devise paradise likewise treatise demise excise
    """)
_ADJECTIVES = """
big large small fast slow cheap long short tall high low old new young hot cold warm heavy light
strong weak rich poor safe easy hard early late near deep thick thin wide narrow bright dark clean
dirty close simple soft loud quiet great dear happy sad healthy busy tiny pretty dry wet fair
rare few mild quick great cool calm brave wise fine tough firm neat plain proud
sharp smooth rough tight loose steep dense full nice sweet smart strict lazy
"""


def _irregular() -> dict[str, str]:
    """Every form of the lists above, with its plain form."""
    forms = {}
    for line in _IRREGULAR_TEXT.strip().splitlines():
        plain, _, others = line.partition(":")
        for other in others.split():
            forms[other] = plain
    for word in _ADJECTIVES.split():
        stem = word[:-1] if word[-1] in "ey" else word
        if re.search(r"^[^aeiou]+[aeiou][bdgmnpt]$", word):
            stem += word[-1]
        middle = "i" if word[-1] == "y" else ""
        forms[f"{stem}{middle}er"] = word
        forms[f"{stem}{middle}est"] = word
    return forms


_IRREGULAR = _irregular()
ADJECTIVES = frozenset(_ADJECTIVES.split())
DEGREES = frozenset(w for w in _IRREGULAR if w.endswith(("er", "est")) and len(w) > 4)
"""Forms of comparison: "larger", "cheapest"."""


@lru_cache(maxsize=20_000)
def lemma(word: str) -> str:
    """The plain form of a word in lower case."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or not word.isalpha() or word in _KEPT:
        return word
    plain = _singular(word)
    plain = _IRREGULAR.get(plain, plain)
    if plain == word or not plain.endswith("s"):
        plain = _verb(plain)
    return _american(_IRREGULAR.get(plain, plain))


def _singular(word: str) -> str:
    if not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes")):
        return word[:-2]
    return word[:-1]


def _verb(word: str) -> str:
    """Without -ing, -ed, -ly."""
    if word in _KEPT:
        return word
    for ending in ("ing", "ed", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= (3 if ending != "ly" else 4):
            return _open_end(word, word[: -len(ending)], ending)
    return word


def _open_end(word: str, stem: str, ending: str) -> str:
    if not _VOWEL.search(stem) or word.endswith("eed"):
        return word
    if ending == "ly":
        return stem[:-1] + "y" if stem.endswith("i") else stem
    if ending == "ed" and stem.endswith("i"):
        return stem[:-1] + "y"
    if stem[-1] == stem[-2] and stem[-1] not in "lsz":
        return stem[:-1]
    if _LONG_E.search(stem) or _SHORT.search(stem):
        return stem + "e"
    return stem


def _american(word: str) -> str:
    if word in _ISE:
        return word
    for pattern, replacement in _BRITISH:
        word = pattern.sub(replacement, word)
    return word
