"""Tokens of an identity provider (OpenID Connect Discovery 1.0, RFC 7517 to 7519).

Its public keys are fetched when they are first wanted and kept. A request whose token names a key
that is known waits for nothing: keys that are old are fetched anew behind its back.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson
from sqlalchemy.exc import SQLAlchemyError

from adapters.base import Outgoing
from proxy.errors import Conflict, DatabaseUnavailable, Unprocessable
from proxy.tasks import end, spawn
from proxy.tokens import Claims, Verified, header_of, is_time, jose, signed_part
from proxy.upstream import Fetched, Unreachable
from proxy.users import User, UserStore

FRESH = 600.0  # seconds that keys are taken for current
STALE = 86_400.0  # seconds that they are used when the provider is away
PAUSE = 30.0  # seconds between two fetches for keys that are not known
PATIENCE = 5.0  # seconds that a document may take
LEEWAY = 30.0  # seconds by which clocks may differ
DISCOVERY = "/.well-known/openid-configuration"
REQUIRED = ["sub", "iat", "exp", "iss", "aud"]
LONGEST_SUBJECT, LONGEST_NAME = 255, 200
SMALLEST_RSA = 2048  # bits

KINDS = {
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Algorithm -> the type and curve of its keys. No other is accepted, none with a shared secret."""

log = logging.getLogger("turnout.oidc")

Fetch = Callable[[Outgoing, float], Awaitable[Fetched]]


class Keys(NamedTuple):
    """The keys of an issuer, by (`kid`, algorithm), as it spells itself; `at` is monotonic."""

    issuer: str
    by_name: Mapping[tuple[str | None, str], Any]
    at: float


class Malformed(Exception):
    """A document of the provider that is not what it should be: what it lacks."""


