"""Accounts under `/api/v1/users`: the admin's, and everybody's own."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from proxy.allowance import LimitsError, own_limits, shown
from proxy.doors.api import ADMIN, PEOPLE, Api, Asked, Operation, Strict, answer, nothing
from proxy.errors import Conflict, NotFound, Unprocessable
from proxy.passwords import LONGEST, Attempts, Passwords, check_new
from proxy.types import OwnLimits, Role
from proxy.users import LONGEST_EMAIL, User, UserStore

PAGE, LONGEST_PAGE = 100, 500  # users of an answer
FAR = 10**9


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be plain text in one line")
    return value


Email = Annotated[str, Field(min_length=3, max_length=LONGEST_EMAIL)]
Name = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
Secret = Annotated[SecretStr, Field(max_length=LONGEST)]
RoleName = Literal["admin", "user"]


class NewUser(Strict):
    """An account to be made. Without a password nobody can log in to it."""

    email: Email
    password: Secret | None = None
    role: RoleName = "user"
    name: Name | None = None
    limits: dict[str, Any] | None = None


class UserChange(Strict):
    """What is left out stays. Of `limits` the fields that are given change, null drops all."""

    email: Email = ""
    password: Secret = SecretStr("")
    role: RoleName = "user"
    name: Name | None = None
    is_active: bool = True
    limits: dict[str, Any] | None = None


class PasswordChange(Strict):
    """One's own password."""

    old: Secret
    new: Secret


class UserQuery(Strict):
    """Which users of the list."""

    limit: Annotated[int, Field(ge=1, le=LONGEST_PAGE)] = PAGE
    offset: Annotated[int, Field(ge=0, le=FAR)] = 0
    email: Annotated[str, Field(max_length=LONGEST_EMAIL)] | None = None


class UserAnswer(BaseModel):
    """An account as it is shown. Times are epoch milliseconds."""

    id: str
    email: str
    name: str | None
    role: Role
    is_active: bool
    limits: dict[str, Any]
    external_id: str | None
    created_at: int
    updated_at: int


class UserList(BaseModel):
    """A page of users, oldest first; `total` is how many there are in all."""

    users: list[UserAnswer]
    total: int


class Nobody(BaseModel):
    """The master key, which has no account."""

    id: None = None
    role: Role = Role.ADMIN
    email: None = None


