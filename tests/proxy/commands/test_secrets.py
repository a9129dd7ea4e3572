"""`turnout secrets`: another encryption key, wherever the old one is, however it is broken off."""

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from proxy.__main__ import main
from proxy.commands.context import Context, opened
from proxy.own_keys import OwnKeyStore
from proxy.storage.schema import user_keys
from proxy.vault import Vault, WrongEncryptionKey, rotate

CANARY = "sk-canary-0123456789wxyz"
URL = "https://api.openai.com/v1"
OLD, NEW = "old-key-9f3a7c2e", "new-key-51d08b66"

CONFIG = """
auth: {encryption_key: "${TURNOUT_ENCRYPTION_KEY}"}
providers: {up: {dialect: openai, base_url: "http://127.0.0.1:9", api_key: sk-up}}
"""


def inside(action: Callable[[Context], Awaitable[Any]]) -> Any:
    """What an action gives in the context that the commands have."""

    async def running() -> Any:
        async with opened(None) as context:
            return await action(context)

    return asyncio.run(running())


def save(*users: str) -> None:
    async def saving(context: Context) -> None:
        store = OwnKeyStore(context.engine, await context.vault())
        for user in users:
            await store.save(user, "openai", URL, SecretStr(CANARY))

    inside(saving)


def read(user: str) -> str:
    """A user's key, as a process that begins now opens it."""

    async def reading(context: Context) -> str:
        store = OwnKeyStore(context.engine, await context.vault())
        await store._mirror.refresh()
        own = store.of(user)
        assert own is not None
        return own.open("openai", URL).get_secret_value()

    text: str = inside(reading)
    return text


def spoil(user: str) -> None:
    async def spoiling(context: Context) -> None:
        this = user_keys.c.user_id == user
        async with context.engine.begin() as connection:
            sealed = (await connection.execute(select(user_keys.c.sealed).where(this))).scalar_one()
            flipped = bytes([sealed[0] ^ 1]) + sealed[1:]
            await connection.execute(update(user_keys).where(this).values(sealed=flipped))

    inside(spoiling)


def opens(key: str) -> bool:
    """Whether a key opens the vault."""

    async def opening(context: Context) -> bool:
        try:
            await Vault.open(context.engine, SecretStr(key))
        except WrongEncryptionKey:
            return False
        return True

    return bool(inside(opening))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The encryption key is in the environment, where the configuration looks for it."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    monkeypatch.setenv("TURNOUT_ENCRYPTION_KEY", OLD)


def test_a_made_key_replaces_the_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save("u1", "u2")
    assert main(["keys", "create"]) == 0
    virtual = capsys.readouterr().out.split()[1]
    before = (home / "encryption_key").read_text()
    assert main(["secrets", "rotate"]) == 0
    said = capsys.readouterr()
    after = (home / "encryption_key").read_text()
    assert "2 keys of users, 0 keys of providers" in said.out
    assert "restart every process" in said.out
    for secret in (before, after, CANARY):
        assert secret not in said.out + said.err
    assert after != before
    assert len(after) >= 43
    assert stat.S_IMODE((home / "encryption_key").stat().st_mode) == 0o600
    assert not [path for path in home.iterdir() if path.name.startswith("encryption_key.")]
    assert (opens(before), opens(after)) == (False, True)
    assert read("u1") == read("u2") == CANARY

    async def found(context: Context) -> bool:
        keys = await context.keys()
        return await keys.lookup(virtual) is not None

    assert inside(found)  # virtual keys stay valid


