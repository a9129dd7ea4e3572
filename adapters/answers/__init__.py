"""Answers that are kept: each once, as the whole body of its endpoint without streaming, and
given again as JSON or as a stream, in the shape that its client speaks. Pure functions.
"""

import orjson

from adapters.answers.base import ODD, Shape, read_object, read_payloads
from adapters.answers.chat import Chat, is_plain
from adapters.answers.completions import Completions
from adapters.answers.embeddings import Embeddings
from adapters.answers.messages import Messages
from adapters.answers.responses import Responses
from adapters.base import Ask, Endpoint, JsonObject, Usage
from adapters.completion import usage_object

SHAPES: dict[Endpoint, Shape] = {
    Endpoint.CHAT: Chat(),
    Endpoint.COMPLETIONS: Completions(),
    Endpoint.MESSAGES: Messages(),
    Endpoint.RESPONSES: Responses(),
    Endpoint.EMBEDDINGS: Embeddings(),
}
"""Endpoint -> the shape of its answer. Those of no other endpoint can be kept."""

_COUNTS_ON_DEMAND = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS})
"""Endpoints whose streams tell their usage only to who asks; their bodies always do."""


_STREAMED = frozenset(SHAPES) - {Endpoint.EMBEDDINGS}


def gather(endpoint: Endpoint, stream: bytes, usage: Usage | None = None) -> bytes | None:
    """All bytes of a stream, as a client of Turnout got them -> the body that the same answer
    would have had without streaming. None for a stream that is not whole, has an error inside,
    or says something that has no place in a body.

    `usage` is what is known to have been used: it is put in where the stream did not tell.
    """
    shape = SHAPES.get(endpoint)
    if shape is None:
        return None
    try:
        answer = shape.gather(read_payloads(stream))
        if usage is not None and endpoint in _COUNTS_ON_DEMAND and "usage" not in answer:
            answer["usage"] = usage_object(usage)
        return orjson.dumps(answer)
    except ODD:
        return None


def usage_of(endpoint: Endpoint, body: bytes) -> Usage | None:
    """The tokens that a body says it took; None when it says nothing."""
    shape = SHAPES.get(endpoint)
    try:
        return None if shape is None else shape.usage(read_object(body))
    except ODD:
        return None


def unfit(ask: Ask, body: bytes) -> str | None:
    """Why a body may not be kept as the answer to `ask`; None when it may.

    One of `tool_call`, `refusal`, `filtered`, `finish_<reason>`, `empty` (no words),
    `invalid_json` (JSON was asked for and this is not it), `malformed` (not of the endpoint's
    shape, or of fewer choices or vectors than were asked for) and `endpoint` (not one whose
    answers can be kept).
    """
    shape = SHAPES.get(ask.endpoint)
    if shape is None:
        return "endpoint"
    try:
        answer = read_object(body)
        reason = shape.unfit(ask, answer)
        if reason is None and ask.endpoint in _STREAMED and not _is_known(ask, answer):
            _rehearse(shape, ask, body)
        return reason
    except ODD:
        return "malformed"


def _is_known(ask: Ask, answer: JsonObject) -> bool:
    return ask.endpoint is Endpoint.CHAT and is_plain(answer)


def _rehearse(shape: Shape, ask: Ask, body: bytes) -> None:
    """Gives a body as a stream and reads that. Raises `ODD` where either can't be done: what its
    checks have passed over must not come out when somebody waits for it."""
    events = shape.replay(ask._replace(stream=True, wants_usage=True), body, 0)
    shape.gather(read_payloads(b"".join(events)))


def text_of(endpoint: Endpoint, body: bytes) -> str:
    """The words of the first choice; empty where there are none."""
    shape = SHAPES.get(endpoint)
    try:
        return "" if shape is None else shape.text(read_object(body))
    except ODD:
        return ""


def replay(ask: Ask, body: bytes, now: int) -> tuple[bytes, ...]:
    """What to write to the client: the whole body, or one event of the stream after another.

    `body` is one that was fit to be kept, `now` epoch seconds. Ids and times are new, and a cost
    in the usage is 0; all else says what the body says.
    """
    return SHAPES[ask.endpoint].replay(ask, body, now)
