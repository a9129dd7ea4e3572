"""Who calls: by which header, and what is refused."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from proxy.auth import Authenticator
from proxy.errors import Forbidden, Unauthenticated
from proxy.keys import KeyStore
from proxy.storage.engine import open_database
from proxy.tokens import RevokedTokens, Tokens
from proxy.types import OwnCache, Principal, Role
from proxy.users import User, UserStore

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


class Own:
    """A user's own keys of providers."""

    providers = frozenset({"openai"})

    def open(self, provider: str, base_url: str) -> SecretStr:
        return SecretStr("sk-own")


OWN = Own()


@dataclass
class House:
    """Accounts, and an authenticator that knows them."""

    auth: Authenticator
    keys: KeyStore
    users: UserStore
    tokens: Tokens
    revoked: RevokedTokens


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    engine = await open_database("sqlite:///t.db", tmp_path)
    keys, users, revoked = KeyStore(engine, b"k" * 32), UserStore(engine), RevokedTokens(engine)
    ann = await users.create("ann@x")
    tokens = Tokens(SecretStr("jwt-secret-of-forty-characters-012345678"), 3600)
    auth = Authenticator(
        keys,
        SecretStr(MASTER),
        [SecretStr("svc-one")],
        users=users,
        tokens=tokens,
        revoked=revoked,
        own=lambda who: OWN if who == ann.id else None,
    )
    yield House(auth, keys, users, tokens, revoked)
    await engine.dispose()


def ann_of(house: House) -> User:
    user = house.users.by_email("ann@x")
    assert user is not None
    return user


async def refused(house: House, headers: dict[bytes, bytes]) -> bool:
    try:
        await house.auth.identify(headers)
    except Unauthenticated:
        return True
    return False


class TestUsers:
    async def test_a_token_is_its_user(self, house: House) -> None:
        user = ann_of(house)
        token = house.tokens.issue(user).text
        assert await house.auth.identify(bearer(token)) == Principal(
            Role.USER, user_id=user.id, own=OWN
        )
        await house.users.change(user.id, {"role": Role.ADMIN})
        assert await refused(house, bearer(token))
        token = house.tokens.issue(ann_of(house)).text
        principal = await house.auth.identify(bearer(token))
        assert (principal.role, principal.user_id, principal.own) == (Role.ADMIN, user.id, OWN)

    async def test_the_master_key_is_nobody_in_particular(self, house: House) -> None:
        assert await house.auth.identify(bearer(MASTER)) == Principal(Role.ADMIN)

    @pytest.mark.parametrize(
        "ending",
        [
            lambda house, who: house.users.change(who, {"is_active": False}),
            lambda house, who: house.users.change(who, {"password_hash": "$new"}),
            lambda house, who: house.users.change(who, {"role": Role.ADMIN}),
            lambda house, who: house.users.end_tokens(who),
            lambda house, who: house.users.remove(who),
        ],
    )
    async def test_what_ends_a_token(
        self, house: House, ending: Callable[[House, str], Awaitable[object]]
    ) -> None:
        user = ann_of(house)
        token = house.tokens.issue(user).text
        assert not await refused(house, bearer(token))
        await ending(house, user.id)
        assert await refused(house, bearer(token))
        assert await refused(house, bearer(house.tokens.issue(user).text))  # of who saw it before

    async def test_one_that_was_revoked(self, house: House) -> None:
        token, other = (house.tokens.issue(ann_of(house)) for _ in range(2))
        await house.auth.identify(bearer(token.text))
        await house.revoked.revoke(token.id, token.expires_at)
        assert await refused(house, bearer(token.text))
        assert not await refused(house, bearer(other.text))

    async def test_a_user_another_process_has_just_made(self, house: House) -> None:
        made = await UserStore(house.users._engine).create("new@x")
        principal = await house.auth.identify(bearer(house.tokens.issue(made).text))
        assert principal.user_id == made.id

    async def test_forgeries(self, house: House) -> None:
        claims = {"sub": ann_of(house).id, "jti": "j", "exp": 9_999_999_999, "iat": 1, "after": 99}
        claims |= {"iss": "turnout", "aud": "turnout"}
        for forged in (
            jwt.encode(claims, None, "none"),
            jwt.encode(claims, "x" * 40, "HS256"),
            jwt.encode(claims, MASTER * 2, "HS256"),
            "eyJ..",
            "eyJhbGciOiJIUzI1NiJ9..",
            house.tokens.issue(ann_of(house)).text + "x",
        ):
            assert await refused(house, bearer(forged)), forged

    async def test_the_data_plane_takes_no_cookie(self, house: House) -> None:
        token = house.tokens.issue(ann_of(house)).text
        assert await refused(house, {b"cookie": b"session=" + token.encode()})


