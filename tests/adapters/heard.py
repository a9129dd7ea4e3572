"""What OpenAI's own types make of an answer: the reader's side of every adapter's tests."""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from adapters.base import Adapter, Ask


@dataclass
class Heard:
    """One choice of an answer, as a client has it in the end."""

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    finish: str | None = None
    refusal: str = ""
    thinking: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Answer:
    """A whole answer: its choices and (prompt, completion, cached, reasoning) tokens."""

    choices: list[Heard]
    usage: tuple[int, int, int, int] | None


def of_body(body: bytes) -> Answer:
    """A whole answer, by OpenAI's `ChatCompletion`, strictly."""
    parsed = ChatCompletion.model_validate_json(body, strict=True)
    choices = []
    for choice in parsed.choices:
        message = choice.message
        extra = message.model_extra or {}
        calls = [
            (call.function.name, json.loads(call.function.arguments))
            for call in message.tool_calls or []
            if call.type == "function"
        ]
        choices.append(
            Heard(
                message.content or "",
                extra.get("reasoning_content") or "",
                calls,
                choice.finish_reason,
                message.refusal or "",
                extra.get("thinking_blocks") or [],
            )
        )
    return Answer(choices, _usage(parsed.usage))


def of_stream(raw: bytes) -> Answer:
    """A stream's end, chunk by chunk through OpenAI's `ChatCompletionChunk`, strictly."""
    payloads = [entry.removeprefix(b"data: ") for entry in raw.split(b"\n\n")]
    assert payloads[-2:] == [b"[DONE]", b""], payloads[-3:]
    choices: dict[int, Heard] = {}
    pieces: dict[int, dict[int, list[str]]] = {}
    usage = None
    for payload in payloads[:-2]:
        chunk = ChatCompletionChunk.model_validate_json(payload, strict=True)
        usage = chunk.usage or usage
        for choice in chunk.choices:
            heard = choices.setdefault(choice.index, Heard())
            calls = pieces.setdefault(choice.index, {})
            delta = choice.delta
            extra = delta.model_extra or {}
            heard.text += delta.content or ""
            heard.refusal += delta.refusal or ""
            heard.reasoning += extra.get("reasoning_content") or ""
            for block in extra.get("thinking_blocks") or []:
                heard.thinking.append({k: v for k, v in block.items() if k != "index"})
            for call in delta.tool_calls or []:
                found = calls.setdefault(call.index, ["", ""])
                assert call.function is not None
                found[0] += call.function.name or ""
                found[1] += call.function.arguments or ""
            heard.finish = choice.finish_reason or heard.finish
    for index, heard in choices.items():
        heard.calls = [(name, json.loads(text)) for name, text in pieces[index].values()]
    return Answer([choices[index] for index in sorted(choices)], _usage(usage))


def _usage(usage: Any) -> tuple[int, int, int, int] | None:
    if usage is None:
        return None
    read, made = usage.prompt_tokens_details, usage.completion_tokens_details
    return (
        usage.prompt_tokens,
        usage.completion_tokens,
        (read and read.cached_tokens) or 0,
        (made and made.reasoning_tokens) or 0,
    )


def play(adapter: Adapter, ask: Ask, pieces: Iterable[bytes]) -> bytes:
    """A stream's bytes through an adapter, piece by piece, to its end."""
    translator = adapter.stream(ask, lambda _: None)
    out = b"".join(translator.feed(piece) for piece in pieces)
    if not translator.done and translator.failure is None:
        out += translator.finish()
    assert translator.failure is None, translator.failure
    return out


def bytewise(raw: bytes) -> list[bytes]:
    return [raw[i : i + 1] for i in range(len(raw))]


def cut(raw: bytes, seed: int) -> list[bytes]:
    """`raw` in pieces of random size."""
    chance = random.Random(seed)
    ends = sorted(chance.sample(range(1, len(raw)), min(len(raw) - 1, chance.randint(1, 60))))
    return [raw[a:b] for a, b in zip([0, *ends], [*ends, len(raw)], strict=True)]


def same(outputs: Sequence[bytes]) -> bool:
    return len(set(outputs)) == 1
