"""Providers and overrides that operators make: what is stored, what becomes of a configuration."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.config import Config, load
from proxy.errors import CredentialUnavailable, DatabaseUnavailable
from proxy.registry import (
    OverrideStore,
    ProviderRow,
    ProviderSpec,
    ProviderStore,
    usual_dialect,
    usual_url,
)
from proxy.storage import schema
from proxy.storage.mirror import Taken
from proxy.vault import Vault, rotate
from tests.servers import database, engine

__all__ = ["database", "engine"]

KEY = SecretStr("sk-canary-0123456789abcdef")
SEALING = SecretStr("an encryption key of the tests")
ACME = ProviderSpec("acme", "Acme", ("m1", "m2"), base_url="https://llm.acme.example/v1")


async def store(engine: AsyncEngine) -> ProviderStore:
    return ProviderStore(engine, await Vault.open(engine, SEALING))


async def stored(engine: AsyncEngine) -> list[dict[str, Any]]:
    async with engine.connect() as connection:
        return [
            dict(row) for row in (await connection.execute(select(schema.providers))).mappings()
        ]


def config_of(folder: Path, text: str) -> Config:
    path = folder / "config.yaml"
    path.write_text(text)
    return load(path, {})


async def test_a_provider_comes_changes_and_goes(engine: AsyncEngine) -> None:
    made = await store(engine)
    told: list[list[str]] = []
    made.on_change = lambda: told.append([row.spec.display_name for row in made.list()])
    row = await made.create(ACME, KEY)
    assert (row.spec, row.hint) == (ACME, "sk-…cdef")
    assert made.get(row.id) == made.by_name("acme") == row
    assert (made.display_name("acme"), made.display_name("nobody")) == ("Acme", "nobody")
    changed = await made.change(row, ACME._replace(display_name="Ajax", rate_limit_rpm=None))
    assert changed is not None
    assert (changed.spec.display_name, changed.spec.rate_limit_rpm) == ("Ajax", None)
    assert (changed.sealed, changed.created_at) == (row.sealed, row.created_at)
    assert changed.updated_at >= row.updated_at
    assert await made.remove(row.id)
    assert not await made.remove(row.id)
    assert await made.change(row, ACME) is None
    assert (made.list(), made.get(row.id), made.by_name("acme")) == ([], None, None)
    assert told == [["Acme"], ["Ajax"], []]


async def test_the_key_is_nowhere_in_the_clear_and_goes_with_its_provider(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    made = await store(engine)
    row = await made.create(ACME, KEY)
    assert "canary" not in repr(row)
    assert b"canary" not in row.sealed
    assert row.sealed.hex() not in repr(row)
    await made.remove(row.id)
    left = await stored(engine)
    assert [(each["sealed"], each["hint"]) for each in left] == [(b"", "")]
    assert b"canary" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


async def test_names_are_taken_once(engine: AsyncEngine) -> None:
    here, there = await store(engine), await store(engine)
    row = await here.create(ACME, KEY)
    with pytest.raises(Taken):
        await there.create(ACME, KEY)
    other = await there.create(ACME._replace(name="ajax"), KEY)
    with pytest.raises(Taken):
        await there.change(other, other.spec._replace(name="acme"))
    await here.remove(row.id)
    assert (await there.create(ACME, KEY)).id != row.id


async def test_only_what_changes_is_written(engine: AsyncEngine) -> None:
    """Two who change different fields of what both read don't undo each other's."""
    here, there = await store(engine), await store(engine)
    row = await here.create(ACME, KEY)
    await there.start()
    try:
        await here.change(row, ACME._replace(priority=20))
        await there.change(
            row, ACME._replace(display_name="Ajax"), SecretStr("sk-another-one-1234")
        )
        seen = there.get(row.id)
        assert seen is not None
        assert (seen.spec.priority, seen.spec.display_name) == (20, "Ajax")
        await here.refresh()
        key = here.entries()["acme"].api_key
        assert key is not None
        assert key.get_secret_value() == "sk-another-one-1234"
    finally:
        await there.stop()


async def test_another_process_is_followed(engine: AsyncEngine) -> None:
    here, there = await store(engine), await store(engine)
    await here.start()
    heard = asyncio.Event()
    here.on_change = heard.set
    try:
        await there.create(ACME, KEY)
        await asyncio.wait_for(heard.wait(), 5)
        assert [row.spec.name for row in here.list()] == ["acme"]
    finally:
        await here.stop()


async def test_an_entry_of_a_configuration(engine: AsyncEngine) -> None:
    made = await store(engine)
    await made.create(ACME, KEY)
    await made.create(ACME._replace(name="dark", is_enabled=False), KEY)
    entries = made.entries()
    acme = entries["acme"]
    assert acme.api_key == KEY
    assert (acme.dialect, acme.base_url) == ("openai", "https://llm.acme.example/v1")
    assert (acme.models, acme.priority, acme.rpm, acme.tpm) == (("m1", "m2"), 10, 60, 100_000)
    assert (acme.off, acme.public_only, acme.allow_private) == (None, True, False)
    dark = entries["dark"]
    assert (dark.off, dark.lacks_key, dark.public_only) == ("it is disabled", False, True)


@pytest.mark.parametrize(
    ("allowed", "trusts", "public_only"),
    [(False, False, True), (False, True, True), (True, False, True), (True, True, False)],
)
async def test_private_places_take_the_entrys_word_and_the_files(
    engine: AsyncEngine, allowed: bool, trusts: bool, public_only: bool
) -> None:
    made = await store(engine)
    await made.create(ACME._replace(allow_private=allowed), KEY)
    assert made.entries(trusts)["acme"].public_only is public_only
    config = Config().model_copy(update={"providers": {}})
    server = config.server.model_copy(update={"private_providers": trusts})
    merged = made.merged(config.model_copy(update={"server": server}))
    assert merged.providers["acme"].public_only is public_only


async def test_a_key_that_opens_for_another_row_only_is_none(engine: AsyncEngine) -> None:
    made = await store(engine)
    first = await made.create(ACME, KEY)
    second = await made.create(ACME._replace(name="ajax"), SecretStr("sk-of-ajax-0123456789"))
    async with engine.begin() as connection:
        table = schema.providers
        stolen = update(table).where(table.c.id == second.id).values(sealed=first.sealed)
        await connection.execute(stolen)
    entries = (await refreshed(engine)).entries()
    assert (entries["ajax"].off, entries["ajax"].api_key) == ("its key can't be read", None)
    assert (entries["acme"].off, entries["acme"].api_key) == (None, KEY)


async def test_a_key_of_another_vault_turns_one_provider_off(engine: AsyncEngine) -> None:
    made = await store(engine)
    row = await made.create(ACME, KEY)
    async with engine.begin() as connection:
        table = schema.providers
        gone = update(table).where(table.c.id == row.id).values(vault_id="gone")
        await connection.execute(gone)
    entry = (await refreshed(engine)).entries()["acme"]
    assert (entry.off, entry.lacks_key) == ("its key can't be read", False)


async def test_a_row_that_makes_no_sense_is_left_out(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    made = await store(engine)
    row = await made.create(ACME, KEY)
    await made.create(ACME._replace(name="ajax"), KEY)
    async with engine.begin() as connection:
        table = schema.providers
        await connection.execute(
            update(table).where(table.c.id == row.id).values(base_url="ftp://x")
        )
    assert set((await refreshed(engine)).entries()) == {"ajax"}
    assert "acme" in caplog.text
    assert "canary" not in caplog.text


async def test_what_a_rotation_seals_anew_is_read_by_who_starts_after_it(
    engine: AsyncEngine,
) -> None:
    made = await store(engine)
    row = await made.create(ACME, KEY)
    newer = SecretStr("another encryption key")
    await rotate(engine, SEALING, newer)
    with pytest.raises(CredentialUnavailable):
        await made.create(ACME._replace(name="ajax"), KEY)
    with pytest.raises(CredentialUnavailable):
        await made.change(row, ACME, KEY)
    again = ProviderStore(engine, await Vault.open(engine, newer))
    await again.start()
    await again.stop()
    assert again.entries()["acme"].api_key == KEY
    assert [row.spec.name for row in again.list()] == ["acme"]


async def test_the_file_comes_first(
    engine: AsyncEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = await store(engine)
    await made.create(ACME, KEY)
    await made.create(ACME._replace(name="ajax"), KEY)
    text = (
        "providers: {acme: {dialect: openai, base_url: 'http://127.0.0.1:1'}}\nmodels: {a: acme/x}"
    )
    config = config_of(tmp_path, text)
    merged = made.merged(config)
    assert list(merged.providers) == ["acme", "ajax"]
    assert merged.providers["acme"] == config.providers["acme"]
    assert merged.providers["acme"].public_only is False
    assert merged.providers["ajax"].public_only is True
    assert "acme" in caplog.text
    assert list(config.providers) == ["acme"], "the file's own is not touched"
    assert len(config.version) == 12
    assert merged.version == config.version
    assert merged.path == config.path == tmp_path / "config.yaml"
    assert merged.notes == config.notes
    assert merged.models == config.models


async def test_what_the_file_says_of_all_providers_is_said_of_these_too(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    made = await store(engine)
    await made.create(ACME._replace(is_enabled=False), KEY)
    entry = made.merged(config_of(tmp_path, "drop_params: true")).providers["acme"]
    assert (entry.drop_params, entry.off, entry.public_only) == (True, "it is disabled", True)


@pytest.mark.parametrize(
    ("name", "dialect", "url"),
    [
        ("acme", "openai", "https://api.openai.com/v1"),
        ("openai", "openai", "https://api.openai.com/v1"),
        ("groq", "openai", "https://api.groq.com/openai/v1"),
        ("anthropic", "anthropic", "https://api.anthropic.com/v1"),
        ("google", "gemini", "https://generativelanguage.googleapis.com/v1beta"),
        ("ollama", "ollama", "http://127.0.0.1:11434"),
        ("azure", "openai", None),
        ("bedrock", "openai", None),
    ],
)
def test_where_a_provider_is_that_says_nothing(name: str, dialect: str, url: str | None) -> None:
    assert usual_dialect(name) == dialect
    assert usual_url(name, dialect) == url
    assert ProviderSpec(name, name, ("m",), dialect).url == url


def test_a_dialect_that_is_said_says_where() -> None:
    assert usual_url("acme", "anthropic") == "https://api.anthropic.com/v1"
    assert usual_url("groq", "anthropic") == "https://api.anthropic.com/v1"
    assert usual_url("acme", "gemini") == "https://generativelanguage.googleapis.com/v1beta"
    assert ACME.url == "https://llm.acme.example/v1"


async def test_a_database_that_is_away_is_said_so(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, chosen = await store(engine), OverrideStore(engine)
    row = await made.create(ACME, KEY)

    def away(*_: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(type(engine), "begin", away)
    for work in (
        made.create(ACME._replace(name="ajax"), KEY),
        made.change(row, ACME._replace(priority=1)),
        made.remove(row.id),
        chosen.create("u", None, "acme", "m"),
        chosen.remove("x"),
    ):
        with pytest.raises(DatabaseUnavailable):
            await work
    assert made.list() == [row]


async def refreshed(engine: AsyncEngine) -> ProviderStore:
    made = await store(engine)
    await made.refresh()
    return made


def test_rows_are_values() -> None:
    row = ProviderRow("i", ACME, b"sealed-bytes", "v", "…", 1, 2)
    assert "sealed-bytes" not in repr(row)
    with pytest.raises(AttributeError):
        row.hint = "x"  # type: ignore[misc]


# Overrides.


async def test_overrides_come_and_go(engine: AsyncEngine) -> None:
    chosen = OverrideStore(engine)
    one = await chosen.create("ann", "search", "acme", "m1")
    two = await chosen.create("bob", None, "acme", "m2")
    assert chosen.list() == [one, two]
    assert (chosen.list("ann"), chosen.list("nobody")) == ([one], [])
    assert (one.service_name, two.service_name) == ("search", None)
    assert (two.user_id, two.provider_name, two.model_name) == ("bob", "acme", "m2")
    assert one.created_at == one.updated_at > 1_700_000_000_000
    assert await chosen.remove(one.id)
    assert not await chosen.remove(one.id)
    assert (chosen.list(), chosen.list("ann"), chosen.find("ann", "search")) == ([two], [], None)


async def test_which_override_holds(engine: AsyncEngine) -> None:
    chosen = OverrideStore(engine)
    assert chosen.find("ann", "search") is None
    await chosen.create("ann", None, "acme", "all-old")
    await asyncio.sleep(0.002)
    await chosen.create("ann", "search", "acme", "search-old")
    await asyncio.sleep(0.002)
    newest = await chosen.create("ann", "search", "acme", "search-new")
    await asyncio.sleep(0.002)
    await chosen.create("ann", None, "acme", "all-new")
    await chosen.create("bob", "search", "acme", "bobs")

    def model(user: str, service: str | None) -> str | None:
        found = chosen.find(user, service)
        return None if found is None else found.model_name

    assert model("ann", "search") == "search-new"
    assert model("ann", "chat") == model("ann", None) == "all-new"
    assert model("bob", "search") == "bobs"
    assert model("bob", None) is None, "one for a service says nothing of calls of none"
    assert model("bob", "chat") is None
    assert model("Ann", "search") is None
    await chosen.remove(newest.id)
    assert model("ann", "search") == "search-old"


async def test_overrides_of_another_process(engine: AsyncEngine) -> None:
    here, there = OverrideStore(engine), OverrideStore(engine)
    await here.start()
    try:
        assert here.find("ann") is None
        made = await there.create("ann", None, "acme", "m1")
        for _ in range(100):
            if here.find("ann") is not None:
                break
            await asyncio.sleep(0.05)
        assert here.find("ann") == made
    finally:
        await here.stop()
