"""Headers: the credential in its provider's own place, and nothing of another's."""

import pytest

from adapters.base import Auth
from adapters.headers import headers_for
from tests.adapters.asks import ask, target


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        (Auth.BEARER, "authorization", "Bearer sk-up"),
        (Auth.API_KEY, "api-key", "sk-up"),
        (Auth.X_API_KEY, "x-api-key", "sk-up"),
        (Auth.GOOGLE, "x-goog-api-key", "sk-up"),
    ],
)
def test_a_key_goes_in_one_header(auth: Auth, name: str, value: str) -> None:
    headers = headers_for(ask(), target(auth=auth))
    assert headers[name] == value
    assert [v for v in headers.values() if "sk-up" in v] == [value]


def test_what_is_signed_bears_no_key() -> None:
    assert not any("sk-up" in v for v in headers_for(ask(), target(auth=Auth.SIGV4)).values())


def test_a_clients_header_reaches_its_own_dialect_only() -> None:
    asked = ask()._replace(headers=(("openai-beta", "a"), ("anthropic-beta", "b")))
    assert "anthropic-beta" not in headers_for(asked, target())
    assert headers_for(asked, target())["openai-beta"] == "a"
    ours = headers_for(asked, target(dialect="anthropic"))
    assert (ours["anthropic-beta"], "openai-beta" in ours) == ("b", False)


def test_the_operators_headers_win() -> None:
    headers = headers_for(ask(stream=True), target(headers=(("accept", "x"), ("x-org", "o"))))
    assert (headers["accept"], headers["x-org"]) == ("x", "o")
    assert headers_for(ask(stream=True), target())["accept"] == "text/event-stream"
