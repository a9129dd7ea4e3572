"""A credential -> who calls. Deny by default.

On one request the first of `Authorization`, `x-api-key`, `X-Service-Key` and, off the data plane,
a session's cookie counts. A virtual key is looked up by its digest, a token's signature is
verified, the others are compared in constant time.
"""

import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr

from proxy.errors import Forbidden, Unauthenticated
from proxy.keys import KeyRow, KeyStore
from proxy.oidc import Oidc
from proxy.tokens import MASTER, Claims, RevokedTokens, Token, Tokens, looks_like_one
from proxy.types import OwnKeys, Principal, Role
from proxy.users import User, UserStore

ADMIN = Principal(Role.ADMIN)
SERVICE = Principal(Role.SERVICE)
ANONYMOUS = Principal(Role.ANONYMOUS)
COOKIE = b"session"
READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing, so that a page elsewhere gains nothing by them."""

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

Headers = Mapping[bytes, bytes]


class Session(NamedTuple):
    """A token that holds, and the active user it is of; None is who has the master key."""

    user: User | None
    claims: Claims


class Authenticator:
    """Knows the credentials of one configuration, the store of virtual keys, and the accounts.

    `own` gives a user's own keys of providers, by the user's id.
    """

    def __init__(
        self,
        keys: KeyStore,
        master_key: SecretStr,
        service_keys: Sequence[SecretStr] = (),
        anonymous: bool = False,
        *,
        users: UserStore | None = None,
        tokens: Tokens | None = None,
        revoked: RevokedTokens | None = None,
        oidc: Oidc | None = None,
        own: Callable[[str], OwnKeys | None] | None = None,
    ) -> None:
        self._keys = keys
        self._master = master_key.get_secret_value().encode()
        self._services = [key.get_secret_value().encode() for key in service_keys]
        self._anonymous = anonymous
        self._users = users
        self.tokens = tokens
        self._revoked = revoked
        self._oidc = oidc
        self._own = own

    def is_master(self, key: str) -> bool:
        """Whether it is the master key; how much of it is right, nobody can time."""
        return hmac.compare_digest(key.encode(errors="replace"), self._master)

    def issue_master(self) -> Token:
        """A token that is the admin without an account, until it or the master key ends."""
        assert self.tokens is not None, "the gateway has accounts, so it has tokens"
        return self.tokens.issue_master(self._master)

    async def identify(self, headers: Headers) -> Principal:
        """The caller; raises `Unauthenticated`, whose message never repeats the credential."""
        return self._or_anonymous(await self._known(headers), headers)

    async def identify_at(self, method: str, headers: Headers) -> Principal:
        """The caller of the control plane or a door, where a session's cookie counts too.

        Raises `Forbidden` with code `csrf` for a change that a page of another origin asks for.
        """
        principal = await self._known(headers)
        if principal is None and not _has_credential(headers):
            session = await self._by_cookie(method, headers)
            principal = None if session is None else self._principal(session)
        return self._or_anonymous(principal, headers)

    async def session(self, method: str, headers: Headers) -> Session | None:
        """The token of a request, in its bearer or its cookie, and whose it is."""
        bearer = headers.get(b"authorization")
        if bearer is not None:
            token = _token(bearer)
            return await self._session(token) if looks_like_one(token) else None
        return None if _has_credential(headers) else await self._by_cookie(method, headers)

    def _or_anonymous(self, principal: Principal | None, headers: Headers) -> Principal:
        if principal is not None:
            return principal
        if self._anonymous and _from_loopback(headers):
            return ANONYMOUS
        raise Unauthenticated(_advice(headers))

    async def _known(self, headers: Headers) -> Principal | None:
        bearer = headers.get(b"authorization")
        if bearer is not None:
            return await self._bearer(_token(bearer))
        token = headers.get(b"x-api-key", b"")
        if token:
            return await self._bearer(token)
        service = headers.get(b"x-service-key", b"")
        if service and any(hmac.compare_digest(service, key) for key in self._services):
            return SERVICE
        return None

    async def _bearer(self, token: bytes) -> Principal | None:
        if not token:
            return None
        if hmac.compare_digest(token, self._master):
            return ADMIN
        if self._users is not None and looks_like_one(token):
            session = await self._session(token)
            return None if session is None else self._principal(session)
        secret = token.decode("latin-1")
        key = self._keys.find(secret) or await self._keys.lookup(secret)
        return None if key is None else self._of_key(key)

    def _of_key(self, key: KeyRow) -> Principal | None:
        """A key of a user's stands and falls with the account; one whose `user_id` is somebody
        else's name for a customer does not."""
        own = None
        if key.user_id is not None and self._users is not None:
            user = self._users.get(key.user_id)
            if not (user.is_active if user else not self._users.is_gone(key.user_id)):
                return None
            if user is not None and self._own is not None:
                own = self._own(user.id)
        return Principal(Role.KEY, key.id, key.user_id, key.models, key.limits, key.cache, own)

    def _principal(self, session: Session) -> Principal:
        user = session.user
        if user is None:
            return ADMIN
        own = None if self._own is None else self._own(user.id)
        return Principal(user.role, user_id=user.id, own=own)

    async def _session(self, token: bytes) -> Session | None:
        """The user is looked at every time: the account may have ended, or its tokens."""
        if self._users is None or self.tokens is None:
            return None
        text = token.decode("latin-1")
        claims = self.tokens.read(text)
        is_ours = claims is not None
        if claims is None and self._oidc is not None:
            claims = await self._oidc.read(text)
        if claims is None or (self._revoked is not None and claims.id in self._revoked):
            return None
        if claims.user_id == MASTER:
            return Session(None, claims) if is_ours and claims.is_of(self._master) else None
        user = self._users.get(claims.user_id) or await self._users.find(claims.user_id)
        if user is None or not user.is_active or claims.after < user.tokens_after:
            return None
        return Session(user, claims)

    async def _by_cookie(self, method: str, headers: Headers) -> Session | None:
        token = _cookie(headers)
        if not looks_like_one(token):
            return None
        session = await self._session(token)
        if session is not None and method not in READING:
            check_origin(headers)
        return session


