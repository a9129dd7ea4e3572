"""Words that turn a question round: each line is two sides, and one of each side is a pair.

The sides are synonyms of each other only in so far as each is set against the other side.
"""

from proxy.semantic.guards.lemmas import lemma
from proxy.semantic.guards.lists import lines
from proxy.semantic.guards.synonyms import LEXICON

_PAIRS = """
increase grow gain raise maximize boost / decrease reduce shrink lose lower minimize
rise go_up appreciate / fall drop depreciate
buy / sell
start begin / stop end quit
enter / exit leave
add insert append / delete subtract
read / write
enable allow / disable forbid block prevent
unlock / lock
open / close
create / delete destroy
borrow / lend
import / export
upload / download
install / uninstall
connect / disconnect
attach / detach
join / leave
join / split
push / pull
send / receive
encode / decode
encrypt / decrypt
compress / decompress extract
zip / unzip
mount / unmount
include contain / exclude
accept approve / reject decline refuse deny
agree / disagree
succeed pass / fail
win / lose
attack / defend
love like / hate dislike
remember / forget
build / demolish destroy
freeze / thaw melt
melt / solidify freeze
boil / freeze
heat warm / cool chill
fill / empty drain
tighten / loosen
lengthen expand extend widen / shorten shrink narrow contract collapse
strengthen / weaken
accelerate / decelerate
fast / slow
hire recruit / fire dismiss
promote / demote
upgrade / downgrade
encourage / discourage
attract / repel
inhale / exhale
arrive arrival / depart departure
ascend ascending / descend descending
subscribe / unsubscribe
signup login / logout unsubscribe
login / logout
follow / unfollow
mute / unmute
show / hide
hide / unhide
block / unblock
check / uncheck
archive / unarchive
save / spend
earn / spend
deposit / withdraw
credit / debit
profit income revenue gain / loss expense cost
asset / liability
supply / demand
hot warm / cold cool iced
large / small
tall / short
long / short
high / low
maximum / minimum
best / worst
good / bad
better / worse
benefit advantage / disadvantage
strength / weakness
oldest old / youngest young newest
old / new
first / last
ancient / modern
early / late
before / after
past / future
yesterday / tomorrow
sunrise dawn / sunset dusk
day / night
morning / evening
summer / winter
spring / autumn
above over / below under beneath
top / bottom
front / back
left / right
inside indoors indoor / outside outdoors outdoor
internal / external
upstairs / downstairs
up / down
forward forwards / backward backwards
near nearest close / far farthest
north northern / south southern
east eastern / west western
upper / lower
horizontal / vertical
deep / shallow
wide broad / narrow
thick / thin
heavy / light
strong / weak
hard / soft
easy / hard
rough / smooth
sharp / blunt dull
wet / dry
clean / dirty
full / empty
rich / poor
expensive / cheap
public / private
local / remote global
online / offline
manual / automatic
legal / illegal
safe / dangerous
safe / unsafe
healthy / unhealthy
happy / sad
polite / rude impolite
formal / casual
true / false
right correct / wrong incorrect
positive / negative
optimist optimistic / pessimist pessimistic
active / passive inactive
absolute / relative
concrete / abstract
direct / indirect
simple / complex compound complicated
odd / even
even / uneven
singular / plural
noun / verb adjective
synonym / opposite
prefix / suffix
vowel / consonant
male man / female woman
husband / wife
mother / father
brother / sister
son / daughter
uncle / aunt
nephew / niece
king / queen
maternity / paternity
boy / girl
parent / child
teacher / student
employer / employee
landlord / tenant
buyer / seller
lender / borrower
doctor / patient
host / guest
winner / loser
hero / villain
victim / perpetrator
plaintiff / defendant
friend / enemy
ally / enemy
friend / stranger
expert professional advanced / beginner novice
adult / child baby
alive living / dead
birth / death
born / die
marry / divorce
wake / sleep
sit / stand
push / drag
laugh / cry
lie / truth
problem / solution
input / output
client / server
frontend / backend
encoder / decoder
numerator / denominator
addition / subtraction
multiply / divide
multiplication / division
inflation / deflation
derivative / integral
integrate / differentiate
even / odd
row / column
sine / cosine
clockwise / counterclockwise anticlockwise
import / exports
fixed / variable floating
gross / net
nominal / real
domestic / foreign international
national / international
rural / urban
war / peace
democracy / dictatorship
liberal / conservative
major / minor
majority / minority
superior / inferior
tight / loose
tense / relaxed
always / never
everyone everybody / nobody noone
everything / nothing
many / few
with / without
inclusive / exclusive
including / excluding
include / except
similar / different
together / alone separately
single / married
single / double
single / multiple
whole entire / half
raw / cooked
fresh / stale frozen canned
ripe / unripe
sweet / sour bitter salty
alkaline / acidic
acid / base
proton / electron
vertebrate / invertebrate
herbivore / carnivore
predator / prey
mammal / reptile
artery / vein
systolic / diastolic
benign / malignant
acute / chronic
contagious / noncontagious
vitamin / mineral
urban / suburban
temporary / permanent
optional / mandatory
required / optional
possible / impossible
visible / invisible hidden
known / unknown
common frequent / rare
often / rarely seldom
wax / wane
waxing / waning
evergreen / deciduous
solid / liquid
liquid / gas
gain_weight / lose_weight
backup / restore
undo / redo
lowercase / uppercase
bold / italic
portrait / landscape
degrade / upgrade
absorb / release emit
refuse decline / accept
refused / granted
praise / complaint criticism
thank / complaint
risk / benefit
pass / fail
older / younger
restore / backup
activate / deactivate
synchronous / asynchronous
static / dynamic
mutable / immutable
compile / interpret
serialize / deserialize
allocate / free
stack / queue heap
enqueue / dequeue
supervised / unsupervised
overfit / underfit
overfitting / underfitting
precision / recall
encouraging / discouraging
weekday / weekend
married / divorced
tip / fine
plant / harvest uproot
wash / dry
peel / unpeel
keep / discard
keep / delete
accept / dispute
invite / uninvite
lease / buy
rent / buy
defend / oppose
thank / complain
apologize / complain
congratulate / condole
welcome hello / goodbye farewell
for / against
hide / reveal
hang / remove
"""
_CONVERSES = """
buy sell, borrow lend, teacher student, teach learn, brother sister, win lose, send receive
leave arrive, give receive, host guest, winner loser, net gross, parent child, ask answer
create delete, light heavy
"""
_NEGATING = ("un", "dis", "in", "im", "non", "ir", "il", "anti")
_NONE: frozenset[str] = frozenset()


