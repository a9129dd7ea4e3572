"""The OpenAI dialect, for chat, legacy completions and embeddings.

OpenAI to OpenAI is a passage, not a translation: request bytes go out as they came save for the
members that must change, and stream events come back as they were sent. Each event is parsed
once (about a microsecond), because only so can a malformed one be told, an end from a death, and
usage from content; what is parsed is not written again.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from adapters import jsonedit, quirks
from adapters.base import (
    Ask,
    CostOf,
    Endpoint,
    Failure,
    FailureKind,
    Outgoing,
    Reply,
    Retry,
    StreamTranslator,
    Target,
    UpstreamFailure,
    Usage,
)
from adapters.estimate import estimate, text_size
from adapters.failures import Complaint, classify, interrupted, invalid_reply, retry_after
from adapters.sse import Decoder, event

DONE = b"data: [DONE]\n\n"
PLAIN_TEXT = re.compile(rb"[ !#-\[\]-~]+")
"""Text that a JSON string holds as it is: ASCII without quotes, backslashes and controls."""


class OpenAI:
    """The adapter; see `adapters.base.Adapter`."""

    def request(self, ask: Ask, target: Target) -> Outgoing:
        put: dict[str, bytes] = {}
        drop = set(ask.drop)
        if ask.body.get("model") != target.model:
            put["model"] = orjson.dumps(target.model)
        for name, value in ask.defaults.items():
            put[name] = orjson.dumps(value)
        if ask.stream:
            _ask_for_usage(ask, target, put, drop)
        body = jsonedit.edit(ask.raw, ask.body.keys(), put, drop) if put or drop else ask.raw
        return Outgoing(target.base_url + ask.endpoint, _headers(ask, target), body)

    def reply(self, ask: Ask, body: bytes) -> Reply:
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise UpstreamFailure(invalid_reply(f"the answer is not JSON: {error}")) from None
        if not isinstance(parsed, dict):
            raise UpstreamFailure(invalid_reply("the answer is not a JSON object"))
        member = "data" if ask.endpoint is Endpoint.EMBEDDINGS else "choices"
        if not isinstance(parsed.get(member), list):
            if parsed.get("error"):
                raise UpstreamFailure(_error_of(parsed))
            raise UpstreamFailure(invalid_reply(f"the answer has no list of {member}"))
        usage = read_usage(parsed.get("usage"))
        if ask.endpoint is Endpoint.EMBEDDINGS:
            return Reply(body, usage)
        changed = False
        for choice in parsed[member]:
            if not isinstance(choice, dict):
                raise UpstreamFailure(invalid_reply("a choice of the answer is not an object"))
            changed |= _complete_choice(ask.endpoint, choice)
        text = 0 if usage else sum(map(_text_of, parsed[member]))
        return Reply(orjson.dumps(parsed) if changed else body, usage, text)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        return classify(status, read_complaint(body), retry_after(headers))

    def stream(self, ask: Ask, cost: CostOf) -> StreamTranslator:
        return OpenAIStream(ask, cost)


def _ask_for_usage(ask: Ask, target: Target, put: dict[str, bytes], drop: set[str]) -> None:
    """Usage is always wanted upstream; the client sees it only when it asked too."""
    if not target.takes_stream_options:
        drop.add("stream_options")
    elif not ask.wants_usage:
        options = ask.body.get("stream_options") or {}
        put["stream_options"] = orjson.dumps({**options, "include_usage": True})


def _headers(ask: Ask, target: Target) -> dict[str, str]:
    headers = {
        "content-type": "application/json",
        "accept": "text/event-stream" if ask.stream else "application/json",
    }
    if target.api_key is not None:
        headers["authorization"] = "Bearer " + target.api_key.get_secret_value()
    headers.update(ask.headers)
    headers.update(target.headers)
    return headers


def _complete_choice(endpoint: Endpoint, choice: dict[str, Any]) -> bool:
    """Adds what a strict client wants (null is fine); True when something was missing."""
    changed = False
    if "logprobs" not in choice:
        choice["logprobs"] = None
        changed = True
    message = choice.get("message")
    if endpoint is Endpoint.CHAT and isinstance(message, dict) and "refusal" not in message:
        message["refusal"] = None
        changed = True
    return _normalise_finish(choice) or changed


def _text_of(choice: dict[str, Any]) -> int:
    message = choice.get("message") or {"text": choice.get("text")}
    return sum(text_size(value) for name, value in message.items() if name != "role")


def _normalise_finish(choice: dict[str, Any]) -> bool:
    """Puts a vendor's own finish reason into OpenAI's words; True when it had to."""
    reason = choice.get("finish_reason")
    if reason is None or reason in quirks.FINISH_REASONS:
        return False
    choice["finish_reason"] = quirks.FINISH_SYNONYMS.get(str(reason).lower(), "stop")
    return True


def read_usage(usage: Any) -> Usage | None:
    """OpenAI's usage object as a value; None when it is absent or says nothing."""
    if not isinstance(usage, dict):
        return None
    prompt = _count(usage.get("prompt_tokens"))
    completion = _count(usage.get("completion_tokens"))
    if prompt == completion == 0 and "prompt_tokens" not in usage:
        return None
    cached = cache_write = reasoning = 0
    if isinstance(spent := usage.get("prompt_tokens_details"), dict):
        cached = _count(spent.get("cached_tokens"))
        cache_write = _count(spent.get("cache_write_tokens"))
    if isinstance(made := usage.get("completion_tokens_details"), dict):
        reasoning = _count(made.get("reasoning_tokens"))
    cached = cached or _count(usage.get("prompt_cache_hit_tokens"))
    return Usage(prompt, completion, min(cached, prompt), cache_write, reasoning)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def usage_object(usage: Usage) -> dict[str, Any]:
    """A usage value in OpenAI's shape."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def read_complaint(body: bytes) -> Complaint:
    """An error body of OpenAI's shape or of one of its relatives."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Complaint(body[:200].decode(errors="replace").strip())
    return complaint_of(parsed)


