"""Tokens of an identity provider: a real small one on a socket, with keys of its own."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.oidc import FRESH, LEEWAY, PAUSE, STALE, Malformed, Oidc, keys_of
from proxy.signing import Signer
from proxy.types import Role
from proxy.upstream import Upstream
from proxy.users import UserStore
from tests.fakes.upstream import refused_port
from tests.servers import database, engine

__all__ = ["database", "engine"]

RSA = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
SMALL = rsa.generate_private_key(65537, 1024)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
AUDIENCE = "turnout-test"


def jwk(key: Any, kid: str | None = "k1", **over: Any) -> dict[str, Any]:
    kind = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    made = next((maker for base, maker in kind.items() if isinstance(key, base)), OKPAlgorithm)
    said: dict[str, Any] = made.to_jwk(key.public_key(), as_dict=True)
    said.pop("key_ops", None)
    return said | ({} if kid is None else {"kid": kid}) | over


class Provider:
    """An issuer on a socket; `asked` counts what was fetched."""

    def __init__(self) -> None:
        self.keys: list[Any] = [jwk(RSA)]
        self.over: dict[str, Any] = {}
        self.status = 200
        self.asked: list[str] = []
        self.pause = 0.0
        self.url = ""

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/realm/.well-known/openid-configuration", self.discovery)
        app.router.add_get("/certs", self.certs)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/realm"
        return runner

    async def discovery(self, _: web.Request) -> web.Response:
        self.asked.append("discovery")
        root = self.url.removesuffix("/realm")
        said = {"issuer": self.url, "jwks_uri": root + "/certs"} | self.over
        return web.json_response(said, status=self.status)

    async def certs(self, _: web.Request) -> web.Response:
        self.asked.append("certs")
        await asyncio.sleep(self.pause)
        return web.json_response({"keys": self.keys})

    def token(self, key: Any = RSA, alg: str = "RS256", kid: str | None = "k1", **over: Any) -> str:
        now = int(time.time())
        said = {"iss": self.url, "aud": AUDIENCE, "sub": "s-1", "iat": now, "exp": now + 300}
        said = {name: value for name, value in (said | over).items() if value is not ...}
        return jwt.encode(said, key, alg, headers={} if kid is None else {"kid": kid})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    runner = await provider.start()
    yield provider
    await runner.cleanup()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream(Signer())
    upstream.open()
    yield upstream
    await upstream.close()


@pytest.fixture
def users(engine: AsyncEngine) -> UserStore:
    return UserStore(engine)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def oidc(
    provider: Provider, upstream: Upstream, users: UserStore, clock: Clock
) -> AsyncIterator[Oidc]:
    oidc = Oidc(provider.url, AUDIENCE, upstream.fetch, users, clock)
    yield oidc
    await oidc.close()


async def test_who_comes_first_gets_an_account(
    oidc: Oidc, provider: Provider, users: UserStore
) -> None:
    text = provider.token(email="Ann@Corp.test", name="Ann", iat=int(time.time()) - 7)
    claims = await oidc.read(text)
    assert claims is not None
    user = users.get(claims.user_id)
    assert user is not None
    assert (user.email, user.name, user.role) == ("ann@corp.test", "Ann", Role.USER)
    assert user.external_id == f"{provider.url}#s-1"
    assert (user.password_hash, user.tokens_after) == (None, 0)
    assert abs(claims.after / 1000 - time.time() + 7) < 3
    assert len(claims.id) == 32
    again = await oidc.read(provider.token(email="else@corp.test"))
    assert again is not None
    assert again.user_id == claims.user_id
    other = await oidc.read(provider.token(sub="s-2"))
    assert other is not None
    assert other.user_id != claims.user_id
    assert provider.asked == ["discovery", "certs"]


async def test_nobody_is_joined_to_an_account_by_email(
    oidc: Oidc, provider: Provider, users: UserStore
) -> None:
    admin = await users.create("boss@corp.test", Role.ADMIN, password_hash="$h")
    claims = await oidc.read(provider.token(email="BOSS@corp.test"))
    assert claims is not None
    user = users.get(claims.user_id)
    assert user is not None
    assert user.id != admin.id
    assert user.role is Role.USER
    assert user.email.endswith("@oidc.invalid")


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"email": 5},
        {"email": "no address"},
        {"email": "a\x00@b"},
        {"email": "a@b", "email_verified": False},
        {"email": "a@" + "b" * 300},
        {"name": "a\x00b", "email": "\ud800@b"},
    ],
)
async def test_without_an_email_to_believe(
    oidc: Oidc, provider: Provider, users: UserStore, said: dict[str, Any]
) -> None:
    claims = await oidc.read(provider.token(**said))
    assert claims is not None
    user = users.get(claims.user_id)
    assert user is not None
    assert user.email.endswith("@oidc.invalid")
    assert user.name is None


async def test_who_was_removed_stays_out(
    oidc: Oidc, provider: Provider, users: UserStore, engine: AsyncEngine, upstream: Upstream
) -> None:
    claims = await oidc.read(provider.token())
    assert claims is not None
    await users.remove(claims.user_id)
    assert await oidc.read(provider.token(iat=int(time.time()) + 1)) is None
    later = UserStore(engine)
    await later.start()
    elsewhere = Oidc(provider.url, AUDIENCE, upstream.fetch, later)
    assert await elsewhere.read(provider.token(iat=int(time.time()) + 1)) is None
    await later.stop()


async def test_two_processes_see_one_person_first(
    oidc: Oidc, provider: Provider, users: UserStore, engine: AsyncEngine, upstream: Upstream
) -> None:
    other = Oidc(provider.url, AUDIENCE, upstream.fetch, UserStore(engine))
    text = provider.token(email="ann@corp.test")
    came = await asyncio.gather(*(each.read(text) for each in (oidc, other) * 4))
    assert None not in came
    assert len({claims.user_id for claims in came if claims}) == 1


@pytest.mark.parametrize(
    ("key", "alg"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256"), (ED, "EdDSA")]
)
@pytest.mark.parametrize("kid", ["k1", None])
async def test_algorithms(
    oidc: Oidc, provider: Provider, key: Any, alg: str, kid: str | None
) -> None:
    provider.keys = [jwk(key, kid)]
    assert await oidc.read(provider.token(key, alg, kid)) is not None


async def test_forgeries(oidc: Oidc, provider: Provider) -> None:
    public = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    provider.keys = [jwk(RSA), jwk(SMALL, "small"), {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"}]
    assert await oidc.read(provider.token()) is not None
    text = provider.token()
    with pytest.MonkeyPatch.context() as patch:  # PyJWT itself would not sign this
        patch.setattr("jwt.algorithms.is_pem_format", lambda _: False)
        confused = provider.token(public, "HS256")
    small = provider.token()
    with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        small = provider.token(SMALL, "RS256", "small")
    for forged in (
        provider.token(OTHER),
        confused,
        small,
        provider.token(b"secret" * 8, "HS256", "oct"),
        provider.token(None, "none"),
        provider.token(RSA, "RS512"),
        provider.token(EC, "ES256"),
        text.rpartition(".")[0] + ".",
        text[:-8] + "AAAAAAAA",
        "eyJ.x.y",
        "",
    ):
        assert await oidc.read(forged) is None, forged


@pytest.mark.parametrize(
    "over",
    [
        {"iss": "https://evil.test"},
        {"iss": ...},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": ...},
        {"exp": ...},
        {"exp": int(time.time()) - LEEWAY - 5},
        {"nbf": int(time.time()) + 86_400},
        {"iat": int(time.time()) + 86_400},
        {"iat": ...},
        {"iat": "17"},
        {"exp": "99999999999"},
        {"exp": 10**400},
        {"sub": ...},
        {"sub": ""},
        {"sub": "x" * 256},
        {"sub": "a\x00"},
        {"sub": "é"},
    ],
)
async def test_claims_that_do_not_do(oidc: Oidc, provider: Provider, over: dict[str, Any]) -> None:
    assert await oidc.read(provider.token(**over)) is None


async def test_clocks_may_differ_a_little(oidc: Oidc, provider: Provider) -> None:
    now = int(time.time())
    assert await oidc.read(provider.token(exp=now - 20, iat=now - 60)) is not None
    assert await oidc.read(provider.token(iat=now + 20, nbf=now + 20)) is not None
    assert await oidc.read(provider.token(aud=["x", AUDIENCE])) is not None


async def test_a_slash_at_the_issuers_end(
    provider: Provider, upstream: Upstream, users: UserStore
) -> None:
    provider.over = {"issuer": provider.url + "/"}
    oidc = Oidc(provider.url, AUDIENCE, upstream.fetch, users)
    assert await oidc.read(provider.token(iss=provider.url + "/")) is not None
    assert await oidc.read(provider.token()) is None


async def test_an_unknown_key_is_asked_for_but_not_often(
    oidc: Oidc, provider: Provider, clock: Clock
) -> None:
    assert await oidc.read(provider.token()) is not None
    provider.keys = [jwk(OTHER, "k2")]
    assert await oidc.read(provider.token(OTHER, kid="k2")) is None  # too soon after the last look
    assert provider.asked.count("certs") == 1
    clock.now += PAUSE
    came = await asyncio.gather(*(oidc.read(provider.token(OTHER, kid="k2")) for _ in range(5)))
    assert None not in came
    assert provider.asked.count("certs") == 2
    assert await oidc.read(provider.token(kid="k1", iat=int(time.time()) - 1)) is None
    for n in range(20):
        assert await oidc.read(provider.token(OTHER, kid=f"x{n}")) is None
    assert provider.asked.count("certs") == 2


async def test_a_key_that_is_gone_opens_nothing_any_more(
    oidc: Oidc, provider: Provider, clock: Clock
) -> None:
    text = provider.token()
    assert await oidc.read(text) is not None
    provider.keys = [jwk(OTHER, "k1")]
    clock.now += FRESH + 1
    assert await oidc.read(text) is not None  # answered at once, with what is known
    assert oidc._fetching is not None
    await oidc._fetching
    assert await oidc.read(text) is None
    assert await oidc.read(provider.token(OTHER)) is not None


async def test_a_known_key_waits_for_nothing(oidc: Oidc, provider: Provider, clock: Clock) -> None:
    assert await oidc.read(provider.token()) is not None
    provider.pause = 3
    clock.now += FRESH + 1
    begun = time.monotonic()
    assert await oidc.read(provider.token()) is not None
    assert time.monotonic() - begun < 1


async def test_the_provider_is_away(
    oidc: Oidc, provider: Provider, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    provider.status = 503
    text = provider.token()
    assert await oidc.read(text) is None
    assert "could not be fetched: status 503" in caplog.text
    assert text.split(".")[1] not in caplog.text
    provider.status = 200
    clock.now += PAUSE
    assert await oidc.read(text) is not None
    provider.status = 503
    clock.now += STALE - 10
    assert await oidc.read(provider.token(iat=int(time.time()) - 2)) is not None
    clock.now += 20
    assert await oidc.read(provider.token(iat=int(time.time()) - 3)) is None


async def test_nobody_there(upstream: Upstream, users: UserStore) -> None:
    provider = Provider()
    provider.url = f"http://127.0.0.1:{refused_port()}"
    assert await Oidc(provider.url, AUDIENCE, upstream.fetch, users).read(provider.token()) is None


@pytest.mark.parametrize(
    "over",
    [
        {"issuer": "https://evil.test"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "http://[bad"},
        {"jwks_uri": ["x"]},
    ],
)
async def test_a_document_that_can_not_be_trusted(
    oidc: Oidc, provider: Provider, over: dict[str, Any]
) -> None:
    provider.over = over
    assert await oidc.read(provider.token()) is None
    assert "certs" not in provider.asked


@pytest.mark.parametrize(
    "keys",
    [
        None,
        [],
        "x",
        [5, None],
        [{"kty": "oct", "k": "AAAA"}],
        [{"kty": "RSA"}],
        [{"kty": "RSA", "n": "!", "e": "AQAB"}],
        [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}],
        [jwk(RSA, use="enc")],
        [jwk(RSA, alg="RSA-OAEP")],
        [jwk(SMALL)],
        [jwk(RSA) | {"kid": 5}],
    ],
)
def test_keys_that_are_none(keys: Any) -> None:
    with pytest.raises(Malformed):
        keys_of({"keys": keys})


def test_which_algorithms_a_key_is_for() -> None:
    found = keys_of(
        {"keys": [jwk(RSA, "a"), jwk(RSA, "b", alg="PS256"), jwk(EC, "c"), jwk(ED, "d")]}
    )
    assert set(found) == {
        ("a", "RS256"),
        ("a", "PS256"),
        ("b", "PS256"),
        ("c", "ES256"),
        ("d", "EdDSA"),
    }
