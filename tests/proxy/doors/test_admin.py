"""What a request for a key may say; the routes are tested over sockets in tests/e2e."""

import time

import pytest

from proxy.allowance import own_limits
from proxy.doors.admin import _CHANGEABLE, _FIELDS, _key, _wanted
from proxy.errors import InvalidRequest
from proxy.keys import KeyRow
from proxy.types import OwnCache


def test_a_wanted_key() -> None:
    body = {
        "name": "n",
        "models": ["a"],
        "expires": "1h",
        "user_id": "u",
        "limits": {"rpm": 5, "tpm": None},
        "tags": ["x", "y"],
        "cache": {"semantic": False},
    }
    wanted = _wanted(body, _FIELDS)
    expires_at = wanted.pop("expires_at")
    assert abs(expires_at / 1000 - time.time() - 3600) < 5
    assert wanted == {
        "name": "n",
        "models": ("a",),
        "user_id": "u",
        "limits": own_limits({"rpm": 5, "tpm": None}),
        "tags": ("x", "y"),
        "cache": OwnCache(None, False),
    }
    assert _wanted({}, _FIELDS) == {}


def test_null_is_none() -> None:
    body = dict.fromkeys(("name", "models", "expires", "limits", "tags", "cache"))
    assert _wanted(body, _CHANGEABLE) == {
        "name": None,
        "models": None,
        "expires_at": None,
        "limits": None,
        "tags": (),
        "cache": None,
    }


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"x": 1}, "x"),
        ({"name": 1}, "name"),
        ({"models": "a"}, "models"),
        ({"models": [1]}, "models"),
        ({"expires": "?"}, "expires"),
        ({"tags": "a"}, "tags"),
        ({"tags": [1]}, "tags"),
        ({"cache": True}, "cache"),
        ({"cache": {"enabled": "yes"}}, "cache.enabled"),
        ({"cache": {"ttl": 1}}, "cache.ttl"),
        ({"limits": 5}, "limits"),
        ({"limits": {"rpm": "5"}}, "limits.rpm"),
        ({"limits": {"budget": {"amount": -1, "per": "day"}}}, "limits.budget"),
        ({"limits": {"budget": {"amount": 1, "per": "year"}}}, "limits.budget.per"),
    ],
)
def test_what_is_at_fault_is_named(body: dict[str, object], param: str) -> None:
    for known in (_FIELDS, _CHANGEABLE):
        with pytest.raises(InvalidRequest) as caught:
            _wanted(body, known)
        assert caught.value.param == param


def test_an_owner_does_not_change() -> None:
    with pytest.raises(InvalidRequest) as caught:
        _wanted({"user_id": "u"}, _CHANGEABLE)
    assert caught.value.param == "user_id"


def test_a_key_as_it_is_shown() -> None:
    own = own_limits({"rpm": 5, "budget": 2})
    row = KeyRow("key_1", "n", "d", ("a",), "u", 1, 2, 3, None, own, ("x",), OwnCache(True))
    assert _key(row) == {
        "id": "key_1",
        "name": "n",
        "models": ["a"],
        "user_id": "u",
        "created_at": 1,
        "expires_at": 3,
        "revoked_at": None,
        "limits": {"rpm": 5, "budget": {"amount": 2.0, "per": "month"}},
        "tags": ["x"],
        "cache": {"enabled": True, "semantic": None},
    }
