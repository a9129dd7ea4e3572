"""What the catalogue lists of a provider, and what it keeps out."""

from proxy.ledger.catalogue import listed, title


def models(*provider: str) -> set[str]:
    return {sold.model for sold in listed(*provider)}


def test_a_vendor_is_known_by_name() -> None:
    found = models("anthropic", "http://127.0.0.1:1", "anthropic")
    assert {"claude-sonnet-4-5", "claude-haiku-4-5"} <= found
    assert all(model.startswith("claude") for model in found)


def test_a_vendor_is_known_by_its_url() -> None:
    found = models("mine", "https://api.openai.com/v1", "openai")
    assert {"gpt-4o", "gpt-4o-mini", "o3-mini"} <= found


def test_what_does_not_chat_is_left_out() -> None:
    found = models("openai", "https://api.openai.com/v1", "openai")
    others = {
        "text-embedding-3-small",
        "whisper-1",
        "tts-1",
        "gpt-image-1",
        "gpt-4o-realtime-preview",
    }
    assert not others & found
    assert not any(model.startswith("ft:") for model in found)


def test_what_is_called_old_is_left_out() -> None:
    found = models("google", "", "gemini")
    assert "gemini-2.5-flash" in found
    assert "gemini-2.0-flash" not in found


def test_claude_is_not_in_googles_other_api() -> None:
    assert not any(model.startswith("claude") for model in models("google", "", "gemini"))


def test_nobody_knows_it() -> None:
    assert listed("up", "http://127.0.0.1:1", "openai") == []
    assert title("up", "http://127.0.0.1:1", "m") == "m"


def test_a_title() -> None:
    assert title("anthropic", "", "claude-haiku-4-5") == "Claude Haiku 4.5"
    assert title("anthropic", "", "no-such-model") == "no-such-model"
