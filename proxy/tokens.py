"""Tokens that Turnout gives out at login: JSON Web Tokens (RFC 7519), signed with HMAC-SHA256.

A token says whose it is, and until when; whether the account still stands, and whether the token
was revoked, is asked at every request.
"""

import base64
import binascii
import hashlib
import hmac
import logging
import time
from typing import Any, NamedTuple, TypeGuard
from uuid import uuid4

import orjson
from pydantic import SecretStr
from sqlalchemy import delete, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.storage.mirror import Mirror
from proxy.storage.schema import revoked_tokens as table
from proxy.users import User

NAME = "turnout"  # who gives them out, and whom they are for
ALGORITHM = "HS256"
LONGEST = 16 * 1024  # characters of a token that is looked at
HEADER_LIMIT = 4 * 1024
MARGIN = 120_000  # milliseconds that a revocation is kept over its token's end, for clocks
FAR = 10**12  # seconds
KEPT = 10_000  # tokens whose signature is remembered
REQUIRED = ["sub", "jti", "iat", "exp", "iss", "aud"]
MASTER = "master"
"""Whose the tokens are that the master key was given for: no user has this id."""

log = logging.getLogger("turnout.tokens")


def jose() -> Any:
    """pyjwt, loaded with the first token that is made or read: it brings `cryptography`, 8 MB,
    which a gateway without logins does without."""
    import jwt

    return jwt


class Token(NamedTuple):
    """A token just made. `expires_at` in epoch seconds."""

    text: str
    expires_at: int
    id: str

    def __repr__(self) -> str:
        return f"Token(id={self.id!r})"


class Claims(NamedTuple):
    """What a token that holds says. `after` in epoch milliseconds: it opens nothing once its
    user's `tokens_after` is later. `expires_at` in epoch seconds. `proof` is what a token of
    `MASTER` has to have; '' where there is none."""

    user_id: str
    id: str
    after: int
    expires_at: float
    proof: str = ""

    def __repr__(self) -> str:
        return f"Claims(user_id={self.user_id!r}, id={self.id!r})"

    def is_of(self, master: bytes) -> bool:
        """Whether the token was given out for this master key, and none else."""
        if self.user_id != MASTER:
            return False
        proof = proof_of(master, self.id, self.expires_at)
        return hmac.compare_digest(self.proof.encode(errors="replace"), proof.encode())


def proof_of(master: bytes, id: str, expires_at: float) -> str:
    """What only who has the master key can put into a token, for that token and that end alone.

    The secret that tokens are signed with may be shared with others, who make tokens of their own;
    none of theirs must be an admin's, and a master key that is changed ends the tokens of the old.
    """
    said = f"turnout session of the master key\n{id}\n{int(expires_at)}".encode()
    return hmac.new(master, said, hashlib.sha256).hexdigest()[:32]


