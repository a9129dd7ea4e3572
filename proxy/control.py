"""Accounts, secrets, and what is made through the API: what is behind the control plane.

Made when the process starts, once its database is open, and unmade in reverse.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Protocol

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.auth import Authenticator
from proxy.config import Config, Provider
from proxy.conversations import Conversations
from proxy.errors import CredentialUnavailable
from proxy.home import Home
from proxy.keys import KeyStore
from proxy.oidc import Oidc
from proxy.own_keys import SYSTEM, OwnKeyStore
from proxy.registry import OverrideStore, ProviderStore
from proxy.tokens import RevokedTokens, Tokens
from proxy.types import OwnKeys
from proxy.upstream import Upstream
from proxy.users import UserStore
from proxy.vault import Vault

Start = Callable[[Callable[[], Awaitable[None]], str], Awaitable[None]]
"""Starts something that needs the database, which may be away; the text says what."""


class Store(Protocol):
    """What is loaded at the start, and kept up with."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """The stores, started."""

    vault: Vault
    keys: KeyStore
    users: UserStore
    revoked: RevokedTokens
    own_keys: OwnKeyStore
    providers: ProviderStore
    overrides: OverrideStore
    conversations: Conversations
    home: Home
    upstream: Upstream

    @classmethod
    async def open(
        cls,
        engine: AsyncEngine,
        sealing: SecretStr,
        home: Home,
        upstream: Upstream,
        start: Start,
        stack: AsyncExitStack,
    ) -> "ControlPlane":
        """Raises `WrongEncryptionKey`."""
        found: list[Vault] = []

        async def open_vault() -> None:
            found.append(await Vault.open(engine, sealing))

        await start(open_vault, "the vault")
        [vault] = found
        control = cls(
            vault,
            KeyStore(engine, vault.digest_key),
            UserStore(engine),
            RevokedTokens(engine),
            OwnKeyStore(engine, vault),
            ProviderStore(engine, vault),
            OverrideStore(engine),
            Conversations(engine),
            home,
            upstream,
        )
        stores: dict[str, Store] = {
            "keys": control.keys,
            "users": control.users,
            "revoked tokens": control.revoked,
            "users' own keys": control.own_keys,
            "providers": control.providers,
            "overrides": control.overrides,
        }
        for name, store in stores.items():
            await start(store.start, name)
            stack.push_async_callback(store.stop)
        return control

    def merged(self, config: Config) -> Config:
        """A file's configuration with what was made through the API: providers, and the system's
        keys of them."""
        merged = self.providers.merged(config)
        own = self.own_keys.of(SYSTEM)
        if own is None:
            return merged
        providers = {
            name: self._with_key(name, provider, own) if name in own.providers else provider
            for name, provider in merged.providers.items()
        }
        return merged.model_copy(update={"providers": providers})

    def _with_key(self, name: str, provider: Provider, own: OwnKeys) -> Provider:
        try:
            return provider.opened_by(own.open(name, provider.base_url or ""))
        except CredentialUnavailable as error:
            return provider.switched_off(error.message, lacks_key=True, is_locked=True)

    def authenticator(self, config: Config, oidc: Oidc | None) -> Authenticator:
        """Who calls, under one configuration."""
        auth = config.auth
        secret = auth.jwt.secret or self.home.secret("jwt_secret")
        return Authenticator(
            self.keys,
            auth.master_key or self.home.secret("master_key"),
            auth.service_keys,
            auth.anonymous,
            users=self.users,
            tokens=Tokens(secret, auth.jwt.expires),
            revoked=self.revoked,
            oidc=oidc,
            own=self.own_keys.of,
        )

    def oidc(self, config: Config) -> Oidc | None:
        """The issuer that a configuration names, if it names one."""
        section = config.auth.oidc
        if section is None:
            return None
        return Oidc(section.issuer, section.audience, self.upstream.fetch, self.users)