class TestKeysOfUsers:
    async def test_they_have_what_the_user_has(self, house: House) -> None:
        user = ann_of(house)
        made = await house.keys.create(user_id=user.id)
        principal = await house.auth.identify(bearer(made.secret))
        assert (principal.role, principal.user_id) == (Role.KEY, user.id)
        assert principal.own is OWN

    async def test_they_end_with_the_account(self, house: House) -> None:
        user = ann_of(house)
        made = await house.keys.create(user_id=user.id)
        await house.users.change(user.id, {"is_active": False})
        assert await refused(house, bearer(made.secret))
        await house.users.change(user.id, {"is_active": True})
        assert not await refused(house, bearer(made.secret))
        await house.users.remove(user.id)
        assert await refused(house, bearer(made.secret))

    async def test_a_label_is_nobodys(self, house: House) -> None:
        for label in ("customer-7", "ann@x", "user_none"):
            made = await house.keys.create(user_id=label)
            principal = await house.auth.identify(bearer(made.secret))
            assert (principal.user_id, principal.own) == (label, None)


class TestCookie:
    def headers(self, house: House, **more: str) -> dict[bytes, bytes]:
        token = house.tokens.issue(ann_of(house)).text
        given = {"cookie": f"a=b; session={token}; c=d", "host": "gate.test:8000"} | more
        return {name.replace("_", "-").encode(): value.encode() for name, value in given.items()}

    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PATCH", "DELETE"])
    async def test_it_is_its_user(self, house: House, method: str) -> None:
        principal = await house.auth.identify_at(method, self.headers(house))
        assert (principal.role, principal.user_id) == (Role.USER, ann_of(house).id)

    @pytest.mark.parametrize(
        ("said", "passes"),
        [
            ({}, True),
            ({"sec_fetch_site": "same-origin"}, True),
            ({"sec_fetch_site": "none"}, True),
            ({"sec_fetch_site": "same-site"}, False),
            ({"sec_fetch_site": "cross-site"}, False),
            ({"sec_fetch_site": ""}, False),
            ({"origin": "http://gate.test:8000"}, True),
            ({"origin": "https://GATE.test:8000"}, True),
            ({"origin": "http://gate.test"}, False),
            ({"origin": "http://gate.test:8000.evil.test"}, False),
            ({"origin": "http://evil.test", "sec_fetch_site": "same-origin"}, False),
            ({"origin": "http://gate.test:8000", "sec_fetch_site": "cross-site"}, False),
            ({"origin": "null"}, False),
            ({"origin": ""}, False),
            ({"origin": "file://gate.test:8000"}, False),
            ({"origin": "http://x@gate.test:8000"}, False),
            ({"origin": "http://", "host": ""}, False),
        ],
    )
    async def test_a_change_by_a_page_elsewhere(
        self, house: House, said: dict[str, str], passes: bool
    ) -> None:
        headers = self.headers(house, **said)
        await house.auth.identify_at("GET", headers)
        for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "get"):
            if passes:
                await house.auth.identify_at(method, headers)
                continue
            with pytest.raises(Forbidden) as caught:
                await house.auth.identify_at(method, headers)
            assert caught.value.code == "csrf"

    async def test_a_bearer_needs_no_such_thing(self, house: House) -> None:
        token = house.tokens.issue(ann_of(house)).text
        evil = {b"origin": b"https://evil.test", b"sec-fetch-site": b"cross-site"}
        assert (await house.auth.identify_at("POST", bearer(token) | evil)).role is Role.USER

    @pytest.mark.parametrize(
        "before",
        [
            {b"authorization": b"Bearer wrong"},
            {b"authorization": b""},
            {b"x-api-key": b"wrong"},
            {b"x-service-key": b"wrong"},
        ],
    )
    async def test_it_comes_last(self, house: House, before: dict[bytes, bytes]) -> None:
        with pytest.raises(Unauthenticated):
            await house.auth.identify_at("GET", self.headers(house) | before)
        known = await house.auth.identify_at("GET", self.headers(house) | bearer(MASTER))
        assert known == Principal(Role.ADMIN)

    @pytest.mark.parametrize(
        "cookie", ["", "session=", "session", "sessions={}", "session={}; session=eyJ.a.b", "x={}"]
    )
    async def test_cookies_that_are_none(self, house: House, cookie: str) -> None:
        token = house.tokens.issue(ann_of(house)).text
        with pytest.raises(Unauthenticated):
            await house.auth.identify_at("GET", {b"cookie": cookie.format(token).encode()})

    async def test_two_sessions_are_none(self, house: House) -> None:
        one, other = (house.tokens.issue(ann_of(house)).text for _ in range(2))
        twice = f"session={one}; session={other}"
        with pytest.raises(Unauthenticated):
            await house.auth.identify_at("GET", {b"cookie": twice.encode()})

    async def test_neither_a_key_nor_the_master_key_is_one(self, house: House) -> None:
        made = await house.keys.create()
        for secret in (made.secret, MASTER, "svc-one"):
            with pytest.raises(Unauthenticated):
                await house.auth.identify_at("GET", {b"cookie": f"session={secret}".encode()})

    async def test_the_session_of_a_request(self, house: House) -> None:
        session = await house.auth.session("GET", self.headers(house))
        assert session is not None
        assert session.user == ann_of(house)
        token = house.tokens.issue(ann_of(house))
        session = await house.auth.session("POST", bearer(token.text))
        assert session is not None
        assert session.claims.id == token.id
        assert await house.auth.session("GET", self.headers(house) | bearer(MASTER)) is None
        assert await house.auth.session("GET", {}) is None
        with pytest.raises(Forbidden):
            await house.auth.session("POST", self.headers(house, origin="https://evil.test"))


