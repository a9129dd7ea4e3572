"""A credential -> who calls. Deny by default.

On one request the first of `Authorization`, `x-api-key` and `X-Service-Key` counts. A virtual
key is looked up by its digest, the others are compared in constant time.
"""

import hmac
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from pydantic import SecretStr

from proxy.errors import Unauthenticated
from proxy.keys import KeyStore
from proxy.types import Principal, Role

ADMIN = Principal(Role.ADMIN)
SERVICE = Principal(Role.SERVICE)
ANONYMOUS = Principal(Role.ANONYMOUS)
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

Headers = Mapping[bytes, bytes]


class Authenticator:
    """Knows the credentials of one configuration, and the store of virtual keys."""

    def __init__(
        self,
        keys: KeyStore,
        master_key: SecretStr,
        service_keys: Sequence[SecretStr] = (),
        anonymous: bool = False,
    ) -> None:
        self._keys = keys
        self._master = master_key.get_secret_value().encode()
        self._services = [key.get_secret_value().encode() for key in service_keys]
        self._anonymous = anonymous

    async def identify(self, headers: Headers) -> Principal:
        """The caller; raises `Unauthenticated`, whose message never repeats the credential."""
        principal = await self._known(headers)
        if principal is not None:
            return principal
        if self._anonymous and _from_loopback(headers):
            return ANONYMOUS
        raise Unauthenticated(_advice(headers))

    async def _known(self, headers: Headers) -> Principal | None:
        bearer = headers.get(b"authorization")
        if bearer is not None:
            scheme, _, token = bearer.partition(b" ")
            return await self._bearer(token.strip()) if scheme.lower() == b"bearer" else None
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
        secret = token.decode("latin-1")
        key = self._keys.find(secret) or await self._keys.lookup(secret)
        if key is None:
            return None
        return Principal(Role.KEY, key.id, key.user_id, key.models, key.limits, key.cache)


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
