"""What a caller asks of Turnout itself, from headers and from the body's own fields."""

import pytest

from proxy.doors import controls
from proxy.errors import InvalidRequest
from proxy.types import Controls, Principal, Role


def test_nothing_asked() -> None:
    assert controls.read({b"host": b"x"}, {}) == Controls()


def test_headers() -> None:
    headers = {
        b"x-turnout-task": b"scoring",
        b"x-turnout-provider": b"up",
        b"x-turnout-fallback": b"off",
        b"x-turnout-timeout": b"30",
        b"x-turnout-user": "zoë".encode(),
        b"x-turnout-service": b"mailer",
        b"x-turnout-job": b"j1",
        b"x-turnout-metadata": b'{"team": "a"}',
    }
    assert controls.read(headers, {}) == Controls(
        "scoring", "up", False, 30.0, "zoë", "mailer", "j1", {"team": "a"}
    )


def test_the_body_means_the_same_and_a_header_wins() -> None:
    metadata = {"service_name": "s", "job_id": "j", "task": "t", "team": "a"}
    body = {"user": "u", "metadata": metadata}
    read = controls.read({b"x-turnout-job": b"other"}, body)
    assert (read.user, read.service, read.job, read.task) == ("u", "s", "other", "t")
    assert read.metadata == {"team": "a"}
    assert metadata["task"] == "t", "the body is not changed"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-turnout-timeout", b"0"),
        ("x-turnout-timeout", b"-1"),
        ("x-turnout-timeout", b"soon"),
        ("x-turnout-timeout", b"nan"),
        ("x-turnout-timeout", b"99999"),
        ("x-turnout-fallback", b"perhaps"),
        ("x-turnout-metadata", b"{"),
        ("x-turnout-metadata", b"[1]"),
        ("metadata", b'{"a": "' + b"x" * 9000 + b'"}'),
    ],
)
def test_what_is_refused_is_named(name: str, value: bytes) -> None:
    header = b"x-turnout-metadata" if name == "metadata" else name.encode()
    with pytest.raises(InvalidRequest) as caught:
        controls.read({header: value}, {})
    assert caught.value.param == name


def test_control_characters() -> None:
    with pytest.raises(InvalidRequest) as caught:
        controls.read({b"x-turnout-user": b"a\x00"}, {})
    assert caught.value.code == "invalid_header"
    controls.check_forwardable("gpt-4o é", "model")


ACCOUNT = "user_" + "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("principal", "label", "user"),
    [
        (Principal(Role.KEY, "key_1"), "customer-7", "customer-7"),
        (Principal(Role.KEY, "key_1"), ACCOUNT, None),
        (Principal(Role.ANONYMOUS), ACCOUNT, None),
        (Principal(Role.KEY, "key_1", "user_own"), ACCOUNT, "user_own"),
        (Principal(Role.USER, user_id="user_own"), "customer-7", "user_own"),
        (Principal(Role.SERVICE), ACCOUNT, ACCOUNT),
        (Principal(Role.ADMIN), ACCOUNT, ACCOUNT),
        (Principal(Role.KEY, "key_1"), None, None),
    ],
)
def test_nobody_puts_a_call_on_an_account_that_is_not_theirs(
    principal: Principal, label: str | None, user: str | None
) -> None:
    assert controls.user_of(principal, Controls(user=label)) == user
