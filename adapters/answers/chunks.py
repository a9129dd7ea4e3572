"""What chat and legacy completions share: chunks with choices, read together and written."""

from collections.abc import Callable
from typing import Any

import orjson

from adapters.answers.base import NotWhole, objects, read_object, unbilled
from adapters.base import Ask, JsonObject
from adapters.completion import DONE, new_id, usage_object
from adapters.estimate import estimate, text_size
from adapters.openai_stream import PLAIN_TEXT
from adapters.sse import event

CHOICES = 128
"""The most choices that a stream may have; OpenAI's own limit of `n`."""

EVERY_CHUNK = ("system_fingerprint", "service_tier")
"""Members besides id, time and model that OpenAI gives with each chunk: its SDK keeps the last."""

_ELSEWHERE = frozenset({"object", "usage", "choices", "obfuscation"})
"""Members of a chunk that its body has not, or otherwise."""

_NOTHING: tuple[Any, ...] = (None, "", {}, [])

_FRAME = frozenset({"id", "object", "created", "model", "choices", "usage", *EVERY_CHUNK})


class Held:
    """A choice as far as it has come. A shape says what `spoken` means, in `hear` and `said`."""

    spoken = ""  # the member with what is new
    word = ""  # the member with words, here or in there

    def __init__(self) -> None:
        self.finish: str | None = None
        self._logprobs: dict[str, Any] | None = None
        self._others: dict[str, Any] = {}

    def hear(self, value: Any) -> None:
        """Takes what is new. Raises `ODD` for what can't be said in a body."""
        raise NotImplementedError

    def append(self, words: str) -> None:
        """Takes more words."""
        raise NotImplementedError

    def words_alone(self, choice: JsonObject) -> str | None:
        """The words of a chunk's choice; None if it has anything else to say."""
        raise NotImplementedError

    def said(self) -> dict[str, Any]:
        """The member of a whole choice that holds it all."""
        raise NotImplementedError

    def take(self, choice: JsonObject) -> None:
        """A chunk's choice."""
        for name, value in choice.items():
            if name == self.spoken:
                self.hear(value)
            elif name == "finish_reason":
                self.finish = value or self.finish
            elif name == "logprobs":
                self._join(value)
            elif name != "index" and value not in _NOTHING:
                self._others[name] = value

    def whole(self, index: int) -> dict[str, Any]:
        """The choice as a body has it."""
        end = {"logprobs": self._logprobs, "finish_reason": self.finish}
        return {"index": index, **self.said(), **end, **self._others}

    def _join(self, logprobs: Any) -> None:
        """Lists go on from chunk to chunk; a list may be null throughout."""
        if logprobs is None:
            return
        held = self._logprobs = self._logprobs or {}
        for name, tokens in logprobs.items():
            if not isinstance(tokens, list | None):
                raise NotWhole("logprobs that are no list")
            if held.get(name) is None:
                held[name] = tokens
            elif tokens:
                held[name] += tokens


def gather(payloads: list[bytes], kind: str, hold: Callable[[], Held]) -> dict[str, Any]:
    """A whole stream -> its body, an object of `kind`. Raises `ODD` for one that is not whole."""
    if payloads[-1].strip() != b"[DONE]":
        raise NotWhole("no [DONE]")
    chunks = Gathering(hold)
    for payload in payloads[:-1]:
        if not chunks.take_like_the_last(payload):
            chunks.take(payload)
    return chunks.whole(kind)


