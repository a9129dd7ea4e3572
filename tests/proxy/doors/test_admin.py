"""What a request for a new key may say; the routes are tested over sockets in tests/e2e."""

import time

import pytest

from proxy.doors.admin import _wanted
from proxy.errors import InvalidRequest


def test_a_wanted_key() -> None:
    wanted = _wanted({"name": "n", "models": ["a"], "expires": "1h", "user_id": "u"})
    assert (wanted["name"], wanted["models"], wanted["user_id"]) == ("n", ("a",), "u")
    assert abs(wanted["expires_at"] / 1000 - time.time() - 3600) < 5
    assert _wanted({}) == {"name": None, "models": None, "expires_at": None, "user_id": None}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"x": 1}, "x"),
        ({"models": "a"}, "models"),
        ({"models": [1]}, "models"),
        ({"expires": "?"}, "expires"),
    ],
)
def test_what_is_at_fault_is_named(body: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _wanted(body)
    assert caught.value.param == param
