"""Who calls: by which header, and what is refused."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from proxy.auth import Authenticator
from proxy.errors import Unauthenticated
from proxy.keys import KeyStore
from proxy.storage.engine import open_database
from proxy.types import OwnCache, Role

MASTER = "sk-master-secret"
LOCAL = {b"host": b"127.0.0.1:8000"}


@pytest.fixture
async def keys(tmp_path: Path) -> AsyncIterator[KeyStore]:
    engine = await open_database("sqlite:///t.db", tmp_path)
    yield KeyStore(engine, b"k" * 32)
    await engine.dispose()


def authenticator(keys: KeyStore, anonymous: bool = False) -> Authenticator:
    return Authenticator(
        keys, SecretStr(MASTER), [SecretStr("svc-one"), SecretStr("svc-two")], anonymous
    )


def bearer(token: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + token.encode()}


async def test_each_credential_by_its_own_header(keys: KeyStore) -> None:
    auth = authenticator(keys)
    made = await keys.create(name="n", models=("m",))
    assert (await auth.identify(bearer(MASTER))).role is Role.ADMIN
    assert (await auth.identify({b"x-service-key": b"svc-two"})).role is Role.SERVICE
    for headers in (bearer(made.secret), {b"x-api-key": made.secret.encode()}):
        principal = await auth.identify(headers)
        assert (principal.role, principal.key_id, principal.models) == (Role.KEY, made.id, ("m",))


async def test_a_key_brings_what_it_says_of_the_cache(keys: KeyStore) -> None:
    made = await keys.create(cache=OwnCache(semantic=True))
    principal = await authenticator(keys).identify(bearer(made.secret))
    assert principal.cache == OwnCache(None, True)


async def test_the_first_of_several_counts(keys: KeyStore) -> None:
    with pytest.raises(Unauthenticated):
        await authenticator(keys).identify(bearer("wrong") | {b"x-service-key": b"svc-one"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"authorization": b""},
        {b"authorization": b"Bearer "},
        {b"authorization": b"Bearer wrong-secret"},
        {b"authorization": b"Basic " + MASTER.encode()},
        {b"authorization": MASTER.encode()},
        {b"authorization": b"Bearer \xff\xfe"},
        {b"x-api-key": b"svc-one"},
        {b"x-service-key": MASTER.encode()},
        {b"x-service-key": b""},
    ],
)
async def test_everything_else_is_refused(keys: KeyStore, headers: dict[bytes, bytes]) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await authenticator(keys).identify(headers)
    assert "secret" not in caught.value.message


class TestAnonymous:
    async def test_without_a_known_key(self, keys: KeyStore) -> None:
        auth = authenticator(keys, anonymous=True)
        for headers in (
            LOCAL,
            LOCAL | bearer("My API Key"),
            {b"host": b"localhost"},
            {b"host": b"[::1]:1"},
        ):
            assert (await auth.identify(headers)).role is Role.ANONYMOUS

    async def test_a_known_key_keeps_its_own_rights(self, keys: KeyStore) -> None:
        assert (await authenticator(keys, True).identify(LOCAL | bearer(MASTER))).role is Role.ADMIN

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {b"host": b"evil.test"},
            {b"host": b"127.0.0.1.evil.test"},
            LOCAL | {b"origin": b"https://evil.test"},
            LOCAL | {b"origin": b"null"},
        ],
    )
    async def test_a_page_of_somebody_elses_is_not(
        self, keys: KeyStore, headers: dict[bytes, bytes]
    ) -> None:
        with pytest.raises(Unauthenticated):
            await authenticator(keys, anonymous=True).identify(headers)

    async def test_a_page_on_this_machine_is(self, keys: KeyStore) -> None:
        headers = LOCAL | {b"origin": b"http://localhost:3000"}
        assert (await authenticator(keys, True).identify(headers)).role is Role.ANONYMOUS
