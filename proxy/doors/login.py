"""Logging in and out: `/v2/login/access-token`, `/api/v1/login`, `/api/v1/logout`; and who is in:
`/api/v1/session`.

Open to all, so each counts what it is asked. Whether it is the email or the password that is
wrong, or the account that is off, nobody is told, nor can time it.
"""

import logging
import re
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote_to_bytes

from pydantic import AliasChoices, BaseModel, Field, SecretStr
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from proxy.auth import check_origin
from proxy.doors import body as bodies
from proxy.doors.api import (
    EVERYONE,
    Api,
    Asked,
    Fault,
    Lenient,
    Operation,
    answer,
    fault_at,
    nothing,
    validated,
)
from proxy.doors.controls import first_of_each
from proxy.errors import TooLarge, Unauthenticated
from proxy.live import Live
from proxy.passwords import LONGEST, Attempts, Passwords
from proxy.tokens import MASTER, RevokedTokens, Token
from proxy.types import Role
from proxy.users import LONGEST_EMAIL, User, UserStore

BODY_LIMIT = 16 * 1024  # bytes of a login
COOKIE = "session"
MASTER_KEY = "the master key"  # what guesses at it are counted under

log = logging.getLogger("turnout.login")

_PERCENT = re.compile(rb"([^%]|%[0-9A-Fa-f]{2})*", re.DOTALL)

M = TypeVar("M", bound=BaseModel)

Email = Annotated[str, Field(min_length=1, max_length=LONGEST_EMAIL)]
Password = Annotated[SecretStr, Field(min_length=1, max_length=LONGEST)]


class Login(Lenient):
    """Who logs in, as JSON or as a form. `username` is the email too."""

    email: Email = Field(validation_alias=AliasChoices("email", "username"))
    password: Password


class MasterLogin(Lenient):
    """Who logs in with the master key, and no account."""

    key: Annotated[SecretStr, Field(min_length=1, max_length=LONGEST)]


class AccessTokenRequest(Lenient):
    """OAuth 2.0's password grant (RFC 6749, 4.3), as a form or as JSON."""

    username: Email = Field(validation_alias=AliasChoices("username", "email"))
    password: Password


class AccessToken(BaseModel):
    """A token; `expires_in` seconds."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105  (the wire's own word)
    expires_in: int


class Person(BaseModel):
    """Who has logged in. Who has the master key is `master`, and has no email."""

    id: str
    email: str | None
    name: str | None
    role: Role


class LoggedIn(AccessToken):
    """A token, and whose it is."""

    user: Person


class Account(BaseModel):
    """Whose a session is."""

    id: str
    email: str
    name: str | None


class SessionAnswer(BaseModel):
    """Who calls: `user` is the account of roles `admin` and `user`, null for who has none;
    `key_id` the virtual key's. `version` is Turnout's own."""

    role: Role
    user: Account | None
    key_id: str | None
    version: str


class LoginDoor:
    """Handlers over the accounts."""

    def __init__(
        self,
        api: Api,
        live: Live,
        users: Callable[[], UserStore],
        revoked: Callable[[], RevokedTokens],
        passwords: Passwords,
        attempts: Attempts,
    ) -> None:
        self._api = api
        self._live = live
        self._users = users
        self._revoked = revoked
        self._passwords = passwords
        self._attempts = attempts

    def routes(self) -> list[BaseRoute]:
        """They are open, and read their bodies themselves: those may be forms."""
        operations = (
            Operation(
                "POST", "/v2/login/access-token", self.access_token, EVERYONE,
                "A token for an email and a password",
                takes=AccessTokenRequest, is_open=True, answer=AccessToken, errors=(401, 429),
            ),
            Operation(
                "POST", "/api/v1/login", self.login, EVERYONE,
                "Log in: a token, and the session's cookie",
                takes=Login | MasterLogin, is_open=True, answer=LoggedIn, errors=(401, 403, 429),
            ),
            Operation(
                "POST", "/api/v1/logout", self.logout, EVERYONE,
                "Log out: the token that is sent ends, the cookie goes",
                status=204, is_open=True,
            ),
            Operation(
                "GET", "/api/v1/session", self.session, EVERYONE, "Who calls",
                answer=SessionAnswer,
            ),
        )  # fmt: skip
        return [self._api.route(operation) for operation in operations]

    async def access_token(self, asked: Asked) -> Response:
        said = await _given(asked.request, AccessTokenRequest)
        user = await self._proven(asked.request, said.username, said.password)
        token = self._issue(user)
        return _unkept(AccessToken(access_token=token.text, expires_in=self._seconds(asked)))

    async def login(self, asked: Asked) -> Response:
        check_origin(first_of_each(asked.request.scope))  # it sets the cookie
        person, token = await self._logged_in(asked.request)
        seconds = self._seconds(asked)
        response = _unkept(LoggedIn(access_token=token.text, expires_in=seconds, user=person))
        response.set_cookie(
            COOKIE,
            token.text,
            max_age=seconds,
            path="/",
            secure=_is_secure(asked.request),
            httponly=True,
            samesite="strict",
        )
        return response

    async def _logged_in(self, request: Request) -> tuple[Person, Token]:
        """By an email and a password, or by the master key."""
        fault = fault_at(request.scope["path"])
        given = _parsed(await _read(request), fault)
        if "key" not in given:
            said = validated(Login, given, fault)
            user = await self._proven(request, said.email, said.password)
            person = Person(id=user.id, email=user.email, name=user.name, role=user.role)
            return person, self._issue(user)
        if {"email", "username", "password"} & given.keys():
            raise fault("give 'key', or 'email' and 'password', not both", "key")
        key = validated(MasterLogin, given, fault).key
        auth = self._live.current.auth
        async with self._attempts.one(MASTER_KEY, _address(request)) as attempt:
            attempt.is_right = auth.is_master(key.get_secret_value())
            if not attempt.is_right:
                raise Unauthenticated("the master key is wrong", code="invalid_credentials")
        person = Person(id=MASTER, email=None, name="master key", role=Role.ADMIN)
        return person, auth.issue_master()

    async def session(self, asked: Asked) -> Response:
        principal = asked.principal
        user = None
        if principal.role in (Role.ADMIN, Role.USER) and principal.user_id is not None:
            user = self._users().get(principal.user_id)
        account = None if user is None else Account(id=user.id, email=user.email, name=user.name)
        return _unkept(
            SessionAnswer(
                role=principal.role, user=account, key_id=principal.key_id, version=_version()
            )
        )

    async def logout(self, asked: Asked) -> Response:
        """204 for whoever has no session any more, too. A page of another origin can't have it: its
        form comes without the cookie, but the answer to it would take the cookie away."""
        request = asked.request
        headers = first_of_each(request.scope)
        check_origin(headers)
        session = await self._live.current.auth.session(request.method, headers)
        if session is not None:
            await self._revoked().revoke(session.claims.id, session.claims.expires_at)
        response = nothing()
        response.delete_cookie(
            COOKIE, path="/", secure=_is_secure(request), httponly=True, samesite="strict"
        )
        return response

    async def _proven(self, request: Request, email: str, password: SecretStr) -> User:
        """The user whose password it is. Raises `Unauthenticated`, `LimitExceeded`."""
        users = self._users()
        async with self._attempts.one(email, _address(request)) as attempt:
            await users.catch_up()
            user = users.by_email(email)
            stored = user.password_hash if user is not None else None
            checked = await self._passwords.verify(password.get_secret_value(), stored)
            attempt.is_right = checked.is_right and user is not None and user.is_active
            if user is None or not attempt.is_right:
                message = "the email or the password is wrong, or the account is switched off"
                raise Unauthenticated(message, code="invalid_credentials")
        if checked.renewed is not None:
            try:
                await users.renew(user, checked.renewed)
            except (SQLAlchemyError, OSError) as error:  # the next login does it
                log.warning("a password's hash was not renewed: %s", type(error).__name__)
        return user

    def _issue(self, user: User) -> Token:
        tokens = self._live.current.auth.tokens
        assert tokens is not None, "the gateway has accounts, so it has tokens"
        return tokens.issue(user)

    def _seconds(self, asked: Asked) -> int:
        return int(self._live.current.config.auth.jwt.expires)


@cache
def _version() -> str:
    """Read once: it takes a look into the package's files."""
    return version("turnout")


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


