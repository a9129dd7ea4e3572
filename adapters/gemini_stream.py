"""Gemini's answers, whole and streamed, in OpenAI's shapes.

A stream is `GenerateContentResponse` objects as server-sent events, with CRLF and without a
`[DONE]`; each candidate ends with a `finishReason`. A signature of text often comes in a last,
empty part. Source: Google's API reference, v1beta; bodies in tests/data/recordings.
"""

import base64
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from adapters.base import (
    Ask,
    CostOf,
    Failure,
    FailureKind,
    JsonObject,
    Reply,
    Retry,
    UpstreamFailure,
    Usage,
    count_of,
)
from adapters.completion import Choice, TranslatedStream, new_id
from adapters.estimate import estimate
from adapters.failures import (
    Complaint,
    classify,
    failure_inside,
    interrupted,
    invalid_reply,
)
from adapters.jsonedit import loads
from adapters.sse import LINE_LIMIT, Decoder

OWN_CALL = "call_tn_"
"""How the ids begin that are made here for calls that Gemini gave none; it never sees them."""

FINISHES = {
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
"""`finishReason` -> OpenAI's word; every other one is `stop`, or `tool_calls` after a call."""

_TOO_LONG = re.compile(r"exceeds the maximum number of tokens", re.IGNORECASE)
"""How Gemini says that the prompt is too long: a 400 INVALID_ARGUMENT like any other."""

_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")
"""A protobuf Duration in JSON."""


class Call(NamedTuple):
    """A `functionCall`, with the signature beside it."""

    id: str
    name: str
    arguments: JsonObject
    signature: str | None


def parts_of(candidate: JsonObject) -> Iterator[JsonObject]:
    """A candidate's parts; none when it was stopped before it said anything."""
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, dict):
            yield part


def call_of(part: JsonObject) -> Call | None:
    """The call in a part. An id is made where there is none; without `args` there are none."""
    call = part.get("functionCall")
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    given, arguments = call.get("id"), call.get("args")
    return Call(
        given if isinstance(given, str) and given else new_id(OWN_CALL),
        call["name"],
        arguments if isinstance(arguments, dict) else {},
        _signed(part),
    )


def text_signature(part: JsonObject) -> str | None:
    """The signature of a part of text, or of nothing. Those of thoughts and of what Google's own
    tools did are left: their parts don't go back."""
    is_text = isinstance(part.get("text"), str) and not part.get("thought")
    return _signed(part) if is_text or part.keys() == {"thoughtSignature"} else None


def _signed(part: JsonObject) -> str | None:
    signature = part.get("thoughtSignature")
    return signature if isinstance(signature, str) and signature else None


def finish_of(reason: Any, calls: bool) -> str:
    """OpenAI's word for a `finishReason`: Gemini says STOP after calls too."""
    return FINISHES.get(str(reason), "tool_calls" if calls else "stop")


def refusal_of(candidate: JsonObject, finish: str) -> str | None:
    """Why an answer was withheld, in Google's words."""
    message = candidate.get("finishMessage")
    return message if finish == "content_filter" and isinstance(message, str) else None


def blocked(parsed: JsonObject) -> str | None:
    """Why the prompt was refused; None when it was not."""
    feedback = parsed.get("promptFeedback")
    if not isinstance(feedback, dict) or not feedback.get("blockReason"):
        return None
    said = feedback.get("blockReasonMessage")
    return str(said or f"The prompt was blocked: {feedback['blockReason']}.")


def read_usage(usage: Any) -> Usage | None:
    """`usageMetadata` as a value; None when it counts no prompt.

    What Google's own tools read is prompt. Output is candidates and thoughts; where the total
    says that there was more, the total is believed: models have left out either count while
    they billed it.
    """
    if not isinstance(usage, dict) or "promptTokenCount" not in usage:
        return None
    prompt = _count(usage, "promptTokenCount") + _count(usage, "toolUsePromptTokenCount")
    thoughts = _count(usage, "thoughtsTokenCount")
    completion = _count(usage, "candidatesTokenCount") + thoughts
    return Usage(
        prompt=prompt,
        completion=max(completion, _count(usage, "totalTokenCount") - prompt),
        cached=_count(usage, "cachedContentTokenCount"),
        reasoning=thoughts,
    )


def _count(holder: JsonObject, name: str) -> int:
    return count_of(holder.get(name))


# Whole answers.


