"""One raw-socket upstream that does what it is told, byte by byte, and logs what it was sent.

Its log is the oracle of what really went upstream. Without a script it answers as OpenAI would.
`python -m tests.fakes.upstream --port N` serves that default behaviour.
"""

import argparse
import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import orjson

CREATED = 1_700_000_000


@dataclass(frozen=True)
class Received:
    """A request as it came: header names in their own case, the body's exact bytes."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    at: float

    def header(self, name: str) -> str | None:
        found = (value for key, value in self.headers if key.lower() == name.lower())
        return next(found, None)

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


# The steps of a script, done one after another once a request has been read.


@dataclass(frozen=True)
class Send:
    """Bytes as they are."""

    data: bytes


@dataclass(frozen=True)
class Sleep:
    """A pause in seconds."""

    seconds: float


@dataclass(frozen=True)
class WaitFor:
    """Goes on when a test says so."""

    event: asyncio.Event


@dataclass(frozen=True)
class Stall:
    """Says nothing more until the peer leaves."""


@dataclass(frozen=True)
class Reset:
    """Cuts the connection with a TCP reset."""


@dataclass(frozen=True)
class Close:
    """Ends the connection with a FIN."""


Step = Send | Sleep | WaitFor | Stall | Reset | Close
Script = Sequence[Step]
Match = Callable[[Received], Script | None]


class PeerLeft(Exception):
    """The client closed its connection before the script was over."""


class Upstream:
    """A provider on a free port of loopback."""

    def __init__(self, port: int = 0, refuse_stream_options: bool = False) -> None:
        self.log: list[Received] = []
        self.connections_open = 0
        self.closed_early = 0
        self._port = port
        self._refuse_stream_options = refuse_stream_options
        self._scripts: list[Script] = []
        self._match: Match = lambda _: None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def script(self, *scripts: Script) -> None:
        """Each request takes the next script; the last one stays."""
        self._scripts = list(scripts)

    def on(self, match: Match) -> None:
        """A script of a request's own, before the queue; None for none."""
        self._match = match

    async def wait_for_requests(self, count: int, timeout: float = 5) -> None:
        async with asyncio.timeout(timeout):
            while len(self.log) < count:
                await asyncio.sleep(0.005)

    async def wait_until_closed(self, timeout: float = 1) -> None:
        """Returns when no peer is connected any more."""
        async with asyncio.timeout(timeout):
            while self.connections_open:
                await asyncio.sleep(0.005)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections_open += 1
        try:
            while (received := await _read_request(reader, writer)) is not None:
                self.log.append(received)
                if not await self._play(self._script_for(received), reader, writer):
                    break
        except PeerLeft:
            self.closed_early += 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self.connections_open -= 1
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    def _script_for(self, received: Received) -> Script:
        own = self._match(received)
        if own is not None:
            return own
        if self._scripts:
            return self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        return default_script(received, self._refuse_stream_options)

    async def _play(
        self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """True when the connection may take another request."""
        leaving = asyncio.ensure_future(_watch(reader))
        try:
            for step in script:
                if not await _do(step, writer, leaving):
                    return False
            return True
        except (ConnectionError, PeerLeft):
            raise PeerLeft from None
        finally:
            if not leaving.done():
                leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)


async def _watch(reader: asyncio.StreamReader) -> None:
    """Ends when the peer has closed. Reads nothing: the next request stays where it is."""
    while not reader.at_eof() and reader.exception() is None:
        await asyncio.sleep(0.005)


async def _do(step: Step, writer: asyncio.StreamWriter, leaving: "asyncio.Future[None]") -> bool:
    match step:
        case Send(data):
            writer.write(data)
            await _unless_left(writer.drain(), leaving)
        case Sleep(seconds):
            await _unless_left(asyncio.sleep(seconds), leaving)
        case WaitFor(event):
            await _unless_left(event.wait(), leaving)
        case Stall():
            await leaving
            raise PeerLeft
        case Reset():
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            return False
        case Close():
            return False
    return True


async def _unless_left(work: Any, leaving: "asyncio.Future[None]") -> None:
    doing = asyncio.ensure_future(work)
    await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
    if not doing.done():
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)
        raise PeerLeft
    doing.result()


async def _read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Received | None:
    """The next request; None when the peer has nothing more to ask."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head[:-4].split(b"\r\n")
    method, path, _ = first.decode("latin-1").split(" ", 2)
    headers = tuple(_header(line) for line in lines)
    known = {name.lower(): value for name, value in headers}
    if known.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if known.get("transfer-encoding", "").lower() == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(known.get("content-length", "0")))
    return Received(method, path, headers, body, asyncio.get_running_loop().time())


def _header(line: bytes) -> tuple[str, str]:
    name, _, value = line.decode("latin-1").partition(":")
    return name, value.strip()


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


# Whole answers.


def http(
    status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None
) -> Script:
    """An answer with a Content-Length, right unless `length` says another."""
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {size}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    script: list[Step] = [Send("\r\n".join([*lines, "", ""]).encode() + body)]
    return [*script, Close()] if size != len(body) else script


def json_reply(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Script:
    """JSON; bytes are sent as they are."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return http(status, raw, {"Content-Type": "application/json"} | (headers or {}))