class UsersDoor:
    """Handlers over the accounts. `end_keys` ends what a removed user had: virtual keys, and own
    keys of providers."""

    def __init__(
        self,
        api: Api,
        users: Callable[[], UserStore],
        passwords: Passwords,
        attempts: Attempts,
        end_keys: Callable[[str], Awaitable[None]],
    ) -> None:
        self._api = api
        self._users = users
        self._passwords = passwords
        self._attempts = attempts
        self._end_keys = end_keys

    def routes(self) -> list[BaseRoute]:
        """Those of `me` first: it is no id."""
        root, one = "/api/v1/users", "/api/v1/users/{id}"
        operations = (
            Operation(
                "GET", f"{root}/me", self.me, PEOPLE, "Who calls", answer=UserAnswer | Nobody
            ),
            Operation(
                "POST", f"{root}/me/password", self.change_password, PEOPLE,
                "Change one's own password; every token of before ends",
                body=PasswordChange, status=204, errors=(409, 429),
            ),
            Operation(
                "GET", root, self.list, ADMIN, "Users, oldest first",
                query=UserQuery, answer=UserList,
            ),
            Operation(
                "POST", root, self.create, ADMIN, "Make a user",
                body=NewUser, answer=UserAnswer, status=201, errors=(409,),
            ),
            Operation("GET", one, self.show, ADMIN, "A user", answer=UserAnswer, errors=(404,)),
            Operation(
                "PATCH", one, self.change, ADMIN,
                "Change a user; a new password, role or state ends every token of before",
                body=UserChange, answer=UserAnswer, errors=(404, 409),
            ),
            Operation(
                "DELETE", one, self.remove, ADMIN, "Remove a user, with all keys",
                status=204, errors=(404, 409),
            ),
            Operation(
                "POST", f"{one}/revoke-tokens", self.revoke_tokens, ADMIN,
                "End every token that a user has", status=204, errors=(404,),
            ),
        )  # fmt: skip
        return [self._api.route(operation) for operation in operations]

    async def me(self, asked: Asked) -> Response:
        if asked.principal.user_id is None:
            return answer(Nobody())
        return answer(_shown(self._user(asked.principal.user_id)))

    async def change_password(self, asked: Asked) -> Response:
        if asked.principal.user_id is None:
            raise Conflict("the master key has no password; it is in the configuration")
        user = self._user(asked.principal.user_id)
        if user.password_hash is None:
            raise Conflict("this account has no password; an admin can give it one")
        old, new = (secret.get_secret_value() for secret in (asked.body.old, asked.body.new))
        check_new(new, user.email, "new")
        async with self._attempts.one(user.email, _address(asked.request)) as attempt:
            checked = await self._passwords.verify(old, user.password_hash)
            attempt.is_right = checked.is_right
            if not checked.is_right:
                message = "'old' is not the password of this account"
                raise Unprocessable(message, param="old", code="invalid_credentials")
        hashed = await self._passwords.hash(new)
        await self._users().change(user.id, {"password_hash": hashed})
        return nothing()

    async def list(self, asked: Asked) -> Response:
        query: UserQuery = asked.query
        page = self._users().list(query.limit, query.offset, query.email)
        return answer(UserList(users=[_shown(user) for user in page.users], total=page.total))

    async def create(self, asked: Asked) -> Response:
        wanted: NewUser = asked.body
        hashed = None
        if wanted.password is not None:
            hashed = await self._hashed(wanted.password, wanted.email)
        user = await self._users().create(
            wanted.email, Role(wanted.role), wanted.name, hashed, _limits(wanted.limits)
        )
        return answer(_shown(user), 201)

    async def show(self, asked: Asked) -> Response:
        return answer(_shown(self._user(asked.path("id"))))

    async def change(self, asked: Asked) -> Response:
        user, given = self._user(asked.path("id")), asked.body
        values = {name: getattr(given, name) for name in given.model_fields_set}
        if values.get("role") == "user" or values.get("is_active") is False:
            self._keep_an_admin(asked, user)
        if "password" in values:
            secret = values.pop("password")
            values["password_hash"] = await self._hashed(secret, values.get("email", user.email))
        if "limits" in values:
            values["limits"] = _limits(values["limits"])
        if "role" in values:
            values["role"] = Role(values["role"])
        changed = await self._users().change(user.id, values)
        if changed is None:
            raise _no_user(user.id)
        return answer(_shown(changed))

    async def remove(self, asked: Asked) -> Response:
        user = self._user(asked.path("id"))
        self._keep_an_admin(asked, user)
        # Off before the keys end, so that none is made meanwhile; removed last, so that it can be
        # asked for again when the database fails in between.
        await self._users().change(user.id, {"is_active": False})
        await self._end_keys(user.id)
        await self._users().remove(user.id)
        return nothing()

    async def revoke_tokens(self, asked: Asked) -> Response:
        user = self._user(asked.path("id"))
        await self._users().end_tokens(user.id)
        return nothing()

    def _user(self, id: str) -> User:
        user = self._users().get(id)
        if user is None:
            raise _no_user(id)
        return user

    async def _hashed(self, secret: SecretStr, email: str) -> str:
        password = secret.get_secret_value()
        check_new(password, email)
        return await self._passwords.hash(password)

    def _keep_an_admin(self, asked: Asked, user: User) -> None:
        """An admin does not shut the door behind the last one; the master key may."""
        if user.id == asked.principal.user_id and not self._users().has_other_admin(user.id):
            raise Conflict("this is the last active admin; make another one first")


def _no_user(id: str) -> NotFound:
    return NotFound(f"there is no user {id!r}")


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _limits(given: dict[str, Any] | None) -> OwnLimits | None:
    try:
        return None if given is None else own_limits(given)
    except LimitsError as error:
        raise Unprocessable(str(error), param=error.field) from None


def _shown(user: User) -> UserAnswer:
    return UserAnswer(
        id=user.id,
        email=user.email,
        name=user.name,
        role=user.role,
        is_active=user.is_active,
        limits=shown(user.limits) or {},
        external_id=user.external_id,
        created_at=user.created_at,
        updated_at=user.updated_at,
    )
