"""`turnout users`, from making to switching off."""

import asyncio
import getpass
import sys
from pathlib import Path

import orjson
import pytest

from proxy.__main__ import main
from proxy.commands.context import opened
from proxy.passwords import Passwords
from proxy.users import UserStore


async def _fits(email: str, password: str) -> bool:
    async with opened(None) as context:
        store = UserStore(context.engine)
        await store.refresh()
        user = store.by_email(email)
    assert user is not None
    passwords = Passwords()
    checked = await passwords.verify(password, user.password_hash)
    passwords.close()
    return checked.is_right


def test_a_users_life(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["users", "create", "--email", "Ann@corp.test", "--role", "admin", "--name", "Ann"]
    assert main([*given, "--json"]) == 0
    made = orjson.loads(capsys.readouterr().out)
    assert set(made) == {
        "id", "email", "name", "role", "is_active", "limits", "external_id", "created_at",
        "password",
    }  # fmt: skip
    assert (made["email"], made["role"], made["name"]) == ("ann@corp.test", "admin", "Ann")
    assert len(made["password"]) == 22
    assert asyncio.run(_fits("ann@corp.test", made["password"]))
    assert main([*given, "--json"]) == 1
    assert "already" in capsys.readouterr().err
    assert main(["users", "list", "--json"]) == 0
    listed = capsys.readouterr().out
    assert made["password"] not in listed
    assert "argon2" not in listed
    assert [user["id"] for user in orjson.loads(listed)] == [made["id"]]
    assert main(["users", "disable", made["id"]]) == 0
    assert capsys.readouterr().out == "ann@corp.test is switched off\n"
    assert main(["users", "list"]) == 0
    assert " off" in capsys.readouterr().out
    assert main(["users", "disable", "user_none"]) == 1
    assert "user_none" in capsys.readouterr().err


def test_a_password_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse battery\nno more\n")
    given = ["users", "create", "--email", "a@b", "--password-file", str(file)]
    assert main([*given, "--json"]) == 0
    said = capsys.readouterr().out
    assert "password" not in orjson.loads(said)
    assert "correct horse" not in said
    assert asyncio.run(_fits("a@b", "correct horse battery"))
    file.write_text("short")
    assert main([*given[:3], "c@d", *given[4:]]) == 1
    said = capsys.readouterr().err
    assert "8 to 1024" in said
    assert "short" not in said
    assert main(["users", "create", "--email", "a@b", "--password-file", "none"]) == 1


def test_a_password_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = ["correct horse", "correct horse", "correct horse", "another"]
    monkeypatch.setattr(getpass, "getpass", lambda _: answers.pop(0))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert main(["users", "create", "--email", "a@b"]) == 0
    assert capsys.readouterr().out.startswith("user_")
    assert main(["users", "create", "--email", "c@d"]) == 1
    assert "differ" in capsys.readouterr().err
    assert asyncio.run(_fits("a@b", "correct horse"))


def test_nobody_to_ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    assert main(["users", "create", "--email", "a@b"]) == 1
    assert "--password-file" in capsys.readouterr().err


def test_no_email(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["users", "create", "--email", "ann", "--json"]) == 1
    assert "email" in capsys.readouterr().err
