"""May a request be answered by what was asked in other words? Deny by default. Pure.

Only the words of the last user message are compared, so a request has to have such a message, in
plain text, and no part of it may be one whose meaning words don't carry: pictures, tools, several
choices, log probabilities. Words that lean on the moment or the person are left to the exact tier
unless the operator allows them: the same question may have another answer tomorrow.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from adapters.base import Ask, Endpoint
from proxy.cache.policy import Meaning

LONGEST = 600  # characters of a question; the encoder's 256 word pieces hold them
SHORTEST = 3
FEWEST = 2  # words of two letters: "first" and "second", "test 1" and "test 2" are near each other


class Asked(NamedTuple):
    """A question, and what it was asked in.

    `before` is the conversation without the question's words; it stands in `field` of the body
    when the partition is digested.
    """

    text: str
    field: str
    before: Any


_FIELDS = {
    Endpoint.CHAT: "messages",
    Endpoint.MESSAGES: "messages",
    Endpoint.RESPONSES: "input",
}
_TOOLS = ("tools", "functions", "tool_choice", "function_call", "web_search_options", "mcp_servers")
_ODD = ("logprobs", "top_logprobs", "logit_bias", "modalities", "audio", "prediction", "prompt")
_TEXTS = frozenset({"text", "input_text", "output_text"})

_WORD = re.compile(r"[A-Za-z]{2,}")
_VOLATILE = re.compile(
    r"\b(today|todays|tonight|tomorrow|yesterday|now|nowadays|currently|current|latest|newest|"
    r"recent|recently|lately|upcoming|up[- ]to[- ]date|at the moment|so far|as of|weather|news|"
    r"(?:this|last|next|past|coming) (?:second|minute|hour|morning|afternoon|evening|night|day|"
    r"week|weekend|month|quarter|season|year|monday|tuesday|wednesday|thursday|friday|saturday|"
    r"sunday|january|february|march|april|may|june|july|august|september|october|november|"
    r"december|spring|summer|autumn|fall|winter)|"
    r"what time is it|what(?:'s| is) the (?:time|date)|stock price|share price|exchange rate)\b",
    re.IGNORECASE,
)
_PERSONAL = re.compile(
    r"\b(?:my|our) (?:\w+ ){0,3}?(?:no\.?|nr\.?|number|id|#)?\s*[#:]?\s*[a-z]{0,4}-?\d{3,}"
    r"|\b(?:my name is|i am called|my address is|my email is|i was born)\b"
    r"|[\w.+-]+@[\w-]+\.[\w.]+"
    r"|(?:\+|\b00)\d[\d ()/-]{7,}\d"
    r"|\b(?:\d[ -]?){13,19}\b",
    re.IGNORECASE,
)


def read_question(ask: Ask, meaning: Meaning) -> Asked | str:
    """The question of a request, or the reason why it is none to be answered by meaning."""
    field = _FIELDS.get(ask.endpoint)
    if field is None:
        return "endpoint"
    reason = _unfit_parameters(ask, meaning)
    if reason is not None:
        return reason
    asked = _last_words(ask.body.get(field), field)
    if isinstance(asked, str):
        return asked
    return _unfit_words(asked.text, meaning) or asked


def _unfit_parameters(ask: Ask, meaning: Meaning) -> str | None:
    body: Mapping[str, Any] = {**ask.defaults, **ask.body}
    if any(body.get(name) for name in _TOOLS):
        return "tools"
    if any(body.get(name) for name in _ODD):
        return "parameters"
    if body.get("n") not in (None, 1):
        return "choices"
    temperature = body.get("temperature")
    if (1.0 if temperature is None else temperature) > meaning.temperature:
        return "temperature"
    return None


def _last_words(turns: Any, field: str) -> Asked | str:
    """The last user message's text, and the turns with a hole in its place."""
    if isinstance(turns, str):
        return Asked(turns, field, None)
    if not isinstance(turns, list) or not turns:
        return "conversation"
    if not all(isinstance(turn, dict) and _is_plain(turn) for turn in turns):
        return "content"
    last = turns[-1]
    if last.get("role") != "user":
        return "conversation"
    content = last.get("content")
    if isinstance(content, str):
        return Asked(content, field, [*turns[:-1], {**last, "content": None}])
    if len(content) != 1:
        return "content"
    part = content[0]
    hole = {**last, "content": [{**part, "text": None}]}
    return Asked(part["text"], field, [*turns[:-1], hole])


def _is_plain(turn: Mapping[str, Any]) -> bool:
    """Words and nothing else: no picture, no tool's call or result, no thought to be kept."""
    if turn.get("role") not in ("user", "assistant", "system", "developer"):
        return False
    if turn.get("tool_calls") or turn.get("function_call") or turn.get("audio"):
        return False
    content = turn.get("content")
    if isinstance(content, str):
        return True
    return isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") in _TEXTS and isinstance(part.get("text"), str)
        for part in content
    )


def _unfit_words(text: str, meaning: Meaning) -> str | None:
    if not SHORTEST <= len(text) <= LONGEST:
        return "length"
    if "volatile" not in meaning.allow and _VOLATILE.search(text):
        return "volatile"
    if "personal" not in meaning.allow and _PERSONAL.search(text):
        return "personal"
    # Of scripts that put no spaces between words these can't be counted.
    if text.isascii() and len(_WORD.findall(text)) < FEWEST:
        return "length"
    return None
