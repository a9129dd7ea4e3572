"""Words that ask for the same: each line is a group, and its first word stands for all of it.

General English, with the words of computing, shops, money, health and school that questions are
full of. A word stands in one line only; phrases are joined by `_`. Two words that a question may
set against each other (borrow, lend; weather, climate) are never in one line.
"""

from proxy.semantic.guards.lemmas import lemma
from proxy.semantic.guards.lists import lines

_GROUPS = """
delete remove erase uninstall wipe eliminate discard get_rid_of throw_away throw_out take_off
    take_out strip drop trash deletion removal dispose clear_out
create make manufacture build generate produce construct set_up setup establish creation
    put_together compose
write draft formulate pen author
explain describe explanation clarify elaborate illustrate description outline
summarize summary sum_up recap condense overview summarization tl_dr
fix repair resolve solve correct solution troubleshoot remedy rectify mend cure sort_out
change modify alter edit adjust update amend modification alteration tweak adapt revise
show display view see look_at print reveal present take_a_look
find locate search look_up look_for discover track_down seek lookup figure_out find_out detect
buy purchase acquire order
sell vend
start begin launch commence initiate kick_off
stop halt prevent cease discontinue put_an_end_to
end finish conclude terminate termination
increase raise boost grow rise go_up push_up hike growth
decrease reduce lower cut lessen shrink minimize decline reduction go_down bring_down cut_down
    diminish
enable activate turn_on switch_on activation
disable deactivate turn_off switch_off shut_off deactivation
login log_in sign_in signin log_on logon
logout log_out sign_out log_off signout
signup sign_up register enroll registration subscribe subscription
unsubscribe opt_out
cancel call_off revoke
return send_back give_back take_back bring_back
refund money_back reimburse reimbursement get_my_money_back
exchange swap trade
replace substitute replacement substitution
ship deliver delivery shipment dispatch mail post
cost price expense charge fee
cheap inexpensive less_expensive affordable low_cost budget_friendly
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
need require must have_to requirement necessary necessity mandatory compulsory
want wish would_like
allow permit let permission permissible allowable
forbid prohibit ban disallow
help assist assistance aid support
best top ideal optimal finest
good beneficial
benefit advantage pro upside strength good_point perk plus
disadvantage con drawback downside weakness bad_point
difference differ different distinguish distinction distinct contrast differentiate unlike
compare comparison versus vs
cause reason lead_to bring_about trigger
why how_come for_what_reason what_causes
meaning definition define stand_for denote signify
happen occur take_place come_about
work function operate
use utilize apply usage employ application
calculate compute determine work_out calculation computation
convert transform turn_into conversion
translate translation render
improve enhance better improvement
join combine merge concatenate
split divide separate break_up
choose pick select opt choice selection
suggest recommend recommendation suggestion advise advice propose idea
list enumerate
job position role occupation employment
salary wage earnings
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
document doc paperwork
app application_program
program software
website site web_site webpage web_page
url link web_address
email e_mail electronic_mail
wifi wi_fi wireless_network
internet web online
ad advertisement advert
error bug problem issue fault glitch trouble
broken defective faulty not_working out_of_order
error_message exception
password passcode passphrase
account profile
settings preference configuration
configure config
connect link_up connection
download save_locally
back_up backup
restore recover recovery get_back retrieve
check verify confirm validate verification inspect
test try trial
send transmit forward
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
child youngster
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
cook prepare
fridge refrigerator
trash_can bin garbage_can
garbage rubbish waste litter
holiday vacation
trip journey travel
plane aircraft
luggage baggage bag suitcase
taxi cab
highway motorway freeway autobahn
gasoline petrol gas
pavement sidewalk
autumn fall_season
soccer football
money cash funds
loan credit
contract agreement
rent lease
law legislation statute
lawyer attorney solicitor
teacher instructor
student pupil
university college uni
class course lesson
exam examination
math mathematics maths
number figure
amount quantity
total overall sum
average mean_value
maximum max upper_limit
minimum lower_limit
limit cap
size dimension how_big how_large
height how_tall how_high
high tall
weight weigh
width wide
depth deep
distance far how_far
speed velocity
temperature temp
duration how_long
age how_old
often frequently frequency how_often
example sample instance
method technique procedure approach way process
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
close shut
begin_with
last final most_recent previous
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
cold chilly
happy glad joyful cheerful
sad unhappy sorrowful
angry mad furious
tired exhausted
scared afraid frightened
rich wealthy
famous well_known renowned
beautiful pretty
smart intelligent clever
stupid dumb
funny humorous amusing
boring dull
type kind_of sort_of
part component piece
team squad
friend buddy mate pal
mother mom
father dad
grandmother grandma granny
grandfather grandpa
person human individual somebody someone anybody anyone
author_of writer
invent invention
discover_first
die pass_away death decease
born birth
marry wed marriage wedding
population inhabitant
sea ocean
earth globe
sun solar
moon lunar
animal creature
dog puppy canine doggy
cat kitty kitten feline
grass lawn
power electricity
sound noise
smell odor scent
taste flavor
function_code method_call
string text_string
dictionary dict
loop iterate iteration
integer int whole_number
float floating_point
boolean bool
database db
row line_entry
query_sql
client_side
repository repo
deploy deployment roll_out
install installation set_up_on
execute execution
terminal command_line shell console
regex regexp regular_expression
javascript js ecmascript
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
spreadsheet sheet
excel ms_excel microsoft_excel
word_processor microsoft_word
powerpoint ppt
macos mac os_x mac_os
usa u.s u.s.a united_states united_states_of_america america american
uk u.k united_kingdom great_britain britain british
eu european_union european europe
un united_nations
uae united_arab_emirates
nyc new_york_city new_york
los_angeles l.a
sf san_francisco
dc washington_dc
ww1 world_war_i world_war_one world_war_1 first_world_war wwi great_war
ww2 world_war_ii world_war_two world_war_2 second_world_war wwii
ai artificial_intelligence
ml machine_learning
cpu processor
gpu graphics_card
hdd hard_drive hard_disk
vat value_added_tax
gdp gross_domestic_product
ceo chief_executive chief_executive_officer
human_resources
atm cash_machine
jpg jpeg
facebook fb
new_zealand nz
texas tx
antarctica antarctic
oscar academy_award
user_interface ui
github git_hub
cv resume curriculum_vitae
phd doctorate
subway metro underground
mom_and_dad
stroller buggy pushchair pram
zip_code postal_code postcode
ip_address ip
dns domain_name_system
co2 carbon_dioxide
dna deoxyribonucleic_acid
bp blood_pressure
flu influenza
uv ultraviolet
faq frequently_asked_questions
asap as_soon_as_possible
diy do_it_yourself
bday birthday
info information
approx approximately around roughly
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
appointment booking reservation reserve
attend participate take_part
invite invitation
apologize apology sorry
complain complaint
thank gratitude
congratulate congratulations
permission_to
notify alert notification
hide conceal
copy duplicate
move relocate transfer
arrange order_by put_in_order
add insert append include put_in
reverse invert
shorten abbreviate
expand extend prolong
rewrite rephrase reword paraphrase
polite courteous
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
win victory
lose_to defeat beat
build_muscle
lose_weight slim weight_loss slim_down drop_pounds
gain_weight weight_gain
exercise workout
run jog
teach educate
learn study
remember memorize recall
think believe
regard consider class_as
understand comprehend
look appear seem
live reside
stay remain
arrive get_to arrival
leave depart departure
grow_plant cultivate
water_plant
vet veterinarian
sofa couch settee
toilet bathroom restroom loo
garden yard
faucet tap
lightbulb bulb
stain spot
leak drip
unclog clog blocked
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
headache migraine_ache
allergy allergic
vaccine vaccination jab immunization shot
pregnancy pregnant expecting
period_menstrual
heart cardiac
stomach tummy belly abdomen
acetaminophen paracetamol
parcel package packet
next_to beside alongside
dev development
ignore neglect disregard
gram g
meter m
milligram mg
centimeter cm
millimeter mm
milliliter ml
winner champion victor
quick speedy_fast
visit go_to travel_to
painkiller pain_killer pain_reliever
isp internet_service_provider internet_provider
coo chief_operating_officer
cfo chief_financial_officer
manufacture
at_least minimum_of
resolve
side_effect adverse_effect
child_doctor pediatrician
timetable
wait_for await
carry_out perform conduct
spare extra
discover find_out
yearly annual per_year a_year
daily per_day a_day
weekly per_week a_week
monthly per_month a_month
hexadecimal hex
binary base_2
ill unwell
stomach_ulcer gastric
remote virtual
thaw defrost
biography bio
foreign overseas abroad
truck lorry
promote advertise
blink flash
farewell goodbye
gradient slope
toxic poisonous
noon midday
manufacturer maker
glucose blood_sugar
engine motor
plaster plaster_cast
sleepy drowsy
fluid liquid
reliever killer
megahertz mhz
kilohertz khz
gigahertz ghz
hertz hz
watt w
volt v
ampere amp
coast shore
chamber compartment
dispute contest
chart plot
hire rent_out
nonresident non_resident
lamp light_bulb
sulfur sulphur
luv love
puzzle riddle
renovation remodel renovate
sklearn scikit_learn scikit
css stylesheet
parcel_locker
january jan
february feb
march mar
april apr
june jun
july jul
august aug
september sep sept
october oct
november nov
december dec
monday mon
tuesday tue
thursday thu thurs
friday fri
beginner novice newcomer newbie layman layperson
elderly senior pensioner retiree
coworker colleague workmate
drywall plasterboard gypsum
detector alarm_device
headline heading
slogan tagline motto
poem verse
monologue soliloquy
capita head_of
mobile_app
charger charging_cable
sneaker trainers gym_shoe
underwear undies
hoover vacuum_cleaner
washing_machine washer
tumble_dryer
elevator lift
flashlight torch
queue waiting_line
zip_up
gym fitness_studio fitness_center
cafe coffee_shop coffeehouse
pub tavern
mortgage home_loan
overtime extra_hours
maternity_leave
layoff redundancy laid_off
pension retirement
ceo_letter
crypto cryptocurrency
lawsuit court_case
tenant renter
fiance fiancee
vegetarian veggie_diet
vegan plant_based
recipe_card
kcal calorie
mph miles_per_hour mile_an_hour
kmh kilometers_per_hour km_h kph
kilowatthour kilowatt_hour kwh
mount mt
volkswagen vw
arizona az
usb_stick
gdpr general_data_protection_regulation
carb carbohydrate
workweek working_week
business_day working_day workday
bank_holiday public_holiday
celsius centigrade
kilometer km kms
mile mi
pound lb lbs
ounce oz
kilogram kg kilo kgs
gallon gal
teaspoon tsp
tablespoon tbsp
minute min
second sec
hour hr hrs
week wk wks
month mo
year yr yrs
megabyte mb
gigabyte gb gig
terabyte tb
kilobyte kb
mole mol
% percent per_cent percentage pct
dollar usd buck $
euro eur €
pound_sterling gbp quid £
yen jpy ¥
number_of how_many count_of
although though even_though despite
if whether
because since_reason
every each
twice two_times double
resign quit step_down hand_in_my_notice
probability chance likelihood odds
secondhand second_hand pre_owned
cite reference citation
substance material
windshield windscreen
tax taxation
expecting_a_baby
intro introduction opener opening_line
notice_period period_of_notice
backwards in_reverse
opposite antonym
snippet code_snippet
forbidden not_allowed
purpose used_for good_for
sms text_message
pto paid_time_off
photoshop adobe_photoshop
chrome google_chrome
word ms_word
googlesheets google_sheets
googledocs google_docs
slides google_slides
calendar google_calendar
google_drive
maps google_maps
gmail google_mail
microsoft_teams ms_teams
outlook microsoft_outlook ms_outlook
vscode vs_code visual_studio_code
homebrew brew
raspberry_pi
starwars star_wars
olympics olympic_games summer_games
nobel nobel_prize
turkey turkish turkiye
burma myanmar
netherlands holland dutch
czechia czech_republic czech
spain spanish
france french
norway norwegian
poland polish
denmark danish
sweden swedish
switzerland swiss
ireland irish
wales welsh
greece greek
finland finnish
scotland scottish
thailand thai
china chinese
rome roman
dental dentist dentistry
lousy awful terrible
first_year freshman
foliage leaf leafage
pivot_table pivottable
fly flight
vendor seller
extinction extinct
physiotherapy physiotherapist
subtitle caption_line
less fewer
"""


class Lexicon:
    """What the groups say. `canon` maps a plain form to its group's first word; `phrases` the
    first plain form of a phrase to the phrases (their other plain forms, and what they stand
    for), longest first."""

    __slots__ = ("canon", "phrases")

    def __init__(self, groups: str) -> None:
        self.canon: dict[str, str] = {}
        self.phrases: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for line in lines(groups):
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


LEXICON = Lexicon(_GROUPS)