HEADERS = st.dictionaries(
    st.sampled_from(
        [
            b"authorization",
            b"x-api-key",
            b"x-service-key",
            b"cookie",
            b"origin",
            b"host",
            b"sec-fetch-site",
        ]
    ),
    st.one_of(
        st.binary(max_size=80),
        st.binary(max_size=40).map(lambda raw: b"Bearer eyJ" + raw + b".a.b"),
        st.binary(max_size=40).map(lambda raw: b"session=eyJ" + raw + b".a.b; session"),
        st.binary(max_size=40).map(
            lambda raw: b"session=eyJ" + base64.urlsafe_b64encode(raw) + b".e30.b"
        ),
    ),
)


async def test_garbage_opens_nothing_and_breaks_nothing(house: House) -> None:
    async def tried(method: str, headers: dict[bytes, bytes]) -> None:
        with pytest.raises(Unauthenticated):
            await house.auth.identify_at(method, headers)

    loop = asyncio.get_running_loop()

    @settings(max_examples=500)
    @given(st.sampled_from(["GET", "POST"]), HEADERS)
    def each(method: str, headers: dict[bytes, bytes]) -> None:
        asyncio.run_coroutine_threadsafe(tried(method, headers), loop).result(30)

    await asyncio.to_thread(each)


class TestMasterSession:
    """A token that stands for the master key."""

    async def test_it_is_the_admin_without_an_account(self, house: House) -> None:
        token = house.auth.issue_master().text
        assert await house.auth.identify(bearer(token)) == Principal(Role.ADMIN)
        assert await house.auth.identify({b"x-api-key": token.encode()}) == Principal(Role.ADMIN)
        cookie = {b"cookie": b"session=" + token.encode(), b"host": b"gate.test"}
        assert await house.auth.identify_at("POST", cookie) == Principal(Role.ADMIN)
        assert await refused(house, cookie)  # the data plane takes no cookie
        with pytest.raises(Forbidden):
            await house.auth.identify_at("POST", cookie | {b"origin": b"https://evil.test"})

    async def test_the_master_key_alone_is_right(self, house: House) -> None:
        assert house.auth.is_master(MASTER)
        for key in ("", MASTER[:-1], MASTER + "x", "svc-one", "\ud800", "é"):
            assert not house.auth.is_master(key)

    def another(self, house: House, master: str, secret: str | None = None) -> Authenticator:
        """Over the same stores, with another master key or secret of tokens."""
        tokens = house.tokens if secret is None else Tokens(SecretStr(secret), 3600)
        return Authenticator(
            house.keys,
            SecretStr(master),
            users=house.users,
            tokens=tokens,
            revoked=house.revoked,
        )

    async def test_another_master_key_ends_it(self, house: House) -> None:
        token = house.auth.issue_master().text
        await house.auth.identify(bearer(token))  # its signature is remembered
        changed = self.another(house, "sk-master-another")
        with pytest.raises(Unauthenticated):
            await changed.identify(bearer(token))
        assert await refused(house, bearer(changed.issue_master().text))
        assert not await refused(house, bearer(token))

    async def test_another_secret_ends_it(self, house: House) -> None:
        token = self.another(
            house, MASTER, "another-secret-of-forty-characters-01234"
        ).issue_master()
        assert await refused(house, bearer(token.text))

    async def test_one_that_was_revoked(self, house: House) -> None:
        token, other = house.auth.issue_master(), house.auth.issue_master()
        session = await house.auth.session("GET", bearer(token.text))
        assert session is not None
        assert (session.user, session.claims.id) == (None, token.id)
        await house.revoked.revoke(token.id, token.expires_at)
        assert await refused(house, bearer(token.text))
        assert not await refused(house, bearer(other.text))

    async def test_who_has_the_secret_of_tokens_has_no_master_key(self, house: House) -> None:
        """It may be shared with what gives out tokens of users; none of those is an admin's. What
        was seen of one session opens no other, and does not make it last."""
        secret = "jwt-secret-of-forty-characters-012345678"
        seen = jwt.decode(house.auth.issue_master().text, options={"verify_signature": False})
        assert seen["sub"] == "master"
        good = {**seen}
        for change in (
            {"proof": None},
            {"proof": ""},
            {"proof": 5},
            {"proof": "0" * 32},
            {"proof": seen["proof"][:-1]},
            {"proof": seen["proof"].upper() + " "},
            {"proof": "\u00e9" * 32},
            {"jti": "0" * 32},
            {"exp": seen["exp"] + 3600},
            {"exp": seen["exp"] - 1},
        ):
            said = {k: v for k, v in (good | change).items() if v is not None}
            forged = jwt.encode(said, secret, "HS256")
            assert await refused(house, bearer(forged)), change
        assert not await refused(house, bearer(jwt.encode(good, secret, "HS256")))

    async def test_an_expired_one(self, house: House) -> None:
        past = Tokens(SecretStr("jwt-secret-of-forty-characters-012345678"), -5)
        assert await refused(house, bearer(past.issue_master(MASTER.encode()).text))

    async def test_a_users_token_with_its_proof_stays_the_users(self, house: House) -> None:
        said = jwt.decode(house.auth.issue_master().text, options={"verify_signature": False})
        said["sub"] = ann_of(house).id
        token = jwt.encode(said, "jwt-secret-of-forty-characters-012345678", "HS256")
        assert (await house.auth.identify(bearer(token))).role is Role.USER

    async def test_nobody_says_what_it_is(self, house: House) -> None:
        token = house.auth.issue_master()
        claims = house.tokens.read(token.text)
        assert claims is not None
        assert claims.proof not in repr(claims) + repr(token)
        assert MASTER not in repr(house.auth)
