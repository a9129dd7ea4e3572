"""The data of vendors' differences holds together."""

import pytest

from adapters import quirks


def test_every_synonym_is_a_reason_of_openais() -> None:
    assert set(quirks.FINISH_SYNONYMS.values()) <= quirks.FINISH_REASONS
    assert not quirks.FINISH_SYNONYMS.keys() & quirks.FINISH_REASONS


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "request (9031 tokens) exceeds the available context size (2048 tokens)",
        "Too many input tokens",
    ],
)
def test_context_length_is_recognised(message: str) -> None:
    assert quirks.CONTEXT_LENGTH.search(message)


@pytest.mark.parametrize(
    "message", ["You exceeded your current quota, please check your plan", "Insufficient balance"]
)
def test_quota_is_recognised(message: str) -> None:
    assert quirks.QUOTA.search(message)
    assert not quirks.QUOTA.search("Rate limit reached for requests per min")