class Oidc:
    """The tokens of one issuer that are for `audience`. `fetch` is `Upstream.fetch`."""

    def __init__(
        self,
        issuer: str,
        audience: str,
        fetch: Fetch,
        users: UserStore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer.rstrip("/")
        self._audience = audience
        self._fetch = fetch
        self._users = users
        self._clock = clock
        self._keys: Keys | None = None
        self._asked = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self._verified = Verified()

    async def close(self) -> None:
        if self._fetching is not None:
            await end(self._fetching)

    async def read(self, text: str) -> Claims | None:
        """What a token says, of whom there is a user then; None for one that does not hold.

        Raises `DatabaseUnavailable`.
        """
        self._renew()
        known = self._verified.get(text)
        if known is not None:
            return known
        header = header_of(text)
        if header is None or header.get("alg") not in KINDS:
            return None
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            return None
        key = self._key(kid, header["alg"]) or await self._new_key(kid, header["alg"])
        said = None if key is None else self._checked(text, key, header["alg"])
        return None if said is None else await self._claims(text, said)

    def _checked(self, text: str, key: Any, algorithm: str) -> dict[str, Any] | None:
        assert self._keys is not None
        try:
            said: dict[str, Any] = jose().decode(
                text,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._keys.issuer,
                leeway=LEEWAY,
                options={"require": REQUIRED},
            )
        except (jose().PyJWTError, ValueError, OverflowError, TypeError, RecursionError):
            return None
        return said

    async def _claims(self, text: str, said: dict[str, Any]) -> Claims | None:
        subject, issued, expires = said["sub"], said["iat"], said["exp"]
        if not (_is_subject(subject) and is_time(issued) and is_time(expires)):
            return None
        user = await self._user(f"{self._issuer}#{subject}", said)
        if user is None:
            return None
        token_id = hashlib.blake2b(signed_part(text).encode(), digest_size=16).hexdigest()
        claims = Claims(user.id, token_id, int(issued * 1000), float(expires) + LEEWAY)
        self._verified.put(text, claims)
        return claims

    # Users.

    async def _user(self, external_id: str, said: dict[str, Any]) -> User | None:
        """Whose token it is; somebody new gets an account, and who was removed none again."""
        user = self._users.by_external(external_id)
        if user is not None or self._users.is_gone(external_id):
            return user
        await self._users.refresh()  # another process may have seen this person just now
        user = self._users.by_external(external_id)
        if user is not None or self._users.is_gone(external_id):
            return user
        email = _email(said)
        if email is None or self._users.by_email(email) is not None:
            email = stand_in(external_id)  # never joined to the account that has it
        return await self._create(external_id, email, _name(said))

    async def _create(self, external_id: str, email: str, name: str | None) -> User | None:
        for address in (email, stand_in(external_id)):
            try:
                return await self._users.create(address, name=name, external_id=external_id)
            except (Conflict, Unprocessable):  # another process was first, or no email
                await self._users.refresh()
                user = self._users.by_external(external_id)
                if user is not None:
                    return user
            except (SQLAlchemyError, OSError):
                message = "the database is away, and this person was not seen before; try again"
                raise DatabaseUnavailable(message, headers={"retry-after": "2"}) from None
        return None

    # Keys.

    def _key(self, kid: str | None, algorithm: str) -> Any:
        """A key that is known; without a `kid` the only one of its kind."""
        keys = self._keys
        if keys is None or self._clock() > keys.at + STALE:
            return None
        if kid is not None:
            return keys.by_name.get((kid, algorithm))
        fitting = [key for (_, alg), key in keys.by_name.items() if alg == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    async def _new_key(self, kid: str | None, algorithm: str) -> Any:
        """A key that the provider may have since the last look; all who wait share one look."""
        self._ask()
        if self._fetching is not None:
            await asyncio.wait([self._fetching])
        return self._key(kid, algorithm)

    def _renew(self) -> None:
        if self._keys is not None and self._clock() > self._keys.at + FRESH:
            self._ask()

    def _ask(self) -> None:
        """Begins to fetch the keys, unless that was done a moment ago."""
        if self._fetching is not None and not self._fetching.done():
            return
        self._fetching = None
        if self._clock() >= self._asked + PAUSE:
            self._asked = self._clock()
            self._fetching = spawn(self._load(), "fetch the identity provider's keys")

    async def _load(self) -> None:
        try:
            document = await self._document(self._issuer + DISCOVERY)
            issuer = str(document.get("issuer"))
            if issuer.rstrip("/") != self._issuer:
                raise Malformed("the document is of another issuer")
            place = str(document.get("jwks_uri"))
            parts = urlsplit(place)
            safe = ("https",) if self._issuer.startswith("https:") else ("https", "http")
            if parts.scheme not in safe or not parts.hostname:
                raise Malformed("jwks_uri is no URL that can be trusted")
            by_name = keys_of(await self._document(place))
        except (Unreachable, Malformed, ValueError) as error:
            log.warning("the identity provider's keys could not be fetched: %s", error)
            return
        self._keys = Keys(issuer, by_name, self._clock())
        self._verified.clear()  # a key that is gone opens nothing any more

    async def _document(self, url: str) -> dict[str, Any]:
        asked = Outgoing(url, {"accept": "application/json"}, b"", method="GET")
        got = await self._fetch(asked, PATIENCE)
        if got.status != 200:
            raise Malformed(f"status {got.status}")
        try:
            document = orjson.loads(got.body)
        except orjson.JSONDecodeError:
            raise Malformed("the document is no JSON") from None
        if not isinstance(document, dict):
            raise Malformed("the document is no object")
        return document


def keys_of(document: Mapping[str, Any]) -> dict[tuple[str | None, str], Any]:
    """The keys of a JWKS that can verify, by (`kid`, algorithm). Raises `Malformed` for none."""
    entries = document.get("keys")
    found: dict[tuple[str | None, str], Any] = {}
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        kid = entry.get("kid")
        if kid is not None and not isinstance(kid, str):
            continue
        for algorithm, (kind, curve) in KINDS.items():
            fits = entry.get("kty") == kind and (curve is None or entry.get("crv") == curve)
            if not fits or entry.get("alg", algorithm) != algorithm:
                continue
            key = _public(entry, algorithm)
            if key is not None:
                found[kid, algorithm] = key
    if not found:
        raise Malformed("the document has no key that can be used")
    return found


def _public(entry: dict[str, Any], algorithm: str) -> Any:
    """The public key of an entry, whatever else it has; None for one that can't be read."""
    public = frozenset({"kty", "crv", "n", "e", "x", "y"})
    shared = {name: value for name, value in entry.items() if name in public}
    try:
        key = jose().PyJWK(shared, algorithm).key
    except (jose().PyJWTError, ValueError, TypeError, KeyError):
        return None
    small = entry["kty"] == "RSA" and key.key_size < SMALLEST_RSA
    return None if small else key


def _is_subject(value: Any) -> bool:
    """As OpenID Connect Core, section 2, has it."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= LONGEST_SUBJECT
        and value.isascii()
        and value.isprintable()
    )


def _name(said: Mapping[str, Any]) -> str | None:
    name = said.get("name")
    return name[:LONGEST_NAME] if isinstance(name, str) and name.isprintable() else None


def _email(said: Mapping[str, Any]) -> str | None:
    """The email of a token, unless the provider itself does not believe it."""
    email = said.get("email")
    believed = said.get("email_verified", True) in (True, "true")
    return email if isinstance(email, str) and believed else None


def stand_in(external_id: str) -> str:
    """An address that is nobody's (RFC 2606), for who has none or one that is taken."""
    digest = hashlib.sha256(external_id.encode()).hexdigest()[:32]
    return f"oidc-{digest}@oidc.invalid"
