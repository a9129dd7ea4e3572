"""Whose usage each caller reads: by default, and when somebody is named."""

from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.doors.owners import Whose, owner_of
from proxy.errors import Forbidden, NotFound, TurnoutError, Unprocessable
from proxy.keys import KeyStore
from proxy.ledger.analytics import Owner
from proxy.types import Principal, Role

ADMIN, SERVICE = Principal(Role.ADMIN), Principal(Role.SERVICE)
ANN = Principal(Role.USER, None, "ann")
KEY = Principal(Role.KEY, "key_a", "ann")
STRAY = Principal(Role.KEY, "key_b")


@pytest.mark.parametrize(
    ("caller", "asked", "owner"),
    [
        (ADMIN, {}, None),
        (SERVICE, {}, None),
        (ADMIN, {"user_id": "bob"}, Owner("user", "bob")),
        (SERVICE, {"key_id": "key_x"}, Owner("key", "key_x")),
        (ANN, {}, Owner("user", "ann")),
        (ANN, {"user_id": "ann"}, Owner("user", "ann")),
        (KEY, {}, Owner("key", "key_a")),
        (KEY, {"user_id": "ann"}, Owner("key", "key_a")),
        (KEY, {"key_id": "key_a"}, Owner("key", "key_a")),
        (STRAY, {}, Owner("key", "key_b")),
    ],
)
async def test_own(
    engine: AsyncEngine, caller: Principal, asked: dict[str, Any], owner: Owner | None
) -> None:
    assert await owner_of(engine, caller, Whose(**asked)) == owner


@pytest.mark.parametrize(
    ("caller", "asked", "error"),
    [
        (ANN, {"user_id": "bob"}, NotFound),
        (ANN, {"user_id": "Ann"}, NotFound),
        (ANN, {"user_id": "bob", "key_id": "key_a"}, NotFound),
        (ANN, {"key_id": "key_none"}, NotFound),
        (KEY, {"user_id": "bob"}, NotFound),
        (KEY, {"key_id": "key_b"}, NotFound),
        (STRAY, {"user_id": "ann"}, NotFound),
        (ADMIN, {"user_id": "ann", "key_id": "key_a"}, Unprocessable),
        (Principal(Role.ANONYMOUS), {}, Forbidden),
        (Principal(Role.USER), {}, Forbidden),
        (Principal(Role.KEY), {}, Forbidden),
    ],
)
async def test_somebody_elses(
    engine: AsyncEngine, caller: Principal, asked: dict[str, Any], error: type[TurnoutError]
) -> None:
    with pytest.raises(error):
        await owner_of(engine, caller, Whose(**asked))


async def test_a_user_may_name_the_own_keys(engine: AsyncEngine) -> None:
    keys = KeyStore(engine, b"d" * 32)
    hers, his = await keys.create(user_id="ann"), await keys.create(user_id="bob")
    nobodys = await keys.create()
    assert await owner_of(engine, ANN, Whose(key_id=hers.id)) == Owner("key", hers.id)
    for other in (his, nobodys):
        with pytest.raises(NotFound):
            await owner_of(engine, ANN, Whose(key_id=other.id))


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValidationError):
        Whose(user_id=name)
