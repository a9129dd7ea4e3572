"""Chat under `/v2`: OpenAI's chat with a memory.

A client sends what is new; what was said before in a conversation is put before it, and when the
answer is there both are kept. What fails to be kept is answered all the same.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from adapters.base import Endpoint, Usage
from proxy import routing
from proxy.conversations import Conversations, Said, Took, Turn, are_storable, new_id
from proxy.doors import body as bodies
from proxy.doors import controls as control
from proxy.doors.api import KNOWN, Api, Asked, Operation, answer
from proxy.doors.chats import Answer, Chats, Wanted
from proxy.doors.v2_conversations import controls_of, owner_of, there, usd
from proxy.doors.v2_models import Discovery, id_of
from proxy.errors import InvalidRequest, Unprocessable
from proxy.pipeline import Snapshot
from proxy.response import RESPONSE
from proxy.routing import TASK_PREFIX
from proxy.types import Controls, Principal, Role

CHAT = "/v2/llm/chat/completions"
HEADER = "x-turnout-conversation"
"""Where a stream says the conversation that it will be kept in."""

PATIENCE = 5.0  # seconds that an answer waits to be kept
TITLE = 80  # characters of a title that is made of the first question

_OURS = frozenset(
    {"model_id", "model", "messages", "conversation_id", "store", "title", "stream", "metadata"}
)
"""Fields that stay here."""

_KEPT = ("tool_calls", "refusal")
"""Fields of an answer that are kept beside its text: what it must be told again with."""

log = logging.getLogger("turnout.conversations")


class ChatBody(BaseModel):
    """OpenAI's chat, of a model by its id or name. All other fields of OpenAI's go through."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, hide_input_in_errors=True)

    model_id: str | None = Field(
        default=None, min_length=1, description="A model's id, or any name; counts before `model`"
    )
    model: str | None = Field(default=None, min_length=1)
    messages: list[dict[str, Any]] = Field(min_length=1, fail_fast=True, description="What is new")
    temperature: float | None = None
    max_tokens: int | None = Field(default=None, ge=0)
    stream: bool | None = None
    conversation_id: str | None = Field(default=None, description="Goes on with this one")
    store: bool | None = Field(default=None, description="false: nothing is kept")
    title: str | None = Field(default=None, min_length=1, max_length=200, pattern=r"^[^\x00]*$")

    @field_validator("messages")
    @classmethod
    def _has_plain_roles(cls, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """PostgreSQL takes no NUL in a text, and roles are kept as such."""
        if any("\0" in str(message.get("role")) for message in messages):
            raise ValueError("must be messages whose role is a text without NUL")
        return messages

    @property
    def name(self) -> str:
        """Raises `Unprocessable` when no model is given."""
        if found := self.model_id or self.model:
            return found
        raise Unprocessable("'model_id' is missing", param="model_id")

    @property
    def keeps(self) -> bool:
        return self.store is not False


class ChatAnswer(BaseModel):
    """OpenAI's chat.completion, and these beside it. Cost is null where no price is known."""

    model_config = ConfigDict(extra="allow")

    conversation_id: str | None
    message_id: str | None
    model_id: str
    cost_usd: float | None
    key_source: str = Field(description="user or system: whose key the provider was asked with")
    stored: bool


class _Chat(NamedTuple):
    """A call that was understood: what the pipeline is asked, and what is to be kept of it.

    `place` is the conversation's id, None when nothing is kept.
    """

    wanted: Wanted
    owner: str
    place: str | None
    is_new: bool
    title: str | None
    said: Sequence[Said]


class V2Door:
    """Handlers over the pipeline and what was said before."""

    def __init__(
        self,
        api: Api,
        chats: Chats,
        conversations: Callable[[], Conversations],
        discovery: Discovery,
    ) -> None:
        self._api = api
        self._chats = chats
        self._conversations = conversations
        self._discovery = discovery

    def routes(self) -> list[BaseRoute]:
        failures = (404, 429, 502, 503, 504)
        operations = [
            Operation(
                "POST",
                CHAT,
                self.chat,
                KNOWN,
                "Chat, and keep what was said",
                body=ChatBody,
                answer=ChatAnswer,
                errors=failures,
            ),
            Operation(
                "POST",
                f"{CHAT}/stream",
                self.stream,
                KNOWN,
                "The same as a stream of OpenAI's chunks",
                body=ChatBody,
                media_type="text/event-stream",
                errors=failures,
            ),
        ]
        return [self._api.route(operation) for operation in operations]

    async def chat(self, asked: Asked) -> Response:
        if asked.body.stream:
            return await self.stream(asked)
        chat = await self._understand(asked)
        got = await self._chats.ask(asked.request.scope, asked.principal, chat.wanted)
        message_id = await self._keep(chat, got)
        response = answer(_shown(asked.principal, chat, got, message_id))
        response.raw_headers += _headers(got)
        return response

    async def stream(self, asked: Asked) -> Response:
        chat = await self._understand(asked)
        headers: list[tuple[bytes, bytes]] = asked.request.scope[RESPONSE].headers
        told = [(HEADER.encode(), chat.place.encode())] if chat.place else []
        headers += told
        try:
            await self._chats.stream(
                asked.request.scope,
                asked.principal,
                chat.wanted,
                lambda got: self._keep(chat, got),
            )
        except BaseException:  # whatever it was, it is answered without the header
            headers[:] = [header for header in headers if header not in told]
            raise
        return Streamed()

    async def _understand(self, asked: Asked) -> _Chat:
        """Raises `Overloaded`, `Unprocessable`, `NotFound`, and `InvalidRequest` where there is no
        key."""
        body: ChatBody = asked.body
        name = await self._discovery.name_of(body.name)
        left = _upstream(body)
        said = [Said.of(message) for message in _checked(name, left, body)]
        controls = controls_of(asked.request, body.model_extra or {})
        _check_key(self._chats.current(), asked.principal, name, controls)
        owner = owner_of(asked.principal, controls)
        before: Sequence[Said] = ()
        if body.conversation_id is not None:
            self._chats.admit()  # before anything is read for who is to be sent away
            await there(self._conversations(), owner, body.conversation_id, "conversation_id")
            before = await self._conversations().history(owner, body.conversation_id)
        messages = [*(each.message() for each in before), *body.messages]
        keeps = body.keeps and are_storable(said)
        place = (body.conversation_id or new_id()) if keeps else None
        is_new = body.conversation_id is None
        title = body.title or (_title(said) if is_new else None)
        wanted = Wanted(name, {"messages": messages, **left}, controls)
        return _Chat(wanted, owner, place, is_new, title, said)

    async def _keep(self, chat: _Chat, got: Answer) -> str | None:
        """The id of the answer's message; None when nothing is kept."""
        if chat.place is None:
            return None
        turn = Turn(
            chat.place,
            chat.is_new,
            chat.wanted.name,
            chat.title,
            chat.said,
            _answered(got),
            _took(got),
        )
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._conversations().add(chat.owner, turn)
        except (SQLAlchemyError, OSError) as error:  # a timeout is an OSError
            log.error("what was said was not kept: %s", type(error).__name__)
            return None


class Streamed(Response):
    """The answer has gone out already."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pass


# What is asked.


def _upstream(body: ChatBody) -> dict[str, Any]:
    """The fields that a provider gets, but for the messages."""
    given = body.model_dump(exclude_none=True)
    return {name: value for name, value in given.items() if name not in _OURS}


def _checked(name: str, left: Mapping[str, Any], body: ChatBody) -> Sequence[Mapping[str, Any]]:
    """The new messages. Raises `Unprocessable` for what the data plane would call invalid."""
    try:
        control.check_forwardable(name, "model_id")
        bodies.check(
            Endpoint.CHAT, {"model": name, "messages": body.messages, **left, **_own(body)}
        )
    except InvalidRequest as error:
        raise Unprocessable(error.message, param=error.param, code=error.code) from None
    if "drop_params" in left:
        raise Unprocessable("'drop_params' is taken under /v1 only", param="drop_params")
    return body.messages


def _own(body: ChatBody) -> dict[str, Any]:
    return {"metadata": (body.model_extra or {}).get("metadata")}


def _check_key(snapshot: Snapshot, principal: Principal, name: str, controls: Controls) -> None:
    """Raises `InvalidRequest` with code `no_api_key` where only a key is missing; what else may
    be wrong with the name is the pipeline's to say."""
    name = name if controls.task is None else TASK_PREFIX + controls.task
    table, own = snapshot.table, principal.own
    resolved = routing.resolve(table, name) if principal.may_use(name) else None
    if resolved is None or routing.first_target(table, resolved, own) is not None:
        return
    known = snapshot.config.providers
    named = dict.fromkeys(choice.provider for choice in resolved.choices)
    lacking = [p for p in named if p in known and known[p].lacks_key]
    if not lacking:
        return
    first = lacking[0]
    saving = ""
    if principal.role in (Role.USER, Role.ADMIN) and principal.user_id is not None:
        body = f'{{"{first}_api_key": "…"}}'
        saving = f"save your own with PATCH /v2/users/me/api-key {body}, or "
    message = (
        f"there is no API key for {' or '.join(lacking)}, neither of yours nor of the system's: "
        f"{saving}have an admin set one with PUT /v2/admin/llm-keys/{first}"
    )
    raise InvalidRequest(message, param="model_id", code="no_api_key")


# What is kept, and what is shown.


def _title(said: Sequence[Said]) -> str | None:
    """The beginning of the first question."""
    for each in said:
        if each.role == "user":
            text = " ".join(_text(each.content).replace("\0", "").split())
            return text[:TITLE] or None
    return None


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return " ".join(text for text in texts if isinstance(text, str))


def _answered(got: Answer) -> Said:
    """The first choice."""
    choices = got.body.get("choices") or [{}]
    message = choices[0].get("message") or {}
    more = {name: message[name] for name in _KEPT if message.get(name)}
    return Said("assistant", message.get("content"), more)


def _took(got: Answer) -> Took:
    record, usage = got.record, got.record.usage or Usage()
    return Took(
        f"{got.provider}/{got.model}",
        record.id,
        usage.prompt,
        usage.completion,
        record.cost_nanousd,
    )


def _shown(
    principal: Principal, chat: _Chat, got: Answer, message_id: str | None
) -> dict[str, Any]:
    own = principal.own.providers if principal.own is not None else ()
    beside = ChatAnswer(
        conversation_id=chat.place if message_id else None,
        message_id=message_id,
        model_id=id_of(f"{got.provider}/{got.model}"),
        cost_usd=usd(got.record.cost_nanousd),
        key_source="user" if got.provider in own else "system",
        stored=message_id is not None,
    )
    return {**got.body, **beside.model_dump()}


def _headers(got: Answer) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-turnout-provider", got.provider.encode()),
        (b"x-turnout-model", got.model.encode()),
        (b"x-turnout-attempts", b"%d" % got.attempts),
        (b"x-turnout-cache", got.cache.encode()),
    ]
