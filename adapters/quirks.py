"""What differs between vendors of one dialect, as data."""

import re

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

STREAM_OPTIONS = re.compile(r"stream_options|include_usage", re.IGNORECASE)
"""An upstream that refuses to count a stream."""