def choices_of(parsed: JsonObject) -> list[Choice]:
    """A whole answer's choices; a prompt that was refused has one, of none."""
    candidates = parsed.get("candidates")
    if isinstance(candidates, list) and candidates:
        whole = [candidate for candidate in candidates if isinstance(candidate, dict)]
        return [_choice(candidate) for candidate in whole]
    reason = blocked(parsed)
    if reason is None:
        raise UpstreamFailure(invalid_reply("the answer has no candidates"))
    return [Choice(finish="content_filter", refusal=reason)]


def _choice(candidate: JsonObject) -> Choice:
    choice = Choice()
    for part in parts_of(candidate):
        text = part.get("text")
        if isinstance(text, str):
            (choice.thoughts if part.get("thought") else choice.text).append(text)
        elif call := call_of(part):
            choice.call(call.id, call.name, call.arguments, call.signature)
        choice.signature = text_signature(part) or choice.signature
    choice.finish = finish_of(candidate.get("finishReason"), bool(choice.calls))
    choice.refusal = refusal_of(candidate, choice.finish)
    choice.logprobs = _read_logprobs(candidate.get("logprobsResult"))
    return choice


def _read_logprobs(result: Any) -> dict[str, Any] | None:
    if not isinstance(result, dict) or not isinstance(result.get("chosenCandidates"), list):
        return None
    tops = result.get("topCandidates")
    tops = tops if isinstance(tops, list) else []
    content = []
    for index, token in enumerate(_objects(result["chosenCandidates"])):
        top = tops[index] if index < len(tops) else None
        others = _objects(top.get("candidates")) if isinstance(top, dict) else []
        content.append({**_token(token), "top_logprobs": [_token(entry) for entry in others]})
    return {"content": content, "refusal": None}


def _objects(value: Any) -> list[JsonObject]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _token(entry: JsonObject) -> dict[str, Any]:
    token = str(entry.get("token") or "")
    logprob = entry.get("logProbability")
    logprob = logprob if type(logprob) in (int, float) else 0.0
    return {"token": token, "logprob": logprob, "bytes": list(token.encode(errors="replace"))}


def embeddings_of(ask: Ask, parsed: JsonObject) -> Reply:
    """`{embeddings: [{values}]}` as OpenAI's list."""
    given = parsed.get("embeddings")
    if not isinstance(given, list) or not all(_is_vector(entry) for entry in given):
        raise UpstreamFailure(invalid_reply("the answer has no list of embeddings"))
    packed = {**ask.body, **ask.defaults}.get("encoding_format") == "base64"
    usage = read_usage(parsed.get("usageMetadata"))
    counted = usage or estimate(ask, 0)
    body = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _vector(entry["values"], packed)}
            for index, entry in enumerate(given)
        ],
        "model": ask.body.get("model"),
        "usage": {
            "prompt_tokens": counted.prompt,
            "total_tokens": counted.total,
            **({} if usage else {"estimated": True}),
        },
    }
    return Reply(orjson.dumps(body), usage)


def _is_vector(entry: Any) -> bool:
    values = entry.get("values") if isinstance(entry, dict) else None
    return isinstance(values, list) and all(isinstance(value, int | float) for value in values)


def _vector(values: list[float], packed: bool) -> list[float] | str:
    """The numbers, or as OpenAI packs them: little-endian float32 in base64."""
    if not packed:
        return values
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


# Errors.


def error_of(parsed: Any) -> JsonObject | None:
    """The error of `{"error": {code, message, status, details}}`, which streams put in a list."""
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    if not isinstance(parsed, dict) or not parsed.get("error"):
        return None
    error = parsed["error"]
    return error if isinstance(error, dict) else {"message": str(error)}


def failure_of(status: int, error: JsonObject, wait: float | None) -> Failure:
    """What an error body of a `status` means. `wait`: seconds that the headers ask for."""
    return _mended(classify(status, _complaint(error), wait), error)


def failure_within(error: JsonObject) -> Failure:
    """What an error inside a 200 or a stream means."""
    return _mended(failure_inside(_complaint(error)), error)


def _complaint(error: JsonObject) -> Complaint:
    message = str(error.get("message") or "")
    kind, code = error.get("status"), error.get("code")
    if _TOO_LONG.search(message):
        code = "context_length_exceeded"
    return Complaint(
        message,
        type=kind if isinstance(kind, str) else None,
        code=None if code is None else str(code),
    )


