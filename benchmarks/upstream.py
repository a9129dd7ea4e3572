"""A scripted fast upstream: canned answers of OpenAI and Anthropic from one asyncio protocol.

It shares its core with the load generator, so it must cost little: no framework, no JSON, every
answer made before the first request. A stream's events leave one by one, `gap` milliseconds
apart, each in a write of its own, because only so does a gateway see them as separate reads.
All streams keep to one beat of a millisecond and are spread evenly over it, so that every
gateway is woken equally often: left to themselves they fall in and out of step, and the CPU for
a chunk swings by a third with it. `GET /stats` tells what was really asked for, so that an answer
from a cache, a retry or a lost request shows in the result.
"""

import argparse
import asyncio
import json
import signal
from dataclasses import asdict, dataclass
from typing import cast

import httptools
import uvloop

ID = "chatcmpl-Bx7Qm2VtLr9KdNw4PzYc8HsEa1Uj"
HEAD = {"id": ID, "created": 1760000000, "model": "gpt-4o-mini-2024-07-18"}
USAGE = {
    "prompt_tokens": 42,
    "completion_tokens": 64,
    "total_tokens": 106,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
TEXT = "A turnout lets a train pass from one track to another, and the rest of the line runs on."


@dataclass
class Stats:
    """What came in and went out since the start."""

    requests: int = 0
    streams: int = 0
    events: int = 0


def build_answer() -> bytes:
    """The whole response to a request without `stream`; about 600 bytes of JSON."""
    message: dict[str, object] = {
        "role": "assistant",
        "content": TEXT,
        "refusal": None,
        "annotations": [],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = json.dumps(
        {**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE}
        | {"service_tier": "default", "system_fingerprint": "fp_b376dfbbd5"},
        separators=(",", ":"),
    ).encode()
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\nx-request-id: req_bench\r\n\r\n%s" % (len(body), body)
    )


def build_events(count: int, usage: bool) -> list[bytes]:
    """A stream's events as HTTP chunks: `count` words, the end, the usage if asked, [DONE]."""
    frame = {**HEAD, "object": "chat.completion.chunk", "service_tier": "default"}
    frame["system_fingerprint"] = "fp_b376dfbbd5"
    deltas: list[tuple[dict[str, str], str | None]] = [
        ({"content": f" word{number}"}, None) for number in range(count)
    ]
    deltas[0] = ({"role": "assistant", "content": " word0"}, None)
    deltas.append(({}, "stop"))
    bodies: list[object] = []
    for delta, reason in deltas:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        bodies.append({**frame, "choices": [choice], **({"usage": None} if usage else {})})
    if usage:
        bodies.append({**frame, "choices": [], "usage": USAGE})
    lines = [json.dumps(body, separators=(",", ":")).encode() for body in bodies] + [b"[DONE]"]
    events = [b"data: %s\n\n" % line for line in lines]
    return [b"%x\r\n%s\r\n" % (len(event), event) for event in events]


def build_message() -> bytes:
    """The whole answer of Anthropic's dialect."""
    message = {**MESSAGE, "content": [{"type": "text", "text": TEXT}], "stop_reason": "end_turn"}
    body = json.dumps(message, separators=(",", ":")).encode()
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\nrequest-id: req_bench\r\n\r\n%s" % (len(body), body)
    )


MESSAGE: dict[str, object] = {
    "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "stop_sequence": None,
    "usage": {"input_tokens": 42, "output_tokens": 64},
}


def build_message_events(count: int) -> list[bytes]:
    """Anthropic's stream of as many words, as HTTP chunks; each word is one."""
    block = {"type": "text", "text": ""}
    deltas = [
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": f" word{number}"},
        }
        for number in range(count)
    ]
    bodies: list[dict[str, object]] = [
        {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 64},
        },
        {"type": "message_stop"},
    ]
    events = [
        b"event: %s\ndata: %s\n\n"
        % (str(body["type"]).encode(), json.dumps(body, separators=(",", ":")).encode())
        for body in bodies
    ]
    return [b"%x\r\n%s\r\n" % (len(event), event) for event in events]


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\nx-request-id: req_bench\r\n\r\n"
)
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


