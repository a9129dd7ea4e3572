"""Words that a rephrasing brings in or leaves out freely: verbs of all work, adjectives, names of
classes. What is not among them is likely what a question is about.
"""

from proxy.semantic.guards.lemmas import lemma
from proxy.semantic.guards.synonyms import LEXICON

_WORDS = """
accept access accomplish according account achieve act action activity actual adapt add additional
address adjust adopt affect afford against agree alarm alert all allow almost alone along already
alter alternative although always among amount announce another answer anticipate any anyone
anything anyway anywhere apart apparently appear application apply approach appropriate approve
arrange arrangement arrive article aside ask aspect assess assign assist associate assume attempt
attend attribute audience automatic available avoid aware away back background bad base basic basis
become because before begin behave behavior behind being believe belong below best better between
bit body both bottom bound break brief briefly bring build building business button call can cannot
capable care carry case catch category cause certain certainly chance change character charge check
choice choose circumstance claim class classify clear click close code collect combine come command
comment common commonly company compare complete component compose comprise compute concept concern
condition conduct confirm connect consequence consider consist constitute construct contain content
context continue contribute control conversion convert copy correct correspond count couple course
cover crash create current currently custom cut daily data date deal decide decision declare deep
default define definition degree deliver demand demonstrate depend describe description deserve
design desire destroy detail determine develop development device difference different difficult
digit direct direction directly disappear discover discuss display distinguish do document domain
double down draft draw drop due duration during each earn easy edge edit effect effective effort
either element eliminate else employ enable encounter end ending ensure enter entire entirely entry
equal equally equivalent error especially essential establish estimate even event eventually ever
every everybody everyday everyone everything everywhere exact exactly examine example exceed except
excessive exchange exclude execute exhibit exist existence existing expand expect expected expense
experience explain explanation express expression extend extent extra extract face fact factor fail
failure fairly fall familiar famous far fashion fast fault feature feed feel few field figure fill
final finally find fine finish fire fit fix flow focus follow following force form format former
formula forward free frequent from full fully function fundamental further future gain general
generate generic genuine get give given go goal good grab great greatly ground group grow growth
grown guess guide guidance guideline habit hand handle handy hang happen hard hardly have head hear
heart help hence here hide high highly hint hit hold hope how however huge hurt idea ideal identify
identity ignore illustrate image immediately impact implement imply important impossible improve
include inclusive increase indeed indicate individual inform information initial input inside
inspect install instance instant instead instruct instruction instrument intend intent interest
internal interpret introduce introduction invent involve issue item job join just keep key kill kind
know knowledge known label lack large largely last late later lay lead leap learn least leave left
length less let letter level lie life like likely limit line link list listen little live load
local locate location long longer look lose lot low lower machine main mainly maintain major make
manage manner manually many mark mass match material matter maximum may mean meaning means measure
meet member mention mere merely message method middle might mind minimum minor miss missing mistake
mix mode model modern modify moment more most mostly move much multiple must my mutual name namely
narrate natural nature near nearly necessary need never new next nice none nope normal normally not
note nothing notice notion now number object objective obtain obvious occasion occur off offer
official often old once one online only open operate operation opinion opposite option order
ordinary organize origin original other otherwise outcome output outside outline over overall own
owner page pair part particular particularly party pass past path pattern pay people per
perform perhaps period permanent permit person personal phrase pick picture piece place plan play
please plenty plus point popular portion position possess possible possibly post potential power
practical practice precise prefer preparation prepare presence present press pretty prevent
prevention previous previously primarily primary principal principle print prior private probable
probably problem procedure proceed process produce product proper properly property proportion
propose protect prove provide public publish pull purpose push put quality quantity question quick
quickly quiet quite quote raise range rapid rate rather raw reach react reaction read ready real
really reason reasonable recall receive recent recently recognize recommend record recover reduce
refer reference refuse regard region regular regularly relate relation relationship release relevant
reliable rely remain remainder remark remember remind remove repeat replace report represent request
require resolve resource respect respond response rest restrict result retain return reveal reverse
review rid right rise risk role roll room rough roughly round routine row rule run rush same save
say scale scenario schedule search section see seek seem segment select selection self send sense
sentence separate sequence series serious serve service session set setting several shape share
short should show side sign significant similar similarly simple simply since single site situation
size skip slight slow small so software solid solution solve some someone something sometimes
somewhat soon sort source space speak special specific specify spend spot stage stand standard start
state statement stay steady step stick still stop straight strange strategy stretch strict
strike strong structure stuff style subject submit success successful such sudden suffer sufficient
suggest suggestion suit suitable sum supply support suppose sure surely surround survive suspect
switch synonym system tackle tail take talk target task teach technique tell tend term terminology
test text than that then theory there therefore thing think thorough though thought thread through
throughout throw thus tie tight time tip title to together tongue tool top topic total touch toward
towards track trade tradition traditional train transfer transform transmit treat treatment trick
trigger trouble true truly trust try turn twice type typical typically under undergo underlying
understand unit universal unless unlike until up upon upper upset use used useful user usual usually
utter valid value various vary verify version very via view visible visit voice want warn way weak
wear week well what when where whether which while who whole why wide will win wish within without
wonder word wording work worker works world worry worth would wrap write wrong yet yield

acceptable adequate advisable afterwards again ago ahead aim all alike altogether apart around
arise assemble aspect assure backwards bare bear begin besides beyond bigger born breed cater cease
certain chiefly choosing classed closely come compelling complain comprehend conceive consist
constantly contrary cope countermeasure crawl crucial dependable describe despite devote dial
differ differentiate dig discern distinct distinction distinguish done drag drain dwell easiest
elsewhere employ endanger enjoy enough entail envisage equip essence every evolve exceed expand
explicit fancy feasible fetch fewer figure finding fix fold forget formal foremost freely gather
gets give goods grasp greatest guarantee habitat halfway hardly hopefully inherent inner inquire
intact invalid keep kick kinda lacking lasting latter lend lengthy let lift likewise look lucky main
mainly making manner matter maybe midway mild minus moreover namely necessity neither nevertheless
nowadays obviously occasion ongoing onto opt outer overcome partly perceive pop possess precisely
prepared presumably purely quit recipe regarding remedy rendering resemble reside rid roughly ruin
satisfy secure seldom shift shrink sink skill slight snippet solely somehow somewhere spare
specimen stem stuck succeed summary supposed surface surpass take taking thereby thick thin toward
toxic poisonous transport trust ultimately undertake unique upcoming upside usable usage utilize
whatever whenever wherever whichever whoever wholly widely wipe withdraw worldwide yield
adult baby child kid man woman person people human guy girl boy friend family mother father parent
customer client user employee employer colleague boss owner member expert beginner
country city place area region nation state world earth planet land town
number amount figure price cost money age day week month year hour minute moment
today tomorrow yesterday tonight morning evening night weekend
page website app program file document folder database server computer phone device machine
movie film story article letter text message email note post
food drink meal animal plant body
problem issue error bug cause reason effect symptom sign treatment cure
synopsis gist author writer composer founder inventor creator artist painter poet actor director
rid shall ought beat defeat victory loss war battle fight
one-liner script query formula function method variable parameter argument value string class
command line terminal shell console cli
ok yes no hi hello sir madam
acronym abbreviation initials
habit tradition custom rule law regulation policy
detector device gadget appliance equipment
sibling relative spouse partner couple
illness disease condition sickness disorder
medicine drug medication dosage
vehicle transport transportation
doctor physician specialist
teacher instructor school class lesson course
job work profession career occupation employment
salary income wage earnings
trip journey travel tour

house home building
path route way


brand product item goods
exam test quiz
fee fine penalty charge tax
deposit refund payment
insurance coverage policy
contract agreement deal
meeting appointment conference
team staff crew group squad
company firm business organization corporation startup
government authority office agency
"""
GENERAL = frozenset(
    LEXICON.canon.get(lemma(word), lemma(word)) for word in _WORDS.split()
) | frozenset(lemma(word) for word in _WORDS.split())
"""Plain forms, and what the lexicon has them stand for."""
