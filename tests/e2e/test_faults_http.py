"""FAULTS rows that only raw bytes can make: what HTTP itself forbids, and compressed answers."""

import asyncio
import gzip
import resource
import zlib
from pathlib import Path

import orjson
import pytest

from tests.e2e.gateway import Gateway, one_upstream, running
from tests.fakes.upstream import (
    Upstream,
    chat_chunks,
    chat_completion,
    chat_reply,
    http,
)

BODY = b'{"model":"up/m","messages":[{"role":"user","content":"x"}]}'


async def raw(gateway: Gateway, *pieces: bytes, pause: float = 0.0, wait: float = 10) -> bytes:
    """What comes back for bytes sent as they are, until the server closes."""
    port = int(gateway.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.ensure_future(_all_of(reader))
    try:
        for piece in pieces:
            if reading.done():
                break
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reading, wait)
    finally:
        writer.close()


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    """To the end, or to where the server cuts a client off that goes on writing."""
    found = b""
    try:
        while piece := await reader.read(65536):
            found += piece
    except (ConnectionResetError, BrokenPipeError):
        pass
    return found


def head(gateway: Gateway, *lines: str, path: str = "/v1/chat/completions") -> bytes:
    first = [f"POST {path} HTTP/1.1", "host: x", f"authorization: Bearer {gateway.key}"]
    return "\r\n".join([*first, "content-type: application/json", *lines, "", ""]).encode()


@pytest.mark.parametrize("host", ["x/#@y", "127.0.0.1/#@admin", "a b", "x\\y", ""])
async def test_row_03_a_host_header_opens_no_admin_route(gateway: Gateway, host: str) -> None:
    request = f"GET /api/v1/keys HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    answer = await raw(gateway, request.encode())
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 401"))
    made = f"POST /api/v1/keys HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n"
    answer = await raw(gateway, made.encode() + b"content-length: 2\r\n\r\n{}")
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 401"))
    assert len((await gateway.call("GET", "/api/v1/keys")).json) == 1