def error_reply(
    status: int,
    message: str = "it failed",
    type: str = "error",
    code: str | None = None,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> Script:
    """An error in OpenAI's shape."""
    error = {"message": message, "type": type, "code": code, "param": param}
    return json_reply({"error": error}, status, headers)


def html_reply(status: int = 200) -> Script:
    """A page, as a captive portal or a broken balancer sends."""
    return http(status, b"<html><body>Welcome</body></html>", {"Content-Type": "text/html"})


def truncated_json_reply() -> Script:
    """JSON that ends in the middle, with the length that it says."""
    body = orjson.dumps(chat_completion("Hello"))[:-40]
    return http(200, body, {"Content-Type": "application/json"})


def cut_json_reply() -> Script:
    """An answer whose connection closes before its Content-Length is reached."""
    body = orjson.dumps(chat_completion("Hello"))
    return http(200, body[:-40], {"Content-Type": "application/json"}, length=len(body))


def redirect_reply(location: str) -> Script:
    return http(302, b"", {"Location": location})


def chat_completion(
    text: str,
    model: str = "m-1",
    usage: dict[str, Any] | None = None,
    finish: str = "stop",
    choices: int = 1,
) -> dict[str, Any]:
    """A chat completion as strict clients want it."""
    message = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [
            {"index": i, "message": message, "logprobs": None, "finish_reason": finish}
            for i in range(choices)
        ],
        "usage": usage or count(9, 3),
        "system_fingerprint": "fp_1",
        "service_tier": "default",
    }


def chat_reply(text: str = "Hello", **over: Any) -> Script:
    """A whole chat completion; see `chat_completion` for what may be changed."""
    return json_reply(chat_completion(text, **over))


def count(prompt: int, completion: int) -> dict[str, int]:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


# Streams.


def chat_chunks(
    parts: Iterable[str],
    usage: dict[str, Any] | None = None,
    finish: str | None = "stop",
    choices: int = 1,
    model: str = "m-1",
) -> list[bytes]:
    """The payloads of a chat stream: role, content, finish (unless None), usage (if given)."""
    shared = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": model,
        "system_fingerprint": "fp_1",
    }

    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        entries = [
            {"index": i, "delta": delta, "logprobs": None, "finish_reason": reason}
            for i in range(choices)
        ]
        return orjson.dumps(shared | {"choices": entries})

    found = [chunk({"role": "assistant", "content": ""})]
    found += [chunk({"content": part}) for part in parts]
    if finish is not None:
        found.append(chunk({}, finish))
    if usage is not None:
        found.append(orjson.dumps(shared | {"choices": [], "usage": usage}))
    return found


def sse(
    *events: bytes,
    done: bool = True,
    newline: str = "\n",
    split: int | None = None,
    delay: float = 0.0,
) -> Script:
    """An event stream in chunked encoding; the last step is the end of the body.

    `split` cuts the bytes into pieces of that size, each a chunk of its own.
    """
    end = newline.encode()
    payloads = [*events, *([b"[DONE]"] if done else [])]
    pieces = [b"data: " + payload + end + end for payload in payloads]
    if split:
        whole = b"".join(pieces)
        pieces = [whole[i : i + split] for i in range(0, len(whole), split)]
    script: list[Step] = [
        Send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
    ]
    for piece in pieces:
        script.append(Send(b"%x\r\n%b\r\n" % (len(piece), piece)))
        if delay:
            script.append(Sleep(delay))
    return [*script, Send(b"0\r\n\r\n")]


# What a plain, right server of OpenAI's would say.


def default_script(received: Received, refuse_stream_options: bool = False) -> Script:
    """The answer to a request that no script is set for."""
    path = received.path.removeprefix("/v1")
    if path.startswith("/models"):
        return _models(path)
    body = received.json
    if body.get("stream_options") is not None and refuse_stream_options:
        return error_reply(400, "unknown field: stream_options", "invalid_request_error")
    match path:
        case "/chat/completions":
            return _chat(body)
        case "/completions":
            return _completion(body)
        case "/embeddings":
            return _embeddings(body)
    return error_reply(404, f"nothing at {path}")


def _chat(body: dict[str, Any]) -> Script:
    if not body.get("stream"):
        return chat_reply("Hello there", choices=body.get("n") or 1)
    usage = count(9, 3) if (body.get("stream_options") or {}).get("include_usage") else None
    return sse(*chat_chunks(["Hello", " there"], usage=usage, choices=body.get("n") or 1))


def _completion(body: dict[str, Any]) -> Script:
    shared = {"id": "cmpl-1", "object": "text_completion", "created": CREATED, "model": "m-1"}

    def part(text: str, reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
        return shared | {"choices": [choice]}

    if not body.get("stream"):
        return json_reply(part("Hello", "stop") | {"usage": count(2, 1)})
    payloads = [part("Hel", None), part("lo", None), part("", "stop")]
    if (body.get("stream_options") or {}).get("include_usage"):
        payloads.append(shared | {"choices": [], "usage": count(2, 1)})
    return sse(*map(orjson.dumps, payloads))


def _embeddings(body: dict[str, Any]) -> Script:
    given = body["input"]
    many = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    vector = [0.25, -0.5]  # floats also where base64 is asked for, as many vendors have it
    data = [{"object": "embedding", "index": i, "embedding": vector} for i in range(len(many))]
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    return json_reply({"object": "list", "model": "m-1", "data": data, "usage": usage})


def _models(path: str) -> Script:
    def model(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": CREATED, "owned_by": "fake"}

    name = path.removeprefix("/models").strip("/")
    if name:
        return json_reply(model(name))
    return json_reply({"object": "list", "data": [model("m-1"), model("m-2")]})


# Places where nobody answers.


def refused_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


@asynccontextmanager
async def silent_listener() -> AsyncIterator[int]:
    """A port that accepts and never says a word."""
    async with Upstream() as upstream:
        upstream.script([Stall()])
        yield int(upstream.base_url.rsplit(":", 1)[1].split("/")[0])


async def _serve(port: int) -> None:
    async with Upstream(port) as upstream:
        print(upstream.base_url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A plain upstream of OpenAI's dialect.")
    parser.add_argument("--port", type=int, default=0)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args().port))
