"""OpenAI's own shapes, read: usage, errors, finish reasons, and vendors' variations of them."""

from typing import Any

import orjson

from adapters import quirks
from adapters.base import Failure, Usage, count_of
from adapters.failures import Complaint, failure_inside
from adapters.jsonedit import loads


def flatten_content(holder: dict[str, Any]) -> bool:
    """Puts content in parts (Mistral's, with its thoughts) into text; True when it had to."""
    parts = holder.get("content")
    if not isinstance(parts, list):
        return False
    texts, thoughts = [], []
    for part in parts:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "thinking", "thinking": list(pieces)}:
                thoughts += [str(p.get("text") or "") for p in pieces if isinstance(p, dict)]
    holder["content"] = "".join(texts)
    if thoughts:
        holder["reasoning_content"] = "".join(thoughts)
    return True


def normalise_finish(choice: dict[str, Any]) -> bool:
    """Puts a vendor's own finish reason into OpenAI's words; True when it had to."""
    reason = choice.get("finish_reason")
    if reason is None or (isinstance(reason, str) and reason in quirks.FINISH_REASONS):
        return False
    choice["finish_reason"] = quirks.FINISH_SYNONYMS.get(str(reason).lower(), "stop")
    return True


def read_usage(usage: Any) -> Usage | None:
    """OpenAI's usage object as a value; None when it is absent or says nothing."""
    if not isinstance(usage, dict):
        return None
    prompt = count_of(usage.get("prompt_tokens"))
    completion = count_of(usage.get("completion_tokens"))
    if prompt == completion == 0 and "prompt_tokens" not in usage:
        return None
    cached = cache_write = reasoning = 0
    if isinstance(spent := usage.get("prompt_tokens_details"), dict):
        cached = count_of(spent.get("cached_tokens"))
        cache_write = count_of(spent.get("cache_write_tokens"))
    if isinstance(made := usage.get("completion_tokens_details"), dict):
        reasoning = count_of(made.get("reasoning_tokens"))
    cached = cached or count_of(usage.get("prompt_cache_hit_tokens") or usage.get("cached_tokens"))
    return Usage(prompt, completion, min(cached, prompt), cache_write, reasoning)


def read_complaint(body: bytes) -> Complaint:
    """An error body of OpenAI's shape or of one of its relatives."""
    try:
        parsed = loads(body)
    except orjson.JSONDecodeError:
        return Complaint(body[:200].decode(errors="replace").strip())
    return complaint_of(parsed)


def complaint_of(parsed: Any) -> Complaint:
    """The error in a parsed body: an `error` object or text, else a `message` or `detail`."""
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]  # as Google's OpenAI endpoint has it
    if not isinstance(parsed, dict):
        return Complaint("")
    error = parsed.get("error") or parsed
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


def error_of(parsed: dict[str, Any]) -> Failure:
    """The failure that an error object inside a 200 stands for."""
    return failure_inside(complaint_of(parsed))
