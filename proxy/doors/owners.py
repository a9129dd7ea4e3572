"""Whose usage a caller reads: everybody's, or the own; somebody else's is not there."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.doors.api import Lenient
from proxy.errors import Forbidden, NotFound, Unprocessable
from proxy.ledger.analytics import Owner, owns_key
from proxy.types import Principal, Role


def _without_nul(text: str) -> str:
    """PostgreSQL refuses a NUL."""
    if "\0" in text:
        raise ValueError("must be a text without NUL")
    return text


Name = Annotated[str, AfterValidator(_without_nul)]
"""A text that every database takes."""


def _digits(given: Any) -> Any:
    """A number in a query is digits: neither a sign, nor a blank, nor digits of other scripts."""
    if isinstance(given, str):
        if not (len(given) < 10 and given.isascii() and given.isdigit()):
            raise ValueError("must be a whole number")
        return int(given)
    return given


Number = Annotated[int, BeforeValidator(_digits)]
"""A whole number of a query."""


class Whose(Lenient):
    """Narrows what is read to one user or one key."""

    user_id: Annotated[Name, Field(min_length=1)] | None = None
    key_id: Annotated[Name, Field(min_length=1)] | None = None


async def owner_of(engine: AsyncEngine, principal: Principal, whose: Whose) -> Owner | None:
    """Whose usage is meant; None is everybody's. Raises `Forbidden`, `NotFound`, `Unprocessable`.

    A user may name one of the own keys. Keys never change hands, so its rows are the user's.
    """
    own = own_of(principal)
    if own is None:
        return _named(whose)
    _must_be(whose.user_id, principal.user_id, "user")
    if own.dimension == "key":
        _must_be(whose.key_id, own.value, "key")
    elif whose.key_id is not None:
        if not await owns_key(engine, own.value, whose.key_id):
            raise _no("key")
        return Owner("key", whose.key_id)
    return own


def own_of(principal: Principal) -> Owner | None:
    """Whose usage a caller reads who names nobody; None is everybody's. Raises `Forbidden`."""
    if principal.role in (Role.ADMIN, Role.SERVICE):
        return None
    if principal.role is Role.USER and principal.user_id is not None:
        return Owner("user", principal.user_id)
    if principal.role is Role.KEY and principal.key_id is not None:
        return Owner("key", principal.key_id)
    raise Forbidden("usage needs a key, a user's token, a service key or the master key")


def _named(whose: Whose) -> Owner | None:
    if whose.user_id is not None and whose.key_id is not None:
        raise Unprocessable("give 'user_id' or 'key_id', not both", param="key_id")
    if whose.user_id is not None:
        return Owner("user", whose.user_id)
    return None if whose.key_id is None else Owner("key", whose.key_id)


def _must_be(asked: str | None, own: str | None, what: str) -> None:
    if asked is not None and asked != own:
        raise _no(what)


def _no(what: str) -> NotFound:
    return NotFound(f"there is no such {what}")