def _mended(failure: Failure, error: JsonObject) -> Failure:
    """The failure, with what only the details say: that a 400 is about the key, how long to wait,
    and whether a 429, whose message always speaks of billing, is over within minutes."""
    listed = error.get("details")
    details = [d for d in listed if isinstance(d, dict)] if isinstance(listed, list) else []
    if failure.status == 400 and any(d.get("reason") == "API_KEY_INVALID" for d in details):
        failure = replace(failure, kind=FailureKind.AUTH, retry=Retry.NEXT_TARGET, status=401)
    found = [_DELAY.fullmatch(str(d["retryDelay"])) for d in details if "retryDelay" in d]
    delay = next((float(match[1]) for match in found if match), None)
    if failure.retry_after is None:
        failure = replace(failure, retry_after=delay)
    if failure.kind is FailureKind.QUOTA and delay is not None and not _of_the_day(details):
        failure = replace(failure, kind=FailureKind.RATE_LIMIT, retry=Retry.SAME_TARGET)
    return failure


def _of_the_day(details: list[dict[str, Any]]) -> bool:
    """Whether a day's quota is used up; Google gives a delay of seconds then too."""
    violations = [v for d in details for v in _objects(d.get("violations"))]
    return any("PerDay" in str(violation.get("quotaId")) for violation in violations)


# The stream.


class Events(Decoder):
    """Server-sent events, or a body that is JSON from its first byte on: one event, at its end.

    The second is how Google answers where `alt=sse` is not heard, some errors among them.
    """

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        super().__init__(limit)
        self._begun = False
        self._whole: bytearray | None = None

    def feed(self, data: bytes) -> list[bytes]:
        if not self._begun and (head := data.lstrip()):
            self._begun = True
            self._whole = bytearray() if head[:1] in b"[{" else None
        if self._whole is None:
            return super().feed(data)
        self._whole += data
        if len(self._whole) > self.limit:
            self.overflow = True
            self._whole.clear()
        return []

    def finish(self) -> list[bytes]:
        if self._whole is None:
            return super().finish()
        return [bytes(self._whole)] if self._whole else []


class GeminiStream(TranslatedStream[bytes]):
    """Parts of candidates -> OpenAI's chunks."""

    def __init__(self, ask: Ask, cost: CostOf, events: Events) -> None:
        super().__init__(ask, cost, events)
        self._signatures: dict[int, str] = {}

    def _take(self, entry: bytes) -> None:
        payload = loads(entry)
        for response in payload if isinstance(payload, list) else [payload]:
            error = error_of(response)
            if error is not None:
                self.failure = failure_within(error)
                return
            self._take_response(response)

    def _take_response(self, response: dict[str, Any]) -> None:
        candidates = response.get("candidates") or []
        self._begin(response.get("responseId"), response.get("modelVersion"))
        self.usage = read_usage(response.get("usageMetadata")) or self.usage
        for candidate in candidates:
            self._take_candidate(candidate)
        reason = blocked(response)
        if reason is not None and not candidates:
            self._refuse(reason)
            self._finish("content_filter")

    def _take_candidate(self, candidate: dict[str, Any]) -> None:
        index = int(candidate.get("index") or 0)
        if not 0 <= index < 128:
            raise ValueError("a candidate that nobody asked for")
        for part in parts_of(candidate):
            self._take_part(part, index)
        reason = candidate.get("finishReason")
        if reason is not None:
            finish = finish_of(reason, calls=False)
            if refusal := refusal_of(candidate, finish):
                self._refuse(refusal, index)
            self._finish(finish, index)

    def _take_part(self, part: JsonObject, index: int) -> None:
        text = part.get("text")
        if isinstance(text, str):
            (self._reason if part.get("thought") else self._text)(text, index)
        elif call := call_of(part):
            arguments = orjson.dumps(call.arguments).decode()
            self._call(call.id, call.name, arguments, index, call.signature)
        if signature := text_signature(part):
            self._signatures[index] = signature

    def _end(self) -> None:
        """A signature is given once, as clients join what a member gives twice; and calls may
        come after the reason, so what it means is known now. Called at the end of file: a
        candidate that has begun and has no reason by then was cut short."""
        if self._spoken - self._finishes.keys():
            raise UpstreamFailure(interrupted())
        for index, signature in self._signatures.items():
            self._sign(signature, index)
        for index in self._calls:
            if self._finishes.get(index) == "stop":
                self._finishes[index] = "tool_calls"
        super()._end()