class Script:
    """The canned answers, and the count of what was given."""

    def __init__(self, count: int, gap: int) -> None:
        self.answer = build_answer()
        self.events = {usage: build_events(count, usage) for usage in (False, True)}
        self.message = build_message()
        self.message_events = build_message_events(count)
        self.stats = Stats()
        self.last = b"{}"
        self.beats = [set[Connection]() for _ in range(gap)]
        self.playing = asyncio.Event()

    def join(self, connection: "Connection") -> None:
        """Gives a new stream the beat that the fewest others have."""
        min(self.beats, key=len).add(connection)
        self.playing.set()

    async def play(self) -> None:
        """Lets every stream whose beat it is send its next event; for ever."""
        while True:
            for beat in self.beats:
                await asyncio.sleep(0.001)
                beat.difference_update([each for each in beat if not each.advance()])
            if not any(self.beats):
                self.playing.clear()
                await self.playing.wait()

    def describe(self) -> bytes:
        """What was asked so far, and the model of the last request, as JSON."""
        model = json.loads(self.last).get("model")
        return json.dumps({**asdict(self.stats), "model": model}).encode()


class Connection(asyncio.Protocol):
    """One client connection; requests on it are answered one after the other."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""
        self.body = b""
        self.pending: list[bytes] = []
        self.position = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:
        self.pending = []

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_url(self, url: bytes) -> None:
        self.url = url
        self.body = b""

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        script = self.script
        if self.url.endswith(b"/chat/completions"):
            counts = b'"include_usage":true' in self.body.replace(b" ", b"")
            self._complete(script.answer, script.events[counts])
        elif self.url.endswith(b"/messages"):
            self._complete(script.message, script.message_events)
        elif self.url == b"/stats":
            body = self.script.describe()
            self.transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
            )
        else:
            self.transport.write(NOT_FOUND)

    def _complete(self, answer: bytes, events: list[bytes]) -> None:
        # A search for bytes is enough here, and much cheaper than a parser: the load generator's
        # prompts hold neither member's name, and a gateway may write JSON with blanks or without.
        self.script.last = self.body
        compact = self.body.replace(b" ", b"")
        if b'"stream":true' not in compact:
            self.script.stats.requests += 1
            self.transport.write(answer)
            return
        self.script.stats.streams += 1
        self.pending = events
        self.position = 0
        self.transport.write(STREAM_HEAD)
        self.script.join(self)

    def advance(self) -> bool:
        """Sends the stream's next event; False when there is none left."""
        if self.position >= len(self.pending):
            return False
        event = self.pending[self.position]
        self.position += 1
        self.script.stats.events += 1
        if self.position < len(self.pending):
            self.transport.write(event)
            return True
        self.transport.write(event + b"0\r\n\r\n")
        return False


async def serve(port: int, count: int, gap: int) -> None:
    """Serves until SIGTERM, or for an hour at most."""
    loop = asyncio.get_running_loop()
    script = Script(count, gap)
    server = await loop.create_server(lambda: Connection(script), "127.0.0.1", port)
    playing = loop.create_task(script.play())
    loop.add_signal_handler(signal.SIGTERM, playing.cancel)
    loop.add_signal_handler(signal.SIGINT, playing.cancel)
    loop.call_later(3600, playing.cancel)
    await asyncio.wait([playing])
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--events", type=int, default=200, help="content events of a stream")
    parser.add_argument("--gap", type=int, default=4, help="milliseconds between them, 1 or more")
    given = parser.parse_args()
    uvloop.run(serve(given.port, given.events, max(1, given.gap)))


if __name__ == "__main__":
    main()
