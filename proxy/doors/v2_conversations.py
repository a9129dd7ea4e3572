"""What was said, under `/v2/conversations`: each caller's own. Not even admins see others'."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from proxy.conversations import Conversation, Conversations, Message, is_id
from proxy.doors import controls as control
from proxy.doors.api import KNOWN, Api, Asked, Operation, Strict, answer, nothing
from proxy.doors.v2_models import id_of
from proxy.errors import InvalidRequest, NotFound, Unprocessable
from proxy.ids import request_name
from proxy.types import Controls, Principal, Role

CONVERSATIONS = "/v2/conversations"
PAGE, MOST = 50, 200  # conversations of a page
MESSAGES, MOST_MESSAGES = 200, 1000  # messages of a page

"""What `x-request-id` has before the id of the row."""


class ConversationPage(Strict):
    """Which conversations, newest first."""

    limit: int = Field(default=PAGE, ge=1, le=MOST)
    offset: int = Field(default=0, ge=0, le=10**9)


class MessagePage(Strict):
    """Which messages, oldest first; fewer where they are long."""

    limit: int = Field(default=MESSAGES, ge=1, le=MOST_MESSAGES)
    offset: int = Field(default=0, ge=0, le=10**9)


class ConversationEntry(Strict):
    """A conversation."""

    id: str
    title: str | None
    model: str
    model_id: str
    created_at: datetime
    updated_at: datetime


class MessageEntry(BaseModel):
    """A message; other fields that it had, such as `tool_calls`, are there as they were."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str
    role: str
    content: Any
    model: str | None
    request_id: str | None
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    created_at: datetime


class ConversationList(Strict):
    """Conversations, and whether there are more behind them."""

    object: str = "list"
    data: list[ConversationEntry]
    has_more: bool


class ConversationWhole(ConversationEntry):
    """A conversation with messages, and whether there are more behind them."""

    messages: list[MessageEntry]
    has_more: bool


class ConversationsDoor:
    """Handlers over what is kept."""

    def __init__(self, api: Api, conversations: Callable[[], Conversations]) -> None:
        self._api = api
        self._conversations = conversations

    def routes(self) -> list[BaseRoute]:
        operations = [
            Operation(
                "GET",
                CONVERSATIONS,
                self.list,
                KNOWN,
                "The caller's conversations, newest first",
                query=ConversationPage,
                answer=ConversationList,
            ),
            Operation(
                "GET",
                f"{CONVERSATIONS}/{{id}}",
                self.show,
                KNOWN,
                "A conversation of the caller's",
                query=MessagePage,
                answer=ConversationWhole,
                errors=(404,),
            ),
            Operation(
                "DELETE",
                f"{CONVERSATIONS}/{{id}}",
                self.delete,
                KNOWN,
                "Delete a conversation with its messages",
                status=204,
                errors=(404,),
            ),
        ]
        return [self._api.route(operation) for operation in operations]

    async def list(self, asked: Asked) -> Response:
        page: ConversationPage = asked.query
        owner = _owner(asked)
        found = await self._conversations().list(owner, page.limit + 1, page.offset)
        data = [_entry(each) for each in found[: page.limit]]
        return answer(ConversationList(data=data, has_more=len(found) > page.limit))

    async def show(self, asked: Asked) -> Response:
        page: MessagePage = asked.query
        owner = _owner(asked)
        found = await there(self._conversations(), owner, asked.path("id"))
        said = await self._conversations().messages(owner, found.id, page.limit, page.offset)
        messages = [_message(each) for each in said.messages]
        whole = ConversationWhole(
            **_entry(found).model_dump(), messages=messages, has_more=said.has_more
        )
        return answer(whole)

    async def delete(self, asked: Asked) -> Response:
        owner, place = _owner(asked), asked.path("id")
        if not is_id(place) or not await self._conversations().delete(owner, place):
            raise _nothing_there("id")
        return nothing()


def owner_of(principal: Principal, controls: Controls) -> str:
    """Whose a conversation is: the user's, else the key's, the customer's that a service names,
    or the master key's; no two kinds can have the same name. Raises `Unprocessable` for a customer
    that no database takes."""
    if principal.user_id is not None:
        return f"user:{principal.user_id}"
    if principal.key_id is not None:
        return f"key:{principal.key_id}"
    if principal.role is Role.SERVICE and controls.user is not None:
        if "\0" in controls.user:
            raise Unprocessable("'user' must be a text without NUL", param="user")
        return f"service:{controls.user}"
    return str(principal.role)


def _owner(asked: Asked) -> str:
    return owner_of(asked.principal, controls_of(asked.request, {}))


def controls_of(request: Request, body: Mapping[str, Any]) -> Controls:
    """What the caller asks of Turnout itself. Raises `Unprocessable`."""
    try:
        return control.read(control.first_of_each(request.scope), body)
    except InvalidRequest as error:
        raise Unprocessable(error.message, param=error.param, code=error.code) from None


async def there(
    conversations: Conversations, owner: str, id: str, param: str = "id"
) -> Conversation:
    """The owner's conversation. Raises `NotFound`."""
    found = await conversations.get(owner, id) if is_id(id) else None
    if found is None:
        raise _nothing_there(param)
    return found


def _nothing_there(param: str) -> NotFound:
    return NotFound("there is no such conversation, or it is not yours", param=param)


def _entry(found: Conversation) -> ConversationEntry:
    return ConversationEntry(
        id=found.id,
        title=found.title,
        model=found.model,
        model_id=id_of(found.model),
        created_at=_time(found.created_at),
        updated_at=_time(found.updated_at),
    )


def _message(found: Message) -> MessageEntry:
    ours = MessageEntry.model_fields.keys()
    return MessageEntry(
        id=found.id,
        role=found.said.role,
        content=found.said.content,
        model=found.took.model,
        request_id=_request_id(found.took.request_id),
        input_tokens=found.took.input_tokens,
        output_tokens=found.took.output_tokens,
        cost_usd=usd(found.took.cost_nanousd),
        created_at=_time(found.created_at),
        **{name: value for name, value in found.said.more.items() if name not in ours},
    )


def _request_id(row: str | None) -> str | None:
    """As `x-request-id` said it."""
    return row and request_name(row)


def usd(nano: int | None) -> float | None:
    """Nano-dollars as dollars."""
    return None if nano is None else nano / 1e9


def _time(millis: int) -> datetime:
    return datetime.fromtimestamp(millis / 1000, UTC)
