"""Words that ask for the same: each line is a group, and its first word stands for all of it.

General English, with the words of computing, shops, money, health and school that questions are
full of. A word stands in one line only; phrases are joined by `_`. Two words that a question may
set against each other (borrow, lend; weather, climate) are never in one line.
"""

from proxy.semantic.guards.lemmas import lemma

GROUPS = """
delete remove erase uninstall wipe eliminate discard get_rid_of throw_away throw_out take_off take_out strip drop trash deletion removal dispose clear_out
create make build generate produce construct set_up setup establish creation put_together compose
write draft formulate pen author
explain describe explanation clarify elaborate illustrate description outline
summarize summary sum_up recap condense overview summarization tl_dr
fix repair resolve solve correct solution troubleshoot remedy rectify mend cure sort_out fixing
change modify alter edit adjust update amend modification alteration tweak adapt revise
show display view see look_at print reveal present take_a_look
find locate search look_up look_for discover track_down seek lookup figure_out find_out detect
buy purchase get obtain acquire order shop
sell vend
start begin launch commence initiate beginning kick_off starting
stop halt prevent quit cease discontinue put_an_end_to
end finish conclude terminate termination ending
increase raise boost grow rise go_up push_up hike growth
decrease reduce lower cut lessen shrink minimize decline reduction go_down bring_down cut_down diminish
enable activate turn_on switch_on activation
disable deactivate turn_off switch_off shut_off deactivation
login log_in sign_in signin log_on logon logging_in
logout log_out sign_out log_off signout
signup sign_up register enroll registration subscribe subscription
unsubscribe opt_out
cancel call_off revoke
return send_back give_back take_back bring_back
refund money_back reimburse reimbursement get_my_money_back
exchange swap trade
replace substitute replacement substitution
ship deliver delivery shipping shipment dispatch mail post
cost price expense charge fee pricing
cheap inexpensive affordable low_cost budget_friendly
expensive costly pricey dear
free gratis complimentary at_no_cost no_charge free_of_charge
big large huge great sizable
small little tiny
fast quick rapid speedy swift prompt
slow sluggish
hard difficult tough challenging tricky
easy simple straightforward effortless
important essential crucial vital key significant
main principal primary chief major
need require must have_to requirement necessary needed necessity mandatory compulsory has_to
want wish would_like
allow permit let permission permissible allowable
forbid prohibit ban disallow
help assist assistance aid support
best top ideal optimal greatest finest
good beneficial
benefit advantage pro upside strength good_point perk plus
disadvantage con drawback downside weakness bad_point
difference differ different distinguish distinction distinct contrast differentiate unlike
compare comparison versus vs
cause reason lead_to bring_about trigger
why how_come for_what_reason what_causes
meaning mean definition define stand_for denote signify
happen occur take_place come_about
work function operate
use utilize apply usage employ application
calculate compute determine work_out calculation computation
convert transform turn_into conversion
translate translation render
improve enhance better improvement make_better
join combine merge concatenate
split divide separate break_up
choose pick select opt choice selection
suggest recommend recommendation suggestion advise advice propose idea
list enumerate
name title
job position role occupation employment
salary wage pay earnings
employee worker staff staff_member
company firm corporation
boss manager supervisor
customer client
purchase_order po
invoice bill
shop store
car automobile vehicle auto
bike bicycle
phone cellphone smartphone mobile telephone mobile_phone cell_phone
notebook laptop
tv television telly
movie film motion_picture
picture photo image photograph pic
folder directory
file document doc
app application_program
program software
website site web_site webpage web_page
url link web_address
email e_mail electronic_mail
wifi wi_fi wireless_network
internet web online
ad advertisement advert
error bug problem issue fault glitch trouble
broken defective faulty damaged not_working out_of_order
error_message exception
password passcode passphrase
account profile
settings setting preference configuration
configure config
connect link_up connection
download save_locally
upload
back_up backup
restore recover recovery get_back retrieve
reset
check verify confirm validate verification inspect
test try trial
send transmit forward
receive
give provide offer supply hand
tell inform let_know say state
ask inquire query
answer reply respond response
contact reach get_in_touch get_hold_of
speak talk chat conversation discuss
call ring
house home
apartment flat
city town
country nation
road street
child kid youngster
baby infant newborn
teen teenager adolescent teenage
man guy male
woman lady female
doctor physician medic
medicine drug medication med
illness disease sickness
symptom sign
pain ache hurt
injury wound
food meal dish
drink beverage
vegetable veggie veg
recipe
cook prepare
bake
fridge refrigerator
trash_can bin garbage_can
garbage rubbish waste litter
holiday vacation
trip journey travel
plane aircraft airplane
luggage baggage bag suitcase
hotel
flight
train
taxi cab
highway motorway freeway
gasoline petrol gas
pavement sidewalk
autumn fall_season
soccer football
money cash funds
loan credit
bank
tax
insurance
contract agreement
rent lease
law legislation statute
lawyer attorney solicitor
teacher instructor
student pupil
school
university college uni
class course lesson
exam examination
math mathematics maths
number figure
amount quantity
total overall sum
average mean_value
maximum max upper_limit highest
minimum min lower_limit lowest least
limit cap
size dimension
length
height tall how_tall
weight weigh heavy
width wide
depth deep
distance far how_far
speed velocity
temperature temp
duration how_long
age old how_old
often frequently frequency how_often
example sample instance
method technique procedure approach way process
step
tip hint trick
rule regulation guideline
plan schedule itinerary
goal aim objective target
result outcome consequence
effect impact influence affect
risk danger hazard
safe secure safety
dangerous risky unsafe hazardous harmful
legal lawful permitted_by_law
illegal unlawful against_the_law
true correct_true
false untrue
begin_time opening_hours
open opening
close shut closing closed
lock
unlock
empty
full
begin_with
last final latest most_recent newest previous
next following
first initial
new brand_new
old_fashioned outdated
current present_day
before prior ahead_of
after following_on
during while
without lacking free_from
quiet silent
loud noisy
clean wash cleanse
dirty filthy
hot
cold chilly
happy glad joyful cheerful
sad unhappy sorrowful
angry mad furious
tired exhausted
scared afraid frightened
rich wealthy
poor
famous well_known renowned
beautiful pretty
ugly
smart intelligent clever
stupid dumb
funny humorous amusing
boring dull
type kind_of sort_of
part component piece
group
team squad
friend buddy mate pal
wife
husband
spouse
mother mom mum
father dad
parent
brother
sister
son
daughter
grandmother grandma granny
grandfather grandpa
person people human individual somebody someone anybody anyone
author_of writer
invent invention
discover_first
die pass_away death decease
born birth
kill
marry wed marriage wedding
divorce
war
president
king
queen
capital
population inhabitant
language
religion
currency
mountain
river
sea ocean
lake
island
earth globe
world
sun solar
moon lunar
star
planet
animal creature
dog puppy canine doggy
cat kitty kitten feline
horse
bird
fish
insect
plant
tree
flower
grass lawn
soil
water
fire
air
wind
rain
snow
weather
climate
energy
power electricity
light
color
sound noise
smell odor scent
taste flavor
function_code method_call
variable
array
string text_string
dictionary dict
loop iterate iteration
integer int
float floating_point
boolean bool
database db
table
column
row line_entry
query_sql
server
client_side
repository repo
commit
branch
deploy deployment roll_out
install installation set_up_on
upgrade
run execute execution
compile
debug
terminal command_line shell console
regex regexp regular_expression
javascript js
typescript ts
python py
golang go_language
kubernetes k8s kubectl
postgres postgresql psql
mongodb mongo
csharp c#
cpp c++
nodejs node.js node
reactjs react
vuejs vue
dataframe
spreadsheet sheet
excel ms_excel microsoft_excel
word_processor ms_word microsoft_word
powerpoint ppt
windows
macos mac os_x mac_os
iphone
android
usa us u.s u.s.a united_states united_states_of_america america american_states
uk u.k united_kingdom great_britain britain
eu european_union
un united_nations
uae united_arab_emirates
nyc new_york_city new_york
la_city los_angeles l.a
sf san_francisco
dc washington_dc
germany german
france french
ww1 world_war_i world_war_one world_war_1 first_world_war wwi great_war
ww2 world_war_ii world_war_two world_war_2 second_world_war wwii
ai artificial_intelligence
ml machine_learning
api
cpu processor
gpu graphics_card
hdd hard_drive hard_disk
vat value_added_tax
gdp gross_domestic_product
ceo chief_executive chief_executive_officer
hr human_resources
atm cash_machine
pdf
ip_address ip
dns domain_name_system
co2 carbon_dioxide
h2o
dna deoxyribonucleic_acid
bp blood_pressure
flu influenza
uv ultraviolet
eta
faq frequently_asked_questions
asap as_soon_as_possible
diy do_it_yourself
bday birthday
info information detail
approx approximately about around roughly ca
percent percentage
equal same identical equivalent
similar alike
alternative option
quote quotation
review feedback rating
discount rebate reduction_in_price
coupon voucher promo_code discount_code promotional_code
gift present_gift
warranty guarantee
deadline due_date cutoff cut_off
late delayed overdue
appointment booking reservation reserve book
attend participate take_part
invite invitation
apologize apology sorry
complain complaint
thank gratitude
congratulate congratulations
permission_to
notify alert notification
hide conceal
share
copy duplicate
paste
move relocate transfer
rename
arrange order_by put_in_order
filter
count
add insert append include put_in
multiply
subtract
round
reverse invert
shorten abbreviate
expand extend prolong
rewrite rephrase reword paraphrase
proofread
polite courteous
formal
casual informal
brief short concise
detailed in_depth thorough comprehensive in_detail extensive
persuade convince
encourage motivate
avoid keep_from
protect guard
destroy ruin
damage harm
lose misplace
lost missing
win victory
lose_to defeat beat
build_muscle
lose_weight slim weight_loss slim_down drop_pounds
gain_weight weight_gain
sleep
exercise workout work_out_gym
run_jog jog
walk
swim
teach train educate
learn study
read
remember memorize recall
forget
think believe consider
know
understand comprehend
feel
look appear seem
live reside
stay remain
wait
arrive get_to
leave depart departure
visit
enter
exit
park
drive
ride
fly
land
grow_plant cultivate
harvest
water_plant
feed
pet
vet veterinarian
bed
sofa couch settee
toilet bathroom restroom loo
kitchen
garden yard
roof
wall
floor
door
window
faucet tap
lightbulb bulb
screw
nail
paint
stain spot
leak drip
unclog clog blocked
mold
shoe footwear
trousers pants
sweater jumper pullover
diaper nappy
candy sweets
cookie biscuit
fries chips_hot
eggplant aubergine
zucchini courgette
cilantro coriander
scallion spring_onion
shrimp prawn
corn maize
chickpea garbanzo
ketchup catsup
soda pop soft_drink
alcohol booze
beer
wine
coffee
tea
milk
cheese
butter
bread
rice
pasta
chicken
beef
pork
fever high_temperature
headache migraine_ache
cough
allergy allergic
vaccine vaccination jab immunization shot
pregnancy pregnant expecting
period_menstrual
heart cardiac
brain
blood
skin
hair
eye
ear
teeth tooth
bone
stomach tummy belly abdomen
kidney
liver
lung
acetaminophen paracetamol
""".strip()


class Lexicon:
    """What the groups say. `canon` maps a plain form to its group's first word; `phrases` the
    first plain form of a phrase to the phrases (their other plain forms, and what they stand
    for), longest first."""

    __slots__ = ("canon", "phrases")

    def __init__(self, groups: str) -> None:
        self.canon: dict[str, str] = {}
        self.phrases: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for line in groups.splitlines():
            words = line.split()
            for word in words:
                self._enter(word, lemma(words[0]))
        for found in self.phrases.values():
            found.sort(key=lambda phrase: -len(phrase[0]))

    def _enter(self, word: str, stands_for: str) -> None:
        if "_" not in word:
            self.canon.setdefault(lemma(word), stands_for)
            return
        first, *others = (lemma(part) for part in word.split("_"))
        self.phrases.setdefault(first, []).append((tuple(others), stands_for))


LEXICON = Lexicon(GROUPS)
