"""What has been sent is known, and the server's own awaitable comes back."""

from starlette.types import Message

from proxy.response import Response


async def test_the_start_is_noted_and_given_its_headers() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    response = Response(send)
    response.headers.append((b"x-request-id", b"1"))
    assert response.status == 0
    await response({"type": "http.response.start", "status": 201, "headers": [(b"a", b"b")]})
    await response({"type": "http.response.body", "body": b"x"})
    assert response.status == 201
    assert sent[0]["headers"] == [(b"x-request-id", b"1"), (b"a", b"b")]
    assert response.send_body is send


async def test_defaults_give_way_to_what_the_response_says_itself() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    response = Response(send)
    response.defaults = ((b"cache-control", b"no-store"), (b"x", b"y"))
    own = [(b"cache-control", b"no-cache")]
    await response({"type": "http.response.start", "status": 200, "headers": own})
    assert sent[0]["headers"] == [(b"x", b"y"), (b"cache-control", b"no-cache")]