def test_a_given_key(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save("u1")
    monkeypatch.setenv("TURNOUT_NEW_ENCRYPTION_KEY", NEW)
    assert main(["secrets", "rotate"]) == 0
    assert (home / "encryption_key").read_text() == NEW
    assert NEW not in capsys.readouterr().out
    assert read("u1") == CANARY


@pytest.mark.usefixtures("configured")
def test_a_configured_key_and_a_file(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save("u1")
    given = tmp_path / "new"
    given.write_text(NEW + "\n")
    assert main(["secrets", "rotate", "--new-key-file", str(given)]) == 0
    out = capsys.readouterr().out
    assert "set auth.encryption_key to the new key" in out
    assert NEW not in out
    assert not list(home.glob("encryption_key*"))
    assert main(["secrets", "check"]) == 1  # the configuration has the old one still
    assert "auth.encryption_key does not open" in capsys.readouterr().err
    monkeypatch.setenv("TURNOUT_ENCRYPTION_KEY", NEW)
    assert main(["secrets", "check"]) == 0
    assert read("u1") == CANARY


@pytest.mark.usefixtures("configured")
def test_a_configured_key_and_a_made_one(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the only place where the new key is, so it is said."""
    save("u1")
    assert main(["secrets", "rotate"]) == 0
    made = home / "encryption_key.new"
    out = capsys.readouterr().out
    assert str(made) in out
    assert made.read_text() not in out
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    monkeypatch.setenv("TURNOUT_ENCRYPTION_KEY", made.read_text())
    assert read("u1") == CANARY
    assert main(["secrets", "rotate"]) == 1  # it would write over a key that is in use
    assert "encryption_key.new is there" in capsys.readouterr().err
    assert read("u1") == CANARY


def test_one_bad_row(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save("u1", "u2")
    assert main(["secrets", "check"]) == 0
    assert "can be read: 2 keys of users, 0 keys of providers" in capsys.readouterr().out
    spoil("u1")
    assert main(["secrets", "check"]) == 1
    said = capsys.readouterr()
    assert "1 keys of users" in said.out
    assert said.err.splitlines() == ["1 rows can't be read:", "  user_keys/u1/openai"]
    assert main(["secrets", "rotate"]) == 1
    said = capsys.readouterr()
    assert "sealed anew: 1 keys of users" in said.out
    assert "user_keys/u1/openai" in said.err
    assert read("u2") == CANARY


def test_a_broken_rotation_leaves_the_old_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends before the database has changed."""
    save("u1")
    before = (home / "encryption_key").read_text()

    async def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("proxy.commands.secrets.rotate", killed)
        with pytest.raises(KeyboardInterrupt):
            main(["secrets", "rotate"])
    assert (home / "encryption_key").read_text() == before
    assert opens(before)
    assert read("u1") == CANARY
    assert main(["secrets", "rotate"]) == 1  # what is left of the first is not overwritten
    (home / "encryption_key.new").unlink()
    assert main(["secrets", "rotate"]) == 0
    assert read("u1") == CANARY


def test_a_rotation_broken_off_after_the_database_changed(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The new key is on the disk, and the next command puts it in its place."""
    save("u1")
    before = (home / "encryption_key").read_text()

    async def killed(*given: Any) -> None:
        await rotate(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("proxy.commands.secrets.rotate", killed)
        with pytest.raises(KeyboardInterrupt):
            main(["secrets", "rotate"])
    assert (home / "encryption_key").read_text() == before
    assert not opens(before)
    assert main(["secrets", "check"]) == 0
    assert "broken off" in capsys.readouterr().err
    assert not (home / "encryption_key.new").exists()
    assert read("u1") == CANARY


def test_a_wrong_key_here(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another machine's home: nothing changes, nothing is left lying about."""
    save("u1")
    (home / "encryption_key").write_text("of another machine")
    for command in (["secrets", "rotate"], ["secrets", "check"], ["keys", "list"]):
        assert main(command) == 1
        assert "auth.encryption_key does not open" in capsys.readouterr().err
    assert not (home / "encryption_key.new").exists()
    assert (home / "encryption_key").read_text() == "of another machine"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("changeme", "everybody knows"),
        ("schlüssel", "plain ASCII"),
        ("a\nb", "plain ASCII"),
        ("", "is empty"),
        (" \n", "is empty"),
        (OLD, "is the old one"),
    ],
)
@pytest.mark.usefixtures("configured")
def test_new_keys_that_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    save("u1")
    given = tmp_path / "new"
    given.write_text(text)
    assert main(["secrets", "rotate", "--new-key-file", str(given)]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert not text.strip() or text not in err
    assert opens(OLD)


def test_two_new_keys(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TURNOUT_NEW_ENCRYPTION_KEY", NEW)
    assert main(["secrets", "rotate", "--new-key-file", os.devnull]) == 1
    assert "leave one out" in capsys.readouterr().err


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["secrets", "rotate", "--new-key-file", "nowhere"]) == 1
    assert "nowhere" in capsys.readouterr().err
