"""Users: who has an account, held in memory, found by id or email.

A change of password, role or state, and a removal, moves `tokens_after`: tokens given out before
it open nothing. It only ever grows, so that it needs no clock that all processes agree on.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from sqlalchemy import BigInteger, Row, case, literal, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.allowance import effective, over, own_limits, shown
from proxy.errors import Conflict, DatabaseUnavailable, Unprocessable
from proxy.ids import uuid7
from proxy.storage.mirror import Mirror, Taken
from proxy.storage.schema import users as table
from proxy.tasks import end, spawn
from proxy.types import Limits, OwnLimits, Role

PATIENCE = 2.0  # seconds that a request with a user who is not known here waits for the database
LONGEST_EMAIL = 254
ROLES = (Role.ADMIN, Role.USER)
NO_LIMITS = Limits()

log = logging.getLogger("turnout.users")

_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+")
_ENDING = frozenset({"password_hash", "role", "is_active"})
"""What a change of ends the tokens that were given out."""


@dataclass(frozen=True, slots=True)
class User:
    """An account. Times are epoch milliseconds; `email` is in lower case."""

    id: str
    email: str
    name: str | None
    role: Role
    is_active: bool
    limits: OwnLimits | None
    external_id: str | None
    created_at: int
    updated_at: int
    tokens_after: int
    password_hash: str | None = field(repr=False)


Told = Callable[[list[User]], Awaitable[None]]


class UserStore:
    """The users of one database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._mirror = Mirror(engine, table, _user)
        self._mirror.on_change = self._index
        self._by_email: dict[str, User] = {}
        self._by_external: dict[str, User] = {}
        self._ids: frozenset[str] = frozenset()
        self._gone: set[str] = set()  # ids, and external ids, of users who were removed
        self._limits: dict[str, Limits] = {}
        self._own: dict[str, OwnLimits] = {}
        self._telling: asyncio.Task[None] | None = None
        self.limits: Mapping[str, Limits] = MappingProxyType(self._limits)
        """By user id, of those of whom any are said, null too; always as of now."""
        self.on_limits: Told | None = None  # told of users whose limits are new

    async def start(self) -> None:
        """Loads every user, and keeps up with other processes from then on."""
        await self._mirror.refresh()
        removed = select(table.c.id, table.c.external_id).where(table.c.deleted_at.is_not(None))
        async with self._engine.connect() as connection:
            for row in await connection.execute(removed):
                self._gone |= {row.id, row.external_id} - {None}
        await self._mirror.start()  # the last: what fails before leaves nothing running

    async def stop(self) -> None:
        await self._mirror.stop()
        if self._telling is not None:
            await end(self._telling)

    async def refresh(self) -> None:
        """Takes over what other processes have changed. Raises `DatabaseUnavailable`."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._mirror.refresh()
        except (SQLAlchemyError, OSError):  # a timeout is an OSError
            message = "the database is away, and the account was not seen before; try again"
            raise DatabaseUnavailable(message, headers={"retry-after": "2"}) from None

    async def catch_up(self) -> None:
        """The same; while the database is away, what is known here has to do."""
        try:
            await self.refresh()
        except DatabaseUnavailable:
            log.warning("the database is away; accounts are as they were last known")

    def known(self) -> "list[User]":
        """Every user, by age."""
        return self._mirror.values()

    def get(self, id: str) -> User | None:
        """A user as known here."""
        return self._mirror.get(id)

    async def find(self, id: str) -> User | None:
        """The same; one who may be new in the database is looked for there."""
        user = self._mirror.get(id)
        if user is None and id not in self._gone:
            await self.refresh()
            user = self._mirror.get(id)
        return user

    def is_gone(self, id: str) -> bool:
        """Whether a user of that id, or external id, was here and was removed."""
        return id in self._gone

    def by_email(self, email: str) -> User | None:
        return self._by_email.get(folded(email))

    def by_external(self, external_id: str) -> User | None:
        return self._by_external.get(external_id)

    def list(self, limit: int = 100, offset: int = 0, email: str | None = None) -> "Page":
        """Users by age, oldest first; `email`: those whose email has it in it."""
        part = "" if email is None else folded(email)
        found = [user for user in self._mirror.values() if part in user.email]
        return Page(found[offset : offset + limit], len(found))

    def has_other_admin(self, id: str) -> bool:
        """Whether an active admin other than `id` is there."""
        return any(
            user.role is Role.ADMIN and user.is_active and user.id != id
            for user in self._mirror.values()
        )

    async def create(
        self,
        email: str,
        role: Role = Role.USER,
        name: str | None = None,
        password_hash: str | None = None,
        limits: OwnLimits | None = None,
        external_id: str | None = None,
    ) -> User:
        """Adds a user. Raises `Conflict` for an email or an external id that is taken."""
        values = {
            "id": "user_" + uuid7(),
            "email": checked_email(email),
            "name": name,
            "role": _role(role).value,
            "password_hash": password_hash,
            "external_id": external_id,
            "is_active": True,
            "limits": shown(limits),
            "tokens_after": 0,
        }
        try:
            user = await self._mirror.put(values)
        except Taken:
            raise _taken() from None
        await self._told()
        return user

    async def change(self, id: str, values: Mapping[str, Any]) -> User | None:
        """Changes fields of `User`, here at once; None when there is none of that id.

        Of `limits` the fields that are given change; None drops them all. Raises `Conflict` for
        an email that is taken.
        """
        stored = dict(values)
        user = self._mirror.get(id)
        if user is None:
            return None
        if "email" in stored:
            stored["email"] = checked_email(stored["email"])
        if "role" in stored:
            stored["role"] = _role(stored["role"]).value
        if "limits" in stored:
            stored["limits"] = shown(over(user.limits, stored["limits"]))
        if _ENDING & stored.keys():
            stored["tokens_after"] = _later()
        try:
            changed = await self._mirror.change((id,), stored)
        except Taken:
            raise _taken() from None
        await self._told()
        return changed

    async def renew(self, user: User, password_hash: str) -> None:
        """Keeps the same password under a new hash, unless it has been changed meanwhile."""
        column = table.c.password_hash
        kept = case((column == user.password_hash, password_hash), else_=column)
        await self._mirror.change((user.id,), {"password_hash": kept})

    async def end_tokens(self, id: str) -> bool:
        """Ends every token given out until now; False when there is no such user."""
        return await self._mirror.change((id,), {"tokens_after": _later()}) is not None

    async def remove(self, id: str) -> bool:
        """Removes a user and what is known of the person; False when there is none."""
        blank = {"is_active": False, "password_hash": None, "name": None, "limits": None}
        gone = {**blank, "email": f"{id}@removed.invalid", "tokens_after": _later()}
        if await self._mirror.change((id,), gone) is None:
            return False
        return await self._mirror.drop((id,))

    def _index(self) -> None:
        """What is looked up by something else than the id. Nothing waits in between."""
        users = self._mirror.values()
        before = self._by_external, self._ids
        self._by_email = {user.email: user for user in users}
        self._by_external = {u.external_id: u for u in users if u.external_id is not None}
        self._ids = frozenset(user.id for user in users)
        self._gone |= (before[0].keys() - self._by_external.keys()) | (before[1] - self._ids)
        own = {user.id: user.limits for user in users if user.limits is not None}
        fresh = [u for u in users if u.id in own and self._own.get(u.id) != own[u.id]]
        self._own = own
        self._limits.clear()
        self._limits.update({who: effective(NO_LIMITS, said) for who, said in own.items()})
        if fresh and self.on_limits is not None:
            self._telling = spawn(_tell(self.on_limits, fresh), "tell of users' limits")

    async def _told(self) -> None:
        """Whoever set limits has them in force when it is told so."""
        if self._telling is not None:
            await asyncio.wait([self._telling])


@dataclass(frozen=True, slots=True)
class Page:
    """Some users of a list, and how many it has."""

    users: list[User]
    total: int


async def _tell(told: Told, users: list[User]) -> None:
    await told(users)


def folded(email: str) -> str:
    """An email as it is compared."""
    return email.strip().casefold()


def checked_email(email: str) -> str:
    """An email as it is stored. Raises `Unprocessable`."""
    text = folded(email)
    if len(text) > LONGEST_EMAIL or not _EMAIL.fullmatch(text) or not text.isprintable():
        raise Unprocessable("'email' must be an email address", param="email")
    return text


def _role(role: Role) -> Role:
    if role not in ROLES:
        raise Unprocessable("'role' must be 'admin' or 'user'", param="role")
    return Role(role)


def _later() -> Any:
    """Now in epoch milliseconds, and in any case more than it was: tokens that were given out by
    a process whose clock is ahead end too."""
    column = table.c.tokens_after
    now = literal(int(time.time() * 1000), BigInteger)
    return case((column >= now, column + 1), else_=now)


def _taken() -> Conflict:
    return Conflict("there is an account with that email already", param="email")


def _user(row: Row[Any]) -> User:
    return User(
        id=row.id,
        email=row.email,
        name=row.name,
        role=Role(row.role),
        is_active=bool(row.is_active),
        limits=None if row.limits is None else own_limits(row.limits),
        external_id=row.external_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        tokens_after=row.tokens_after,
        password_hash=row.password_hash,
    )