class Verified:
    """Claims of tokens whose signature was found right, by a hash of the token; so many at most."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._claims: dict[bytes, Claims] = {}  # oldest first

    def get(self, text: str) -> Claims | None:
        """The claims of a token that has not expired."""
        claims = self._claims.get(_hash(text))
        return claims if claims is not None and time.time() < claims.expires_at else None

    def put(self, text: str, claims: Claims) -> None:
        if len(self._claims) >= self._kept:
            del self._claims[next(iter(self._claims))]
        self._claims[_hash(text)] = claims

    def clear(self) -> None:
        self._claims.clear()


class Tokens:
    """Gives out and reads tokens under one secret. `expires` in seconds."""

    def __init__(self, secret: SecretStr, expires: float, verified: Verified | None = None) -> None:
        # RFC 7518 wants 256 bits of key; a shorter secret is stretched to that.
        plain = secret.get_secret_value().encode()
        self._key = plain if len(plain) >= 32 else hashlib.sha256(b"turnout jwt" + plain).digest()
        self._expires = expires
        self._verified = verified or Verified()

    def issue(self, user: User) -> Token:
        """A new token of a user."""
        return self._signed(user.id, user.tokens_after)

    def issue_master(self, master: bytes) -> Token:
        """A new token of who has the master key, and no account."""
        return self._signed(MASTER, 0, master)

    def _signed(self, who: str, after: int, master: bytes | None = None) -> Token:
        now = time.time()
        token_id, expires_at = uuid4().hex, int(now + self._expires)
        claims: dict[str, Any] = {
            "sub": who,
            "jti": token_id,
            "iat": int(now),
            "iat_ms": int(now * 1000),
            "after": after,
            "exp": expires_at,
            "iss": NAME,
            "aud": NAME,
        }
        if master is not None:
            claims["proof"] = proof_of(master, token_id, expires_at)
        return Token(jose().encode(claims, self._key, ALGORITHM), expires_at, token_id)

    def read(self, text: str) -> Claims | None:
        """What a token says; None for one that is not ours, was changed or has expired."""
        known = self._verified.get(text)
        if known is not None:
            return known
        header = header_of(text)
        if header is None or header.get("alg") != ALGORITHM:
            return None
        try:
            said = jose().decode(
                text,
                self._key,
                algorithms=[ALGORITHM],
                audience=NAME,
                issuer=NAME,
                options={"require": REQUIRED},
            )
        except (jose().PyJWTError, ValueError, OverflowError):
            return None
        claims = _claims(said)
        if claims is not None:
            self._verified.put(text, claims)
        return claims


def _claims(said: dict[str, Any]) -> Claims | None:
    """Of one that others have made with the secret: it may lack what only we write."""
    user, token, after = said["sub"], said["jti"], said.get("after", 0)
    if not (_is_name(user) and _is_name(token) and len(token) <= 32 and is_time(said["exp"])):
        return None
    proof = said.get("proof", "")
    if not isinstance(after, int) or not isinstance(proof, str):
        return None
    return Claims(user, token, after, float(said["exp"]), proof)


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""


def is_time(value: Any) -> bool:
    """Whether a claim can be epoch seconds; also those that stand for never."""
    return isinstance(value, int | float) and 0 <= value < FAR


def looks_like_one(token: bytes) -> bool:
    """Whether a bearer is a token of this kind, and no key."""
    return token.startswith(b"eyJ") and token.count(b".") == 2


def header_of(text: str) -> dict[str, Any] | None:
    """The header of a token, not verified; None for what is no token, or has one that is deep,
    long, or asks for more than is understood (`crit`, `b64`)."""
    if len(text) > LONGEST or not text.isascii():
        return None
    first = text.partition(".")[0]
    if len(first) > HEADER_LIMIT:
        return None
    try:
        header = orjson.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    except (orjson.JSONDecodeError, binascii.Error, ValueError):
        return None
    if not isinstance(header, dict) or {"crit", "b64", "zip", "enc"} & header.keys():
        return None
    return header if all(map(_is_flat, header.values())) else None


def _is_flat(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(entry, str) for entry in value)
    return isinstance(value, str | int | None)


def signed_part(text: str) -> str:
    """What the signature of a token is over. The signature itself can be written in several ways
    that are all right, so that a token is known by this alone."""
    return text.rpartition(".")[0]


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=32).digest()


class RevokedTokens:
    """Tokens that ended before their time, known to all processes within a second."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._mirror = self._fresh()

    def __contains__(self, id: str) -> bool:
        return self._mirror.get(id) is not None

    async def start(self) -> None:
        await self._mirror.start()

    async def stop(self) -> None:
        await self._mirror.stop()

    async def revoke(self, id: str, expires_at: float) -> None:
        """Ends a token, here at once. `expires_at`, in epoch seconds: when it ends by itself."""
        row = {"id": id, "expires_at": int(expires_at * 1000), "updated_at": _now()}
        try:
            async with self._engine.begin() as connection:
                await connection.execute(insert(table).values(row))
        except IntegrityError:
            log.debug("a token was revoked twice")
        await self._mirror.take(table.c.id == id)

    async def purge(self) -> int:
        """Forgets those that have expired by now; how many the database had. Raises
        `SQLAlchemyError`."""
        before = _now() - MARGIN
        async with self._engine.begin() as connection:
            done = await connection.execute(delete(table).where(table.c.expires_at < before))
        if any(expires_at < before for expires_at in self._mirror.values()):
            # What is deleted a mirror does not hear of: another takes its place.
            fresh, old = self._fresh(), self._mirror
            await fresh.start()
            self._mirror = fresh
            await old.stop()
        return done.rowcount

    def _fresh(self) -> Mirror[int]:
        return Mirror(self._engine, table, lambda row: int(row.expires_at))


def _now() -> int:
    return int(time.time() * 1000)