def complaint_of(parsed: Any) -> Complaint:
    """The error in a parsed body: an `error` object or text, else a `message` or `detail`."""
    if not isinstance(parsed, dict):
        return Complaint("")
    error = parsed.get("error", parsed)
    if isinstance(error, str):
        return Complaint(error)
    if not isinstance(error, dict):
        return Complaint("")
    message = error.get("message") or error.get("detail") or ""
    return Complaint(
        message if isinstance(message, str) else orjson.dumps(message).decode(),
        type=_word(error.get("type")),
        code=_word(error.get("code")),
        param=_word(error.get("param")),
    )


def _word(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and value != "" else None


def _error_of(parsed: dict[str, Any]) -> Failure:
    """The failure that an error object inside a 200 stands for."""
    complaint = complaint_of(parsed)
    status = int(complaint.code) if complaint.code and complaint.code.isdecimal() else 0
    if not 400 <= status <= 599:
        status = _STATUS_OF_TYPE.get(complaint.code or "", 0)
        status = status or _STATUS_OF_TYPE.get(complaint.type or "", 500)
    return classify(status, complaint)


_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "content_policy_violation": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "overloaded_error": 529,
    "service_unavailable_error": 503,
}


class OpenAIStream:
    """Passes events on as they were sent, and keeps what the books and the end need.

    The usage chunk and `[DONE]` are held to the end: the first may have to be left out or given
    its cost, the second must not follow a stream that is not whole.
    """

    def __init__(self, ask: Ask, cost: CostOf) -> None:
        self.usage: Usage | None = None
        self.contents = 0
        self.text_bytes = 0
        self.skipped = 0
        self.failure: Failure | None = None
        self.done = False
        self._ask = ask
        self._cost = cost
        self._events = Decoder()
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._last: dict[str, Any] = {}
        self._usage_chunk: dict[str, Any] | None = None
        self._begins: bytes | None = None  # of a chunk that differs in its text alone
        self._ends = b""

    def feed(self, data: bytes) -> bytes:
        if self._is_whole(data) and self._is_like_the_last(data[6:-2]):
            return data
        return self._take_all(self._events.feed(data))

    def _is_whole(self, data: bytes) -> bool:
        """Whether `data` may be just one event, as Turnout would write it."""
        return self._events.is_between and data.startswith(b"data: ") and data.endswith(b"\n\n")

    def finish(self) -> bytes:
        out = self._take_all(self._events.finish())
        if self.done or self.failure:
            return out
        expected = self._ask.body.get("n")
        if len(self._finished) < (expected if isinstance(expected, int) else 1):
            raise UpstreamFailure(interrupted())
        if not self._whole():
            raise UpstreamFailure(interrupted())
        return out + self._end()

    def _take_all(self, payloads: list[bytes]) -> bytes:
        if self.done or self.failure:
            return b""
        out = b""
        for payload in payloads:
            out += event(payload) if self._is_like_the_last(payload) else self._take(payload)
            if self.done or self.failure:
                break
        if self._events.overflow and not self.failure:
            message = f"an event of the upstream's stream is over {self._events.limit} bytes"
            self.failure = Failure(FailureKind.EVENT_TOO_LARGE, message, Retry.NEXT_TARGET)
        return out

    def _take(self, payload: bytes) -> bytes:
        """What one event becomes."""
        try:
            chunk = orjson.loads(payload)
            choices = chunk.get("choices")
        except (orjson.JSONDecodeError, AttributeError):
            return self._take_odd(payload)
        if chunk.get("error"):
            self.failure = _error_of(chunk)
            return b""
        usage = chunk.get("usage")
        if usage:
            self.usage = read_usage(usage) or self.usage
            if not choices:
                self._usage_chunk = chunk
                return b""
        self._last = chunk
        if isinstance(choices, list) and self._read_choices(choices):
            payload = orjson.dumps(chunk)
        elif not usage:
            self._learn_shape(payload, choices)
        return event(payload)

    def _is_like_the_last(self, payload: bytes) -> bool:
        """Whether an event differs from one parsed before in its text alone, and in plain text.

        Most of a stream is: the same members around another word. To see that costs half a
        microsecond, to parse it three, and nothing in it is news but the text's length.
        """
        begins, ends = self._begins, self._ends
        if begins is None or not (payload.startswith(begins) and payload.endswith(ends)):
            return False
        text = payload[len(begins) : -len(ends)]
        if not PLAIN_TEXT.fullmatch(text):
            return False
        self.contents += 1
        self.text_bytes += len(text)
        return True

    def _learn_shape(self, payload: bytes, choices: Any) -> None:
        """Notes what stands around the text of a chunk that has nothing else to say."""
        self._begins = None
        match choices:
            case [{"delta": {"content": str(text), **others}, "finish_reason": None}] if not others:
                pass
            case _:
                return
        written = orjson.dumps(text)
        for member in (b'"content":' + written, b'"content": ' + written):
            if payload.count(member) == 1 and b"\n" not in payload:
                begin, end = payload.split(member)
                self._begins = begin + member[: -len(written)] + b'"'
                self._ends = b'"' + end

    def _take_odd(self, payload: bytes) -> bytes:
        """`[DONE]`, or what is no JSON object."""
        if payload.strip() != b"[DONE]":
            self.skipped += 1
        elif self._whole():
            return self._end()
        else:
            self.failure = interrupted("the upstream said [DONE] before every choice had finished")
        return b""

    def _read_choices(self, choices: list[Any]) -> bool:
        """Notes content and ends; True when a choice had to be changed."""
        changed = content = False
        for choice in choices:
            if not isinstance(choice, dict):
                continue
            index = choice.get("index")
            if not isinstance(index, int):
                index = 0
            self._seen.add(index)
            if choice.get("finish_reason") is not None:
                changed |= _normalise_finish(choice)
                self._finished.add(index)
                content = True
            delta = choice.get("delta")
            parts = delta if isinstance(delta, dict) else {"text": choice.get("text")}
            for name, value in parts.items():
                if value and name != "role":
                    self.text_bytes += text_size(value)
                    content = True
        self.contents += content
        return changed

    def _whole(self) -> bool:
        return bool(self._seen) and self._seen <= self._finished

    def _end(self) -> bytes:
        self.done = True
        if not self._ask.wants_usage:
            return DONE
        return event(orjson.dumps(self._with_cost())) + DONE

    def _with_cost(self) -> dict[str, Any]:
        """The chunk with the usage, the upstream's own where it sent one."""
        usage = self.usage or estimate(self._ask, self.text_bytes)
        chunk = self._usage_chunk or {
            "id": self._last.get("id"),
            "object": self._last.get("object"),
            "created": self._last.get("created"),
            "model": self._last.get("model"),
            "choices": [],
            "usage": usage_object(usage) | ({} if self.usage else {"estimated": True}),
        }
        cost = self._cost(usage)
        if cost is not None:
            chunk["usage"]["cost_usd"] = cost
        return chunk
