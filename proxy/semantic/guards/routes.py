"""What a text says leads to what: from where to where, what into what."""

from proxy.semantic.guards.tokens import FILLER, Token

_LEADING = frozenset({"to", "into", "before", "after", "from", "many"})


def routes(tokens: list[Token]) -> frozenset[tuple[str, str]]:
    """What leads to what: "from A to B", "to B from A", "A into B", "how many B in A"."""
    found: set[tuple[str, str]] = set()
    for place, token in enumerate(tokens):
        word = token.lower
        if word not in _LEADING or _paired(tokens, place):
            continue
        if word == "from":
            found.update(_from(tokens, place))
        elif word == "many":
            found.update(_many(tokens, place))
        elif word == "after":
            found.add((_content(tokens, place, 1), _content(tokens, place, -1)))
        else:
            found.add((_content(tokens, place, -1), _content(tokens, place, 1)))
    return frozenset(pair for pair in found if all(pair))


def _paired(tokens: list[Token], place: int) -> bool:
    """Whether "and" or "or" stands beside: "before or after"."""
    return any(t.lower in {"or", "and"} for t in tokens[max(place - 1, 0) : place + 2])


def _from(tokens: list[Token], place: int) -> list[tuple[str, str]]:
    """The ends of a way that begins behind "from": the nearest "to" on each side."""
    start = _content(tokens, place, 1)
    after = range(place + 1, min(place + 9, len(tokens)))
    before = range(place - 1, max(place - 7, -1), -1)
    return [
        (start, _content(tokens, at, 1))
        for side in (after, before)
        for at in [next((i for i in side if tokens[i].lower in {"to", "into"}), -1)]
        if at >= 0
    ]


def _many(tokens: list[Token], place: int) -> list[tuple[str, str]]:
    asked = _content(tokens, place, 1)
    return [
        (_content(tokens, at, 1), asked)
        for at in range(place + 2, min(place + 8, len(tokens)))
        if tokens[at].lower in {"in", "is", "per"}
    ]


def _content(tokens: list[Token], place: int, step: int) -> str:
    """The next word of matter that is no number, within four, in the direction of `step`."""
    for other in range(1, 5):
        at = place + step * other
        if not 0 <= at < len(tokens):
            return ""
        word = tokens[at].canon
        if word not in FILLER and word[0].isalpha():
            return word
    return ""
