"""Token estimates for when an upstream counts nothing.

Four bytes of UTF-8 a token, the rule of thumb of OpenAI's own guides for English, which also
gives about 0.75 a character for CJK; three tokens a message for its frame. Rows and answers
that rest on it are marked as estimated.
"""

from typing import Any

from adapters.base import Ask, Usage

BYTES_A_TOKEN = 4
TOKENS_A_MESSAGE = 3


def text_size(value: Any) -> int:
    """Bytes of text in a JSON value: strings anywhere in it, save those of data URLs."""
    if isinstance(value, str):
        if value.startswith("data:"):
            return 0
        return len(value) if value.isascii() else len(value.encode(errors="replace"))
    if isinstance(value, list):
        return sum(map(text_size, value))
    if isinstance(value, dict):
        return sum(map(text_size, value.values()))
    return 0


def tokens(size: int) -> int:
    """Tokens in `size` bytes of text, rounded up."""
    return -(-size // BYTES_A_TOKEN)


def estimate(ask: Ask, text_bytes: int) -> Usage:
    """The usage of an ask answered with `text_bytes` bytes of text."""
    messages = ask.body.get("messages")
    if isinstance(messages, list):
        frames = TOKENS_A_MESSAGE * len(messages)
        size = sum(text_size(m.get("content")) for m in messages if isinstance(m, dict))
        size += text_size(ask.body.get("tools"))
    else:
        frames = 0
        size = text_size(ask.body.get("prompt")) + text_size(ask.body.get("input"))
    return Usage(prompt=tokens(size) + frames, completion=tokens(text_bytes))
