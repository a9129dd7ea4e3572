"""`turnout keys`, from making to revoking."""

import orjson
import pytest

from proxy.__main__ import main


def test_a_keys_life(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["keys", "create", "--name", "n", "--models", "a, b/*", "--expires", "1d", "--json"]
    assert main(given) == 0
    made = orjson.loads(capsys.readouterr().out)
    assert set(made) == {
        "id",
        "key",
        "name",
        "models",
        "created_at",
        "expires_at",
        "limits",
        "cache",
    }
    assert made["models"] == ["a", "b/*"]
    assert made["expires_at"] - made["created_at"] >= 86_399_000
    assert main(["keys", "list", "--json"]) == 0
    listed = capsys.readouterr().out
    assert made["key"] not in listed
    assert orjson.loads(listed)[0]["state"] == "live"
    assert main(["keys", "revoke", made["id"]]) == 0
    assert main(["keys", "revoke", made["id"]]) == 1
    assert main(["keys", "list"]) == 0
    assert "revoked" in capsys.readouterr().out


def test_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create"]) == 0
    id_line, secret_line = capsys.readouterr().out.splitlines()
    assert id_line.startswith("key_")
    assert secret_line.startswith("sk-turnout-")


def test_a_bad_duration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "--expires", "soon"]) == 1
    assert "duration" in capsys.readouterr().err


def test_limits(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["keys", "create", "--rpm", "60", "--tpm", "9000", "--budget", "2.5", "--json"]
    assert main(given) == 0
    limits = {"rpm": 60, "tpm": 9000, "budget": {"amount": 2.5, "per": "month"}}
    assert orjson.loads(capsys.readouterr().out)["limits"] == limits
    assert main(["keys", "list", "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out)[0]["limits"] == limits


@pytest.mark.parametrize(
    ("said", "cache"),
    [
        ("on", {"enabled": True, "semantic": None}),
        ("off", {"enabled": False, "semantic": None}),
        ("exact", {"enabled": True, "semantic": False}),
        ("semantic", {"enabled": True, "semantic": True}),
        (None, None),
    ],
)
def test_the_cache(said: str | None, cache: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "--json", *(["--cache", said] if said else [])]) == 0
    assert orjson.loads(capsys.readouterr().out)["cache"] == cache
    assert main(["keys", "list", "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out)[0]["cache"] == cache


def test_a_limit_that_can_not_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "--budget", "0"]) == 1
    assert "'limits.budget'" in capsys.readouterr().err
