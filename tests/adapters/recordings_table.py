"""The recordings that hold what OpenAI's shape has no word for, as docs/recordings.md lists them.

`python -m tests.adapters.recordings_table` prints the tables; test_recordings_table.py holds the
document to them. What an answer holds is read from the recorded bytes, not from an adapter.
"""

import re
from collections.abc import Iterator
from typing import Any

import orjson

from tests.adapters.inbound.test_messages import CHANGES, LACKS
from tests.adapters.inbound.test_responses import REFUSED
from tests.adapters.test_bedrock import UNSAID
from tests.adapters.test_gemini import INEXPRESSIBLE
from tests.recordings import Recording, recordings

SAYABLE = {
    "text",
    "thinking",
    "redacted_thinking",
    "tool_use",
    "thought",
    "thoughtSignature",
    "functionCall",
    "reasoningContent",
    "toolUse",
}
"""Kinds of content that a chat completion has a place for."""


def requests() -> dict[str, str]:
    """Recording -> the member of its request that chat can't say, or says otherwise."""
    told = {f"anthropic/{name}": member for name, member in LACKS.items()}
    for name in told.keys() & {f"anthropic/{name}" for name in CHANGES}:
        told[name] += " (said otherwise)"
    return dict(sorted({**told, **UNSAID, **INEXPRESSIBLE, **REFUSED}.items()))


def answers() -> dict[str, str]:
    """Recording -> the kinds of content of its answer that are left out of a chat completion."""
    found = {}
    for recording in recordings():
        kinds = set(_kinds(recording)) - SAYABLE
        if recording.status == 200 and kinds:
            found[recording.id] = ", ".join(sorted(kinds))
    return found


def _kinds(recording: Recording) -> Iterator[str]:
    if "/v1/messages" in recording.path:
        yield from _anthropic(recording)
    elif "enerateContent" in recording.path:
        yield from _gemini(recording)
    elif "/converse" in recording.path and b"server_tool_use" in recording.reply:
        yield "server_tool_use"


def _payloads(recording: Recording) -> list[Any]:
    if not recording.is_stream:
        return [orjson.loads(recording.reply)]
    lines = re.findall(rb"^data: ?(\{.*\})\r?$", recording.reply, re.MULTILINE)
    return [orjson.loads(line) for line in lines]


def _anthropic(recording: Recording) -> Iterator[str]:
    for payload in _payloads(recording):
        blocks = [*payload.get("content", []), *filter(None, [payload.get("content_block")])]
        for block in blocks:
            yield block["type"]
            if block.get("citations"):
                yield "citations"
        if payload.get("delta", {}).get("type") == "citations_delta":
            yield "citations"


def _gemini(recording: Recording) -> Iterator[str]:
    for payload in _payloads(recording):
        for candidate in payload.get("candidates", []):
            if candidate.get("groundingMetadata"):
                yield "groundingMetadata"
            for part in candidate.get("content", {}).get("parts", []):
                yield from part


def table(rows: dict[str, str], head: str) -> str:
    lines = [f"| recording | {head} |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | `{reason}` |" for name, reason in rows.items())])


def document() -> str:
    """All of docs/recordings.md's tables."""
    asked = table(requests(), "the member that OpenAI's chat has no word for")
    told = table(answers(), "what is left out of the chat completion")
    return f"## Requests\n\n{asked}\n\n## Answers\n\n{told}\n"


if __name__ == "__main__":
    print(document(), end="")
