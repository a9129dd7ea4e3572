"""Words that turn a question round: each line is two sides, and one of each side is a pair.

The sides are synonyms of each other only in so far as each is set against the other side.
"""

from proxy.semantic.guards.lemmas import lemma
from proxy.semantic.guards.synonyms import LEXICON

_PAIRS = """
increase grow gain raise maximize boost / decrease reduce shrink lose lower minimize
rise go_up appreciate / fall drop depreciate
enable allow / disable forbid block prevent
unlock / lock
open / close
start begin enter / stop end quit exit leave
add insert append / remove subtract
create / delete destroy
buy / sell return
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
import / exclude
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
speed_up accelerate / slow_down decelerate
fast / slow
speed / slow
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
brief / detailed long
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
free / paid
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
synonym / antonym
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
question / answer
problem / solution
input / output
read / write
client / server
frontend / backend
encoder / decoder
numerator / denominator
addition / subtraction
multiply / divide
multiplication / division
derivative / integral
integrate / differentiate
even / odd
row / column
sine / cosine
clockwise / counterclockwise anticlockwise
inflation / deflation
import / exports
bull / bear
long_term / short_term
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
all every / no none
everyone everybody / nobody noone
everything / nothing
more / less fewer
most / least fewest
many / few
with / without
inclusive / exclusive
including / excluding
include / except
same / different
similar / different
similarity / difference
together / alone separately
single / married
single / double
single / multiple
one_way / round_trip
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
full_time / part_time
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
check_in / check_out
undo / redo
lower / upper
lowercase / uppercase
bold / italic
portrait / landscape
debit_card / credit_card
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
refill / empty
plant / harvest uproot
wash / dry
peel / unpeel
keep / discard
keep / delete
keep / lose
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
gain_muscle / lose_muscle
hide / reveal
bearish / bullish
yin / yang
hang / remove
put_on / take_off
turn_into / turn_from
"""
_NEGATING = ("un", "dis", "de", "in", "im", "non", "ir", "il", "anti", "mis", "re")


def _pairs() -> frozenset[tuple[str, str]]:
    """Both orders of every pair, as the lexicon's first words."""
    pairs = set()
    for line in _PAIRS.strip().splitlines():
        left, right = (
            {_plain(word) for word in side.split()} for side in line.split(" / ", 1)
        )
        pairs |= {(a, b) for a in left for b in right if a != b}
        pairs |= {(b, a) for a in left for b in right if a != b}
    return frozenset(pairs)


def _plain(word: str) -> str:
    if "_" in word:
        first, *others = (lemma(part) for part in word.split("_"))
        for rest, stands_for in LEXICON.phrases.get(first, ()):
            if rest == tuple(others):
                return stands_for
    return LEXICON.canon.get(lemma(word), lemma(word))


PAIRS = _pairs()


def opposite(one: str, other: str) -> bool:
    """Whether two words, as the lexicon's first words, are set against each other."""
    return (one, other) in PAIRS or negates(one, other) or negates(other, one)


def negates(one: str, other: str) -> bool:
    """Whether `one` is `other` with a prefix that turns it round ("unblock", "block")."""
    if len(other) < 4 or not one.endswith(other):
        return False
    return one[: -len(other)] in _NEGATING
