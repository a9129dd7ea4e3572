"""Tokens: given out, read, forged, revoked."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.storage.schema import revoked_tokens as table
from proxy.tokens import (
    LONGEST,
    RevokedTokens,
    Tokens,
    Verified,
    header_of,
    looks_like_one,
    signed_part,
)
from proxy.types import Role
from proxy.users import User
from tests.servers import database, engine

__all__ = ["database", "engine"]

SECRET = "a-secret-of-forty-characters-0123456789a"
ANN = User("user_1", "ann@x", None, Role.USER, True, None, None, 1, 2, 1234, "$hash")


def tokens(secret: str = SECRET, expires: float = 3600) -> Tokens:
    return Tokens(SecretStr(secret), expires)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signed(header: Any, claims: Any, secret: str = SECRET) -> str:
    """A token by hand (RFC 7515, appendix A.1)."""
    body = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{body}.{b64(hmac.digest(secret.encode(), body.encode(), 'sha256'))}"


def claims(**over: Any) -> dict[str, Any]:
    now = int(time.time())
    said = {"sub": "user_1", "jti": "j", "iat": now, "exp": now + 60, "after": 5}
    return {
        k: v for k, v in ({**said, "iss": "turnout", "aud": "turnout"} | over).items() if v != ...
    }


HS256 = {"alg": "HS256", "typ": "JWT"}


def test_a_token_says_whose_it_is() -> None:
    before = time.time()
    token = tokens().issue(ANN)
    head, body, _ = token.text.split(".")
    assert json.loads(base64.urlsafe_b64decode(head + "==")) == HS256
    said = json.loads(base64.urlsafe_b64decode(body + "=="))
    assert set(said) == {"sub", "jti", "iat", "iat_ms", "after", "exp", "iss", "aud"}
    assert (said["sub"], said["iss"], said["aud"], said["after"]) == (
        "user_1",
        "turnout",
        "turnout",
        1234,
    )
    assert len(said["jti"]) == 32
    assert int(before * 1000) <= said["iat_ms"] <= time.time() * 1000
    assert said["iat_ms"] // 1000 == said["iat"]
    assert said["exp"] - said["iat"] == 3600
    assert token.text not in repr(token)
    read = tokens().read(token.text)
    assert read == ("user_1", token.id, 1234, said["exp"], "")
    assert tokens().issue(ANN).id != token.id


def test_one_made_by_hand_is_read() -> None:
    assert tokens().read(signed(HS256, claims(exp=99_999_999_999))) == (
        "user_1",
        "j",
        5,
        99_999_999_999,
        "",
    )


@pytest.mark.parametrize(
    "over",
    [
        {"exp": 1},
        {"exp": ...},
        {"exp": "soon"},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"exp": [1]},
        {"exp": 10**400},
        {"exp": "99999999999"},
        {"iat": time.time() + 9999},
        {"nbf": time.time() + 9999},
        {"iss": "other"},
        {"iss": ...},
        {"aud": "other"},
        {"aud": ...},
        {"sub": ...},
        {"sub": ""},
        {"sub": 5},
        {"jti": ...},
        {"jti": "x" * 33},
        {"jti": None},
        {"after": "x"},
    ],
)
def test_claims_that_do_not_do(over: dict[str, Any]) -> None:
    assert tokens().read(signed(HS256, claims(**over))) is None


def test_it_expires_though_it_is_remembered() -> None:
    made = tokens(expires=2)
    text = made.issue(ANN).text
    assert made.read(text) is not None
    time.sleep(2.05)
    assert made.read(text) is None


def test_of_another_secret() -> None:
    assert tokens().read(tokens("another-secret-of-forty-characters-01234").issue(ANN).text) is None


def test_a_short_secret_does_too() -> None:
    short = tokens("short")
    assert short.read(short.issue(ANN).text) is not None
    assert short.read(signed(HS256, claims(), "short")) is None


def test_algorithms_that_are_not_ours() -> None:
    for header in (
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "hs256"},
        {"alg": "HS512"},
        {"alg": "RS256"},
        {"alg": ""},
        {"alg": ["HS256"]},
        {"typ": "JWT"},
        {**HS256, "crit": ["exp"]},
        {**HS256, "b64": False},
        {**HS256, "x": {"deep": 1}},
    ):
        assert tokens().read(signed(header, claims())) is None, header
    assert tokens().read(signed({"alg": "none"}, claims()).rpartition(".")[0] + ".") is None
    assert tokens().read(jwt.encode(claims(), SECRET * 2, "HS512")) is None
    assert tokens().read(jwt.encode(claims(), None, "none")) is None


def test_a_real_rsa_signature_whose_public_key_is_the_secret() -> None:
    private = rsa.generate_private_key(65537, 2048)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    text = jwt.encode(claims(), private, "RS256")
    assert tokens(b64(public)).read(text) is None
    body = text.rpartition(".")[0]
    forged = f"{body}.{b64(hmac.digest(b64(public).encode(), body.encode(), 'sha256'))}"
    assert tokens(b64(public)).read(forged) is None


def test_a_changed_byte_anywhere() -> None:
    text = tokens().issue(ANN).text
    reader = tokens()
    assert reader.read(text) is not None
    for at in range(0, text.rindex(".") + 40, 3):
        other = "A" if text[at] != "A" else "B"
        assert reader.read(text[:at] + other + text[at + 1 :]) is None, at


@settings(max_examples=500)
@given(
    st.one_of(
        st.text(),
        st.binary().map(lambda raw: f"eyJ{b64(raw)}.{b64(raw)}.x"),
        st.from_regex(r"eyJ[A-Za-z0-9_.=-]{0,60}", fullmatch=True),
    )
)
def test_garbage_is_none(text: str) -> None:
    assert tokens().read(text) is None


@pytest.mark.parametrize(
    "text",
    [
        b64(b"[" * 3000) + ".e30.x",
        b64(b'{"alg":"HS256","a":' + b"[" * 900 + b"]" * 900 + b"}") + ".e30.x",
        b64(b'{"alg":"HS256","a":' + b"1" * 3000 + b"}") + ".e30.x",
        "eyJ" + "A" * 20_000 + ".e30.x",
        b64(json.dumps(HS256).encode()) + "." + b64(b"[" * 9000) + ".x",
        "\ud800eyJ.x.y",
        "eyJé.x.y",
    ],
)
def test_what_is_made_to_break_a_parser(text: str) -> None:
    assert tokens().read(text) is None


def test_one_that_is_signed_and_too_long() -> None:
    assert tokens().read(signed(HS256, claims(x="y" * LONGEST))) is None


def test_a_repeated_token_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = tokens()
    text = reader.issue(ANN).text
    first = reader.read(text)
    monkeypatch.setattr(jwt, "decode", lambda *_, **__: pytest.fail("again"))
    assert reader.read(text) == first
    with pytest.raises(pytest.fail.Exception):
        tokens().read(text)


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Tokens(SecretStr(SECRET), 60, Verified(2))
    texts = [reader.issue(ANN).text for _ in range(3)]
    assert all(reader.read(text) for text in texts)
    asked: list[str] = []
    real = jwt.decode
    monkeypatch.setattr(
        jwt, "decode", lambda text, *a, **k: asked.append(text) or real(text, *a, **k)
    )
    assert all(reader.read(text) for text in reversed(texts))
    assert asked == [texts[0]]


@pytest.mark.parametrize(
    ("token", "is_one"),
    [
        (b"eyJ.b.c", True),
        (b"eyJ.b", False),
        (b"eyJ.b.c.d", False),
        (b"sk-turnout-a.b.c", False),
        (b"", False),
    ],
)
def test_what_looks_like_one(token: bytes, is_one: bool) -> None:
    assert looks_like_one(token) is is_one


def test_headers() -> None:
    assert header_of(b64(b'{"alg":"RS256","kid":"k","x5c":["a"]}') + ".b.c") == {
        "alg": "RS256",
        "kid": "k",
        "x5c": ["a"],
    }
    assert header_of(b64(b"[]") + ".b.c") is None
    assert header_of("%%%.b.c") is None
    assert signed_part("a.b.c") == "a.b"


class TestRevoked:
    ID = hashlib.md5(b"x").hexdigest()

    async def test_at_once_here_and_soon_elsewhere(self, engine: AsyncEngine) -> None:
        here, there = RevokedTokens(engine), RevokedTokens(engine)
        await here.start()
        await there.start()
        assert self.ID not in here
        await here.revoke(self.ID, time.time() + 60)
        await here.revoke(self.ID, time.time() + 60)
        assert self.ID in here
        await there._mirror.refresh()
        assert self.ID in there
        assert await here.purge() == 0
        assert self.ID in here
        await here.stop()
        await there.stop()
        later = RevokedTokens(engine)
        await later.start()
        assert self.ID in later
        await later.stop()

    async def test_at_once_though_a_clock_is_ahead(self, engine: AsyncEngine) -> None:
        here, there = RevokedTokens(engine), RevokedTokens(engine)
        row = {"id": "z", "expires_at": 2**42, "updated_at": int(time.time() * 1000) + 10_000}
        async with engine.begin() as connection:
            await connection.execute(insert(table).values(row))
        await here.start()
        await there._mirror.refresh()
        await here.revoke(self.ID, time.time() + 60)
        assert (self.ID in here, self.ID in there) == (True, False)
        await there._mirror.refresh()
        assert self.ID in there
        await here.stop()

    async def test_what_has_expired_is_forgotten(self, engine: AsyncEngine) -> None:
        here, there = RevokedTokens(engine), RevokedTokens(engine)
        await here.revoke("old", time.time() - 121)
        await here.revoke("new", time.time() + 60)
        await there.start()
        assert await here.purge() == 1
        assert ("old" in here, "new" in here) == (False, True)
        assert await there.purge() == 0
        assert ("old" in there, "new" in there) == (False, True)
        async with engine.connect() as connection:
            assert (await connection.execute(select(func.count()).select_from(table))).scalar() == 1
        await here.stop()
        await there.stop()