@pytest.mark.parametrize(
    "request_",
    [
        ["content-length: 59", "transfer-encoding: chunked"],
        ["transfer-encoding: chunked", "content-length: 59"],
        ["content-length: 59", "content-length: 60"],
        ["content-length: 5x"],
        ["transfer-encoding: chunked, identity"],
    ],
)
async def test_row_04_two_lengths_for_one_body(
    gateway: Gateway, up: Upstream, request_: list[str]
) -> None:
    answer = await raw(gateway, head(gateway, *request_) + BODY + b"\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1
    assert up.log == []


@pytest.mark.parametrize(
    "body",
    [b"3b\r\n" + BODY + b"X\r\n0\r\n\r\n", b"zz\r\n" + BODY, b"-1\r\n\r\n", b"3b;\n" + BODY],
)
async def test_row_04_bad_chunk_ends(gateway: Gateway, up: Upstream, body: bytes) -> None:
    answer = await raw(gateway, head(gateway, "transfer-encoding: chunked") + body)
    assert answer.startswith(b"HTTP/1.1 400")
    assert up.log == []


class TestRow08:
    """Slow headers and bodies: 408, closed; others unharmed."""

    def config(self, up: Upstream) -> str:
        return one_upstream(up.base_url, "server: {read_timeout: 1s}")

    async def test_slow_headers(self, tmp_path: Path, up: Upstream) -> None:
        async with running(tmp_path, self.config(up), read_timeout=1.0) as gateway:
            slow = asyncio.ensure_future(
                raw(gateway, *[b"P", b"OST /v1/chat/completions HTTP/1.1\r\n", *[b"a: b\r\n"] * 20],
                    pause=0.3)
            )  # fmt: skip
            await asyncio.sleep(0.5)
            assert (await gateway.post(BODY)).status == 200
            assert (await slow).startswith(b"HTTP/1.1 408")
        assert len(up.log) == 1

    async def test_a_slow_body(self, tmp_path: Path, up: Upstream) -> None:
        async with running(tmp_path, self.config(up), read_timeout=1.0) as gateway:
            pieces = [head(gateway, "content-length: 59"), *(bytes([b]) for b in BODY[:20])]
            answer = await raw(gateway, *pieces, pause=0.2)
            assert answer.startswith(b"HTTP/1.1 408")
        assert up.log == []

    async def test_a_large_body_at_a_fair_pace_is_not_slow(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        async with running(tmp_path, self.config(up), read_timeout=1.0) as gateway:
            body = BODY[:-4] + b"x" * 200_000 + b'"}]}'
            parts = [body[i : i + 20_000] for i in range(0, len(body), 20_000)]
            length = f"content-length: {len(body)}"
            pieces = [head(gateway, length, "connection: close"), *parts]
            answer = await raw(gateway, *pieces, pause=0.3)
            assert answer.startswith(b"HTTP/1.1 200")

    async def test_who_says_nothing_is_closed_without_a_word(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        async with running(tmp_path, self.config(up), read_timeout=1.0) as gateway:
            assert await raw(gateway, b"") == b""

    async def test_headers_without_end(self, gateway: Gateway, up: Upstream) -> None:
        flood = b"GET / HTTP/1.1\r\n" + b"a: " + b"x" * 70_000
        assert (await raw(gateway, flood, b"x" * 70_000)).startswith(b"HTTP/1.1 431")


class TestRow28:
    """Compressed answers, and such as are no answers."""

    async def test_a_gzip_stream_is_decoded(self, gateway: Gateway, up: Upstream) -> None:
        whole = b"".join(
            b"data: " + payload + b"\n\n" for payload in [*chat_chunks(["Hi"]), b"[DONE]"]
        )
        packed = gzip.compress(whole)
        kinds = {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}
        up.script(http(200, packed, kinds))
        body = BODY[:-1] + b',"stream":true}'
        answer = await gateway.post(body)
        assert b'"content":"Hi"' in answer.body
        assert answer.body.endswith(b"data: [DONE]\n\n")

    @pytest.mark.parametrize("coding", ["gzip", "deflate"])
    async def test_a_whole_answer(self, gateway: Gateway, up: Upstream, coding: str) -> None:
        plain = orjson.dumps(chat_completion("Hi"))
        packed = gzip.compress(plain) if coding == "gzip" else zlib.compress(plain)
        kinds = {"Content-Type": "application/json", "Content-Encoding": coding}
        up.script(http(200, packed, kinds))
        answer = await gateway.post(BODY)
        assert answer.json["choices"][0]["message"]["content"] == "Hi"

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_bomb(self, gateway: Gateway, up: Upstream, stream: bool) -> None:
        bomb = gzip.compress(b"data: " + b" " * 300_000_000, 9)
        kind = "text/event-stream" if stream else "application/json"
        up.script(http(200, bomb, {"Content-Type": kind, "Content-Encoding": "gzip"}))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        body = BODY[:-1] + (b',"stream":true}' if stream else b"}")
        answer = await gateway.post(body)
        assert answer.error[0] == 502
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 200_000, f"{grown} KiB"
        up.script(chat_reply())
        assert (await gateway.post(BODY)).status == 200

    async def test_a_bomb_after_content(self, gateway: Gateway, up: Upstream) -> None:
        begun = b"".join(b"data: " + p + b"\n\n" for p in chat_chunks(["Hi"], finish=None))
        packed = gzip.compress(begun + b"data: " + b" " * 100_000_000, 9)
        kinds = {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}
        up.script(http(200, packed, kinds))
        answer = await gateway.post(BODY[:-1] + b',"stream":true}')
        assert b"[DONE]" not in answer.body
        assert b'data: {"error"' in answer.body or answer.status == 502

    async def test_what_is_no_gzip(self, gateway: Gateway, up: Upstream) -> None:
        kinds = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        up.script(http(200, b"this is no gzip", kinds))
        assert (await gateway.post(BODY)).error[0] == 502
