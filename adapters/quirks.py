"""What differs between vendors of one dialect, as data."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quirks:
    """What one vendor of a dialect does otherwise with a request.

    `rename` pairs OpenAI's name of a member with the vendor's, `refuses` are the members that it
    answers with an error. `unread` are members of messages that it does: they came with another
    provider's answer, or ask for what its own cache does by itself, and are left out.
    """

    rename: tuple[tuple[str, str], ...] = ()
    refuses: frozenset[str] = frozenset()
    unread: frozenset[str] = frozenset()


NO_QUIRKS = Quirks()

EXTENSIONS = frozenset(
    {
        "cache_control",
        "extra_content",
        "is_error",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "thinking_blocks",
    }
)
"""Members of messages that OpenAI's own API lacks, and vendors that hold to it refuse."""

FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
"""All that OpenAI's types allow."""

FINISH_SYNONYMS = {
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "complete": "stop",
    "model_length": "length",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "safety": "content_filter",
    "refusal": "content_filter",
    "insufficient_system_resource": "length",
}
"""Other words seen for the same: TGI, Mistral, DeepSeek and vendors that leak their own."""

CONTEXT_LENGTH = re.compile(
    r"context.{0,12}(length|window|size)|maximum context|prompt is too long"
    r"|too many (input )?tokens|exceed_context_size",
    re.IGNORECASE,
)
"""How vendors say that the prompt is too long, where no code says so."""

QUOTA = re.compile(
    r"insufficient.{0,3}(quota|credit|balance|fund)|exceeded your current quota"
    r"|billing|out of credit",
    re.IGNORECASE,
)
"""A 429 that waiting does not mend."""

CONTENT_POLICY = re.compile(
    r"content.{0,3}(policy|filter|management)|moderation_blocked|safety system", re.IGNORECASE
)
"""A refusal of the text, not of the call."""

NO_CREDIT = re.compile(r"credit balance is too low", re.IGNORECASE)
"""How Anthropic says with a 400 that the account is empty."""

STREAM_OPTIONS = re.compile(r"stream_options|include_usage", re.IGNORECASE)
"""An upstream that refuses to count a stream."""