async def _given(request: Request, model: type[M]) -> M:
    """The body: a form or JSON, whatever its content type says."""
    fault = fault_at(request.scope["path"])
    return validated(model, _parsed(await _read(request), fault), fault)


async def _read(request: Request) -> bytes:
    """A body that is small. Raises `TooLarge`."""
    pieces = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces += message.get("body", b"")
        if len(pieces) > BODY_LIMIT:
            raise TooLarge(f"the body of a login has {BODY_LIMIT} bytes at most")
        if not message.get("more_body", False):
            return bytes(pieces)


def _parsed(raw: bytes, fault: Fault) -> dict[str, Any]:
    return bodies.parse(raw) if raw.lstrip()[:1] == b"{" else read_form(raw, fault)


def read_form(raw: bytes, fault: Fault) -> dict[str, str]:
    """The fields of `application/x-www-form-urlencoded`. Raises what `fault` makes of one that is
    there twice, or is no text."""
    found: dict[str, str] = {}
    for pair in raw.strip().split(b"&") if raw.strip() else []:
        name, equals, value = pair.partition(b"=")
        try:
            field, text = _decoded(name), _decoded(value)
        except ValueError:
            raise fault("the body is no form in UTF-8, and no JSON object", None) from None
        if not equals or not field:
            raise fault("the body is neither a form (a=b&c=d) nor a JSON object", None)
        if field in found:
            raise fault("the form has a field twice; leave one out", None)
        found[field] = text
    return found


def _decoded(part: bytes) -> str:
    """Raises `ValueError` for what is no percent-encoded UTF-8."""
    if not _PERCENT.fullmatch(part):
        raise ValueError("no percent-encoding")
    return unquote_to_bytes(part.replace(b"+", b" ")).decode("utf-8", "strict")


def _is_secure(request: Request) -> bool:
    """Whether the browser came over https, perhaps to a proxy before this. Who says so falsely
    gets a cookie that is sent more seldom."""
    headers = request.headers
    return (
        request.scope["scheme"] == "https"
        or headers.get("x-forwarded-proto", "").strip().lower() == "https"
        or headers.get("origin", "").lower().startswith("https://")
    )


def _unkept(value: BaseModel) -> Response:
    """An answer that no cache may keep."""
    response = answer(value)
    response.headers["cache-control"] = "no-store"
    return response
