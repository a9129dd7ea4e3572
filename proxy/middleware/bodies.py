"""What was asked and answered, in the log: only where `ledger.log_bodies` asks for it.

Of calls alone: what else is posted, a password or a provider's key, is never written. No header is.
"""

import logging
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.middleware.usage import RECORD
from proxy.response import RESPONSE, Response
from proxy.telemetry.logs import FIELDS

LIMIT = 64 * 1024  # bytes of each body that are written

log = logging.getLogger("turnout.bodies")


class Copy:
    """The beginning of a body, as it passes."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._room = LIMIT

    def take(self, message: Message) -> None:
        piece: bytes = message.get("body", b"")
        if piece and self._room > 0:
            self._pieces.append(piece[: self._room])
        self._room -= len(piece)

    @property
    def text(self) -> str:
        return b"".join(self._pieces).decode(errors="replace")

    @property
    def is_cut(self) -> bool:
        return self._room < 0


class Bodies:
    """Writes one line for each call, when its answer has ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked, answered = Copy(), Copy()
        response: Response = scope[RESPONSE]
        send_body = response.send_body

        async def hear() -> Message:
            message = await receive()
            asked.take(message)
            return message

        def say(message: Message) -> Awaitable[None]:
            answered.take(message)
            return send_body(message)

        response.send_body = say
        try:
            await self._app(scope, hear, send)
        finally:
            if scope[RECORD].admitted:
                _write(scope, asked, answered)


def _write(scope: Scope, asked: Copy, answered: Copy) -> None:
    fields = {
        "message": "bodies",
        "request_id": scope[RECORD].id,
        "path": scope["path"],  # of a call, so one of few
        "request": asked.text,
        "response": answered.text,
        "is_cut": asked.is_cut or answered.is_cut,
    }
    log.info(
        "request %s: asked %r, answered %r",
        fields["request_id"],
        fields["request"],
        fields["response"],
        extra={FIELDS: fields},
    )
