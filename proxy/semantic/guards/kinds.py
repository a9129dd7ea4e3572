"""Things of one kind: where one question has the one and the other another, they ask for two
things. Each line is a kind, its name first.

A word stands for itself, never for its kind: what could be a looser word for another of its
line (fruit, for apple) is not in it.
"""

from proxy.semantic.guards.lemmas import lemma
from proxy.semantic.guards.lists import lines
from proxy.semantic.guards.synonyms import LEXICON

_KINDS = """
country: afghanistan albania algeria angola argentina armenia australia austria azerbaijan bahrain
    bangladesh belarus belgium bolivia bosnia botswana brazil bulgaria cambodia cameroon canada
    chad chile china colombia congo croatia cuba cyprus czechia denmark ecuador egypt england
    estonia ethiopia finland france georgia germany ghana greece guatemala haiti honduras hungary
    iceland india indonesia iran iraq ireland israel italy jamaica japan jordan kazakhstan kenya
    kosovo kuwait laos latvia lebanon liberia libya lithuania luxembourg madagascar malawi
    malaysia mali malta mexico moldova monaco mongolia montenegro morocco mozambique myanmar
    namibia nepal netherlands nicaragua niger nigeria norway oman pakistan panama paraguay peru
    philippines poland portugal qatar romania russia rwanda scotland senegal serbia singapore
    slovakia slovenia somalia spain sudan sweden switzerland syria taiwan tanzania thailand
    tunisia turkey uganda ukraine uruguay uzbekistan venezuela vietnam wales yemen zambia zimbabwe
    usa uk eu uae
city: amsterdam athens atlanta austin baghdad bangkok barcelona beijing berlin birmingham bogota
    boston brisbane brussels bucharest budapest cairo calgary canberra chicago cologne copenhagen
    dallas delhi denver detroit dubai dublin edinburgh florence frankfurt geneva glasgow hamburg
    hanoi helsinki honolulu houston istanbul jakarta jerusalem johannesburg karachi kiev kyiv
    kyoto lagos lima lisbon liverpool london lyon madrid manchester manila marseille melbourne
    miami milan minneapolis montreal moscow mumbai munich nairobi naples nyc osaka oslo ottawa
    paris philadelphia phoenix prague reykjavik riga rome rotterdam seattle seoul seville shanghai
    stockholm stuttgart sydney tokyo toronto valencia vancouver venice vienna vilnius warsaw
    wellington zagreb zurich
state: alabama alaska arizona arkansas california colorado connecticut delaware florida hawaii
    idaho illinois indiana iowa kansas kentucky louisiana maine maryland massachusetts michigan
    minnesota mississippi missouri montana nebraska nevada ohio oklahoma oregon pennsylvania
    tennessee texas utah vermont virginia wisconsin wyoming ontario quebec bavaria
continent: africa antarctica asia europe oceania
nation: french spanish dutch danish norwegian polish swedish swiss irish welsh greek turkish
    finnish scottish thai chinese czech american arabic argentinian australian austrian belgian
    brazilian bulgarian canadian chilean colombian croatian cuban egyptian english estonian
    filipino german hebrew hindi hungarian icelandic indian indonesian iranian israeli italian
    jamaican japanese kenyan korean latin latvian lithuanian malay mandarin mexican moroccan
    nigerian pakistani persian peruvian portuguese romanian russian serbian slovak slovenian
    spanish swahili tamil ukrainian urdu vietnamese
planet: mercury venus earth mars jupiter saturn uranus neptune pluto
heavenly: sun moon comet asteroid galaxy
language_of_code: python java javascript typescript c# cpp golang rust ruby php perl swift kotlin
    scala haskell lua matlab julia cobol fortran elixir clojure dart sql bash powershell zsh vba
    r_language
framework: react vue angular svelte django flask fastapi rails laravel spring express nextjs nuxt
    jquery bootstrap tailwind nodejs deno bun
library: pandas numpy polars pytorch tensorflow keras scikit matplotlib seaborn requests
database: mysql postgres sqlite mongodb redis oracle mariadb cassandra elasticsearch dynamodb
    snowflake
operating: windows macos linux android ios ubuntu debian fedora iphone ipad chromebook
browser: chrome firefox safari edge opera brave
office: excel powerpoint outlook onenote word gmail docs slides notion airtable
cloud: aws azure gcp heroku
devops: docker kubernetes terraform ansible jenkins podman helm
versioning: git svn mercurial github gitlab bitbucket
editor: vim emacs nano vscode intellij pycharm notepad xcode sublime
server_program: nginx apache caddy iis haproxy
unixtool: sed awk grep curl wget cron systemd ssh rsync
chat: slack discord teams zoom whatsapp telegram signal skype messenger
social: facebook instagram twitter linkedin tiktok snapchat reddit pinterest youtube
streaming: netflix spotify hulu disney
maker: apple samsung google microsoft amazon sony nokia huawei xiaomi dell lenovo asus nvidia
    intel amd tesla toyota ford honda bmw audi mercedes volkswagen volvo nissan hyundai ferrari
    porsche ikea nike adidas puma walmart target costco
payment: paypal visa mastercard klarna venmo amex
coin: bitcoin ethereum dogecoin litecoin
currency: dollar euro pound yen franc rupee peso yuan krona ruble won lira zloty
file_kind: pdf csv json xml yaml toml docx xlsx html markdown txt png jpg gif svg webp heic mp3
    mp4 wav zip tar parquet epub
protocol: http https ftp smtp imap tcp udp mqtt grpc websocket ssh
verb_http: get_request post_request put_request
structure: list tuple set dictionary array string integer float boolean enum struct class
    interface stack queue heap graph vector dataframe
part_of_speech: noun verb adjective adverb pronoun preposition conjunction
animal: dog cat horse cow pig sheep goat rabbit hamster mouse rat lion tiger bear wolf fox deer
    elephant giraffe zebra monkey gorilla whale dolphin shark frog turtle snake lizard crocodile
    chicken duck goose turkey eagle owl parrot penguin bee ant spider mosquito butterfly squirrel
    kangaroo koala camel octopus salmon tuna cockroach raccoon
fruit: apple banana orange lemon lime grape strawberry raspberry blueberry cherry peach pear plum
    mango pineapple melon watermelon kiwi avocado coconut apricot fig
vegetable: potato tomato onion garlic carrot cucumber pepper spinach broccoli cabbage lettuce
    cauliflower zucchini eggplant pumpkin corn pea bean mushroom asparagus celery beet radish
meat: beef pork lamb chicken turkey bacon ham sausage steak salmon tuna shrimp duck
staple: rice pasta bread potato oat quinoa noodle couscous
dish: pizza burger lasagna soup salad curry sushi taco omelet omelette pancake waffle muffin
    brownie cake cookie pie risotto paella stew sandwich
drink: coffee tea beer wine milk juice soda whiskey vodka rum gin
dairy: milk butter cheese yogurt cream egg
nut: almond walnut peanut cashew pistachio hazelnut pecan
baking: sugar flour salt honey cinnamon vanilla yeast vinegar oil
tableware: fork knife spoon plate bowl cup
metal: gold silver copper iron aluminum steel lead zinc tin nickel platinum titanium brass bronze
    mercury
element: hydrogen helium oxygen nitrogen carbon sodium potassium calcium chlorine sulfur lithium
    neon uranium magnesium phosphorus iodine argon
vitamin_name: magnesium calcium zinc potassium iron fiber protein fat
cloth: wool cotton silk leather suede linen polyester denim canvas velvet nylon
wear: shirt sweater jacket coat dress skirt trousers jeans shoe boot sock hat glove scarf tie suit
    blouse belt
furniture: chair sofa bed desk wardrobe bookshelf mattress dresser
room: kitchen bathroom bedroom basement attic garage balcony hallway
house_part: roof wall floor ceiling door window chimney gutter carpet tile wallpaper paint
appliance: dishwasher fridge oven microwave dryer toaster vacuum kettle stove freezer blender
vehicle: car motorcycle bicycle truck bus train tram airplane boat ship helicopter scooter van
    subway ferry taxi bike
device: laptop phone tablet printer router keyboard monitor camera scanner headphones smartwatch
    television
body: head eye ear nose mouth tooth neck shoulder arm elbow wrist hand finger back chest knee
    ankle leg toe hip foot
organ: heart lung liver kidney brain stomach skin pancreas bladder spleen
disease: cold flu diabetes cancer asthma malaria measles mumps pneumonia anemia arthritis gout
    migraine depression anxiety stroke chickenpox tetanus rabies covid tuberculosis cholera
    appendicitis bronchitis eczema psoriasis shingles insomnia adhd hepatitis
drug: ibuprofen acetaminophen aspirin metformin penicillin amoxicillin insulin antibiotic
    melatonin
sport: football soccer basketball tennis baseball cricket rugby golf hockey volleyball badminton
    boxing swimming cycling skiing handball
activity: hiking running yoga pilates swimming cycling climbing jogging
game: chess checkers poker monopoly scrabble backgammon bridge_game solitaire sudoku
instrument: piano guitar violin drum flute trumpet saxophone cello clarinet harp ukulele
color: red blue green yellow purple pink black white gray brown
shape: circle square triangle rectangle cube sphere cylinder cone pyramid hexagon pentagon
    trapezoid
measure: volume area perimeter circumference
statistic: mean median mode variance
school_subject: chemistry physics biology mathematics history geography economics
military: army navy
profession: doctor nurse teacher lawyer plumber electrician carpenter chef waiter pilot engineer
    accountant dentist pharmacist firefighter librarian hairdresser photographer architect
    journalist butcher baker farmer
relative: mother father brother sister son daughter aunt uncle cousin grandmother grandfather
    nephew niece husband wife girlfriend boyfriend fiancee landlord neighbor boss colleague
    roommate teacher
pet_age: puppy kitten
event: wedding_party funeral birthday graduation christening anniversary baby_shower housewarming
    divorce
holiday: christmas easter halloween thanksgiving hanukkah ramadan diwali
meal: breakfast lunch dinner brunch dessert snack
weekday: monday tuesday wednesday thursday friday saturday sunday
season: spring summer autumn winter
dayspan: morning afternoon evening noon midnight
direction: north south east west
book_part: chapter title preface epilogue
religion: christianity islam judaism buddhism hinduism
holy: bible quran torah
insurance: health_insurance car_insurance life_insurance travel_insurance home_insurance
account: savings checking brokerage
card: debit credit_card
plan: basic standard premium starter business enterprise team pro_plan
class_of_travel: economy business first_class
war: ww1 ww2 cold_war civil_war vietnam_war
ocean: atlantic pacific arctic_ocean indian_ocean mediterranean
river: nile amazon danube rhine thames mississippi seine volga ganges
mountain: everest kilimanjaro matterhorn denali fuji
composer: mozart beethoven bach chopin vivaldi wagner tchaikovsky schubert haydn
painter: picasso monet rembrandt vermeer dali renoir michelangelo raphael
author: shakespeare dickens austen tolstoy hemingway orwell goethe homer kafka dostoevsky
scientist: einstein newton darwin galileo curie tesla kepler copernicus
president: obama trump biden clinton bush reagan nixon kennedy lincoln washington roosevelt
philosopher: plato aristotle socrates kant nietzsche hegel descartes
macro: carb protein fat
nutrient: sugar salt sodium cholesterol
http_thing: cookie cache header
git_thing: branch commit tag stash
db_thing: table column row index schema view
office_thing: row column cell chart slide
kube: pod namespace deployment node ingress
"""


def _kinds() -> dict[str, frozenset[str]]:
    """The lexicon's first word of each thing, with the kinds that it is of."""
    kinds: dict[str, set[str]] = {}
    for line in lines(_KINDS):
        kind, _, words = line.partition(": ")
        for word in words.split():
            plain = lemma(word)
            kinds.setdefault(LEXICON.canon.get(plain, plain), set()).add(kind)
    return {word: frozenset(names) for word, names in kinds.items()}


KINDS = _kinds()


def of_one_kind(mine: frozenset[str], theirs: frozenset[str]) -> bool:
    """Whether a word of each side, as the lexicon's first words, is of the same kind."""
    kinds = {kind for word in mine for kind in KINDS.get(word, ())}
    return any(kind in kinds for word in theirs for kind in KINDS.get(word, ()))
