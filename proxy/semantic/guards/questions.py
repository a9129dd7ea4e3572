"""What kind of thing a question asks for: when, how many, a price, a cause, a text."""

from proxy.semantic.guards.lists import words
from proxy.semantic.guards.tokens import Token

_WORDS = {
    "what": "what", "which": "what", "who": "who", "whom": "who", "whose": "who", "when": "when",
    "where": "where", "why": "why", "how": "how", "number_of": "how many", "duration": "how long",
    "often": "how often", "distance": "how far",
}  # fmt: skip
_VERBS = words("be do have can could will would should may might shall must")
_TASKS = {
    word: task
    for task, words in {
        "write": "write draft generate create rewrite",
        "translate": "translate",
        "fix": "fix proofread",
        "explain": "explain describe define",
        "summarize": "summarize",
        "list": "list name enumerate",
        "convert": "convert calculate solve",
        "compare": "compare difference",
        "suggest": "suggest plan",
        "extract": "extract find classify",
        "arrange": "arrange sort rank",
        "shorten": "shorten",
    }.items()
    for word in words.split()
}
_ATTRIBUTES = {
    word: name
    for name, words in {
        "price": "cost price fee fine tax discount cheap expensive",
        "age": "age old",
        "size": "size big length height width depth area volume",
        "weight": "weight heavy",
        "time": "when date year deadline hour day month time",
        "duration": "duration last takes",
        "place": "where place location address find",
        "person": "who author author_of founder inventor composer director",
        "count": "number_of count population many",
        "cause": "why cause reason trigger",
        "effect": "effect result outcome consequence risk danger damage",
        "symptom": "symptom sign",
        "cure": "treat treatment cure remedy prevent prevention fix",
        "meaning": "mean meaning define definition translate synonym opposite",
        "name": "name title",
        "capital": "capital", "language": "language", "currency": "currency",
        "speed": "speed fast slow", "temperature": "temperature hot cold",
        "benefit": "benefit good best", "drawback": "disadvantage bad worst",
        "difference": "difference compare versus better",
        "need": "need document permit visa allow legal",
        "example": "example", "color": "color", "limit": "limit maximum minimum",
        "status": "status check", "contact": "contact phone email call",
        "history": "history invent discover found begin", "end": "end stop cancel delete disable",
        "make": "create install enable add", "change": "change replace convert move",
        "show": "show list see count",
    }.items()
    for word in words.split()
}  # fmt: skip


def asked(tokens: list[Token]) -> str:
    """The first question word of a text as a class, "yes or no" where a sentence begins with a
    verb of that kind, "task" where it begins with one to do; "" where it is none of these."""
    opening = ""
    for place, token in enumerate(tokens):
        if token.canon in _WORDS:
            after = tokens[place + 1].lower if place + 1 < len(tokens) else ""
            if token.canon == "how" and after in {"much", "many"}:
                return f"how {after}"
            return _WORDS[token.canon]
        if token.opens and not opening:
            if token.plain in _VERBS:
                opening = "yes or no"
            elif token.canon in _TASKS:
                opening = "task"
    return opening


def task(tokens: list[Token]) -> str:
    """What the first verb of a task wants done, "" without one."""
    return next((_TASKS[t.canon] for t in tokens if t.canon in _TASKS), "")


def attributes(words: frozenset[str]) -> frozenset[str]:
    """Which attributes canonical words ask for."""
    return frozenset(_ATTRIBUTES[word] for word in words if word in _ATTRIBUTES)