def _opposites() -> dict[str, frozenset[str]]:
    """The opposites of each word, all as the lexicon's first words."""
    found: dict[str, set[str]] = {}
    for line in lines(_PAIRS):
        left, right = ([_plain(word) for word in side.split()] for side in line.split(" / ", 1))
        for one in left:
            for other in right:
                if one != other:
                    found.setdefault(one, set()).add(other)
                    found.setdefault(other, set()).add(one)
    return {word: frozenset(others) for word, others in found.items()}


def _plain(word: str) -> str:
    if "_" in word:
        first, *others = (lemma(part) for part in word.split("_"))
        for rest, stands_for in LEXICON.phrases.get(first, ()):
            if rest == tuple(others):
                return stands_for
    return LEXICON.canon.get(lemma(word), lemma(word))


OPPOSITES = _opposites()
CONVERSES = frozenset(
    frozenset(_plain(word) for word in pair.split())
    for pair in ",".join(lines(_CONVERSES)).split(",")
)
"""Pairs that tell one thing from its two ends (who borrows is lent to), or that are as often no
opposites."""


def opposed(mine: frozenset[str], theirs: frozenset[str]) -> list[tuple[str, str]]:
    """The pairs of words, as the lexicon's first words, that are set against each other."""
    return [
        (one, other)
        for one in mine
        for other in (OPPOSITES.get(one, _NONE) | _turned(one)) & theirs
    ] + [(one, other) for other in theirs for one in _turned(other) & mine]


def _turned(word: str) -> frozenset[str]:
    """The word without a prefix that turns it round: "block" of "unblock"."""
    return frozenset(
        word[len(prefix) :]
        for prefix in _NEGATING
        if word.startswith(prefix) and len(word) - len(prefix) >= 4
    )