def check_origin(headers: Headers) -> None:
    """Raises `Forbidden` for what a page of another origin has sent. What a browser says of the
    page it always says; what says nothing is no browser, and has its credentials by itself."""
    site = headers.get(b"sec-fetch-site")
    origin = headers.get(b"origin")
    host = headers.get(b"host", b"").strip().lower()
    is_ours = site is None or site.strip().lower() in (b"same-origin", b"none")
    if is_ours and origin is not None:
        scheme, _, authority = origin.strip().lower().partition(b"://")
        is_ours = scheme in (b"http", b"https") and authority == host != b""
    if not is_ours:
        message = "this was asked by a page of another origin; send the token in Authorization"
        raise Forbidden(message, code="csrf")


def _token(authorization: bytes) -> bytes:
    """The token of a Bearer; empty for any other scheme."""
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _has_credential(headers: Headers) -> bool:
    """Whether anything but a cookie was sent, known or not."""
    if b"authorization" in headers:
        return True
    return bool(headers.get(b"x-api-key") or headers.get(b"x-service-key"))


def _cookie(headers: Headers) -> bytes:
    """The session's cookie; empty where there is none, or two: another site below the same domain
    may have put one of them there."""
    pairs = (part.strip().partition(b"=") for part in headers.get(b"cookie", b"").split(b";"))
    found = {value.strip(b'"') for name, _, value in pairs if name == COOKIE}
    return found.pop() if len(found) == 1 else b""


def _from_loopback(headers: Headers) -> bool:
    """A browser page elsewhere must not become the anonymous user of a laptop's gateway.

    The server listens on loopback only, but a page can be rebound to it by DNS (its Host gives
    it away) or post to it across origins (its Origin does).
    """
    host = urlsplit("//" + headers.get(b"host", b"").decode("latin-1"))
    origin = headers.get(b"origin")
    if not _is_loopback(host.hostname):
        return False
    return origin is None or _is_loopback(urlsplit(origin.decode("latin-1")).hostname)


def _is_loopback(hostname: str | None) -> bool:
    return hostname in LOOPBACK_NAMES


def _advice(headers: Headers) -> str:
    given = any(name in headers for name in (b"authorization", b"x-api-key", b"x-service-key"))
    fault = "the API key is not known, has expired or was revoked" if given else "no API key given"
    return f"{fault}; send one as 'Authorization: Bearer …' (turnout keys create makes one)"