class Gathering:
    """An answer as far as its chunks have told it.

    Of the members beside the choices the last that says something counts: some upstreams send
    first chunks without an id or a model.
    """

    def __init__(self, hold: Callable[[], Held]) -> None:
        self._hold = hold
        self._frame: dict[str, Any] = {}
        self._usage: JsonObject | None = None
        self._choices: dict[int, Held] = {}
        self._last: Held | None = None  # whose chunk differed from others in its words alone
        self._begins = self._ends = b""

    def take(self, payload: bytes) -> None:
        """A chunk. Raises `ODD` for what is none, and for an error."""
        chunk = read_object(payload)
        if chunk.get("error"):
            raise NotWhole("an error inside")
        if usage := chunk.get("usage"):
            self._usage = dict(usage)
        choices = objects(chunk.get("choices") or [])
        for choice in choices:
            self._held(choice.get("index", 0)).take(choice)
        self._frame |= {n: v for n, v in chunk.items() if v not in _NOTHING and n not in _ELSEWHERE}
        self._last = None
        if len(choices) == 1 and not usage:
            self._learn_shape(payload, choices[0])

    def take_like_the_last(self, payload: bytes) -> bool:
        """Takes a chunk that differs from one parsed before in its words alone, and in plain ones.

        Most of a stream does; to see that takes a fifth of the time that a parse takes.
        """
        begins, ends = self._begins, self._ends
        if not (self._last and payload.startswith(begins) and payload.endswith(ends)):
            return False
        words = payload[len(begins) : -len(ends)]
        if not PLAIN_TEXT.fullmatch(words):
            return False
        self._last.append(words.decode())
        return True

    def whole(self, kind: str) -> dict[str, Any]:
        """The body."""
        held = self._choices
        if not held or len(held) <= max(held) or not all(one.finish for one in held.values()):
            raise NotWhole("a choice has no end")
        choices = [held[index].whole(index) for index in sorted(held)]
        frame = {"id": None, "object": kind, "created": None, "model": None, "choices": choices}
        body = {**frame, **self._frame}
        return body if self._usage is None else {**body, "usage": self._usage}

    def _held(self, index: Any) -> Held:
        if type(index) is not int or not 0 <= index < CHOICES:
            raise NotWhole("a choice without a number")
        if index not in self._choices:
            self._choices[index] = self._hold()
        return self._choices[index]

    def _learn_shape(self, payload: bytes, choice: JsonObject) -> None:
        """Notes what stands around the words of a chunk that has nothing else to say."""
        held = self._held(choice.get("index", 0))
        words = held.words_alone(choice)
        if words is None:
            return
        written = b'"%b":%b' % (held.word.encode(), orjson.dumps(words))
        if payload.count(written) == 1:
            before, self._ends = payload.split(written)
            self._ends = b'"' + self._ends
            self._begins = before + b'"%b":"' % held.word.encode()
            self._last = held


def renewed(answer: dict[str, Any], prefix: str, now: int) -> bytes:
    """The body again, as if it were answered now."""
    answer["id"] = new_id(prefix)
    answer["created"] = now
    unbilled(answer)
    return orjson.dumps(answer)


class Writer:
    """The chunks of one answer, all with the same id, time and model. What else a body has at its
    top is in the first."""

    def __init__(self, answer: JsonObject, prefix: str, kind: str, now: int) -> None:
        self._frame = {
            "id": new_id(prefix),
            "object": kind,
            "created": now,
            "model": answer.get("model"),
            **{name: answer[name] for name in EVERY_CHUNK if name in answer},
        }
        self._head = b"data: " + orjson.dumps(self._frame)[:-1] + b',"choices":[{"index":'
        self._rest = _tail({name: v for name, v in answer.items() if name not in _FRAME})

    def chunk(self, index: int, spoken: bytes, logprobs: Any = None) -> bytes:
        """A chunk of a choice; `spoken` is its member with what is new, key and all."""
        rest, self._rest = self._rest, b"}"
        heard = orjson.dumps(logprobs)
        end = b',"logprobs":%b,"finish_reason":null}]' % heard
        return b"%b%d,%b%b%b\n\n" % (self._head, index, spoken, end, rest)

    def finish(
        self, index: int, spoken: bytes, choice: JsonObject, written: frozenset[str]
    ) -> bytes:
        """The last chunk of a choice, with all of its members that are not `written` yet."""
        rest, self._rest = self._rest, b"}"
        others = {name: value for name, value in choice.items() if name not in written}
        others = {"logprobs": None, "finish_reason": choice.get("finish_reason"), **others}
        end = b"," + orjson.dumps(others)[1:]
        return b"%b%d,%b%b]%b\n\n" % (self._head, index, spoken, end, rest)

    def end(self, ask: Ask, answer: JsonObject) -> list[bytes]:
        """The usage, if it is wanted, and `[DONE]`."""
        if not ask.wants_usage:
            return [DONE]
        usage = answer.get("usage") or _estimated(ask, answer)
        last = {**self._frame, "choices": [], "usage": {**usage, "cost_usd": 0}}
        return [event(orjson.dumps(last)), DONE]


def _tail(members: JsonObject) -> bytes:
    """What follows an object's other members."""
    return b"," + orjson.dumps(members)[1:] if members else b"}"


def _estimated(ask: Ask, answer: JsonObject) -> dict[str, Any]:
    """A usage where the upstream has counted nothing."""
    words = [choice.get("message") or choice.get("text") for choice in answer["choices"]]
    return {**usage_object(estimate(ask, text_size(words))), "estimated": True}
