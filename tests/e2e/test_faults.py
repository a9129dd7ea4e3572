"""The rows of the fault table that concern a request and its upstream, each under its number.

The upstream's own log is the oracle of what was sent, the ledger of what was counted.
"""

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest

from tests.e2e.gateway import MASTER, Gateway, one_upstream, running, two_upstreams
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

CHAT = {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}]}
STREAM = CHAT | {"stream": True}
ONE_TRY = "retry: {attempts: 1}"


def events(body: bytes) -> list[Any]:
    payloads = [e.removeprefix(b"data: ") for e in body.split(b"\n\n") if e]
    return [p if p == b"[DONE]" else orjson.loads(p) for p in payloads]


def text_of(body: bytes) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for event in events(body)
        if event != b"[DONE]"
        for choice in event.get("choices", ())
    )


def in_band(body: bytes) -> tuple[str, str]:
    """Type and code of the error event that ends a stream, which no `[DONE]` follows."""
    last = events(body)[-1]
    assert b"[DONE]" not in body
    assert set(last["error"]) == {"message", "type", "param", "code"}
    return last["error"]["type"], last["error"]["code"]


class TestKeys:
    @pytest.mark.parametrize(
        "authorization",
        [
            None,
            "Bearer sk-turnout-nonsense",
            "Bearer ",
            "Basic abc",
            "Bearer ' OR '1'='1",
            "Bearer \xff",
        ],
    )
    async def test_row_01_no_or_bad_key(
        self, gateway: Gateway, up: Upstream, authorization: str | None
    ) -> None:
        headers = {} if authorization is None else {"authorization": authorization}
        url = gateway.base_url + "/chat/completions"
        async with gateway.session.post(url, json=CHAT, headers=headers) as reply:
            body = await reply.read()
        assert reply.status == 401
        error = orjson.loads(body)["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
        if authorization:
            assert (
                authorization.removeprefix("Bearer ").encode("latin-1") not in body
                or len(authorization) < 9
            )
        assert up.log == []

    async def test_row_02_a_revoked_key_is_refused_at_once(self, gateway: Gateway) -> None:
        made = (await gateway.call("POST", "/api/v1/keys", {"name": "short"})).json
        headers = {"authorization": f"Bearer {made['key']}"}
        assert (await gateway.post(CHAT, headers=headers)).status == 200
        assert (await gateway.call("DELETE", f"/api/v1/keys/{made['id']}")).status == 204
        assert (await gateway.post(CHAT, headers=headers)).status == 401

    async def test_a_key_may_use_only_its_models(self, gateway: Gateway, up: Upstream) -> None:
        wanted = {"name": "narrow", "models": ["up/allowed", "up/wild-*"]}
        made = (await gateway.call("POST", "/api/v1/keys", wanted)).json
        headers = {"authorization": f"Bearer {made['key']}"}
        for model, status in (("up/allowed", 200), ("up/wild-1", 200), ("up/m", 404)):
            answer = await gateway.post(CHAT | {"model": model}, headers=headers)
            assert answer.status == status
        assert len(up.log) == 2

    async def test_an_expired_key_is_refused(self, gateway: Gateway) -> None:
        made = (await gateway.call("POST", "/api/v1/keys", {"expires": "200ms"})).json
        headers = {"authorization": f"Bearer {made['key']}"}
        assert (await gateway.post(CHAT, headers=headers)).status == 200
        await asyncio.sleep(0.25)
        assert (await gateway.post(CHAT, headers=headers)).status == 401


class TestRequests:
    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            ({}, CHAT | {"model": "up/m\r\nx-evil: 1"}),
            ({}, CHAT | {"model": "up/m\x00"}),
            ({"x-turnout-user": "a\tb"}, CHAT),
        ],
    )
    async def test_row_05_control_characters_in_what_a_header_would_carry(
        self, gateway: Gateway, up: Upstream, headers: dict[str, str], body: Any
    ) -> None:
        answer = await gateway.post(body, headers=headers)
        assert answer.error == (400, "invalid_request_error", "invalid_header")
        assert up.log == []

    @pytest.mark.parametrize("raw", [b"x-turnout-user: a\rb\r\n", b"x-turnout-user: a\0b\r\n"])
    async def test_row_05_raw_header_bytes(
        self, gateway: Gateway, up: Upstream, raw: bytes
    ) -> None:
        body = orjson.dumps(CHAT)
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer "
            + gateway.key.encode()
            + b"\r\ncontent-length: %d\r\n" % len(body)
            + raw
            + b"\r\n"
        )
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(gateway.url.rsplit(":", 1)[1])
        )
        writer.write(head + body)
        assert b" 400 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
        assert up.log == []

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"{",
            b"[]",
            b'{"model": NaN}',
            b'{"model": "\xff"}',
            b"[" * 10_000,
            b'{"a":' * 10_000,
            b'{"model":"a","model":"b"}',
        ],
    )
    async def test_row_06_what_is_not_json(
        self, gateway: Gateway, up: Upstream, raw: bytes
    ) -> None:
        answer = await gateway.post(raw)
        assert answer.error == (400, "invalid_request_error", "invalid_json")
        assert up.log == []

    async def test_row_07_a_body_over_the_limit(self, tmp_path: Path, up: Upstream) -> None:
        text = one_upstream(up.base_url, "server: {body_limit: 10KiB}")
        async with running(tmp_path, text) as gateway:
            answer = await gateway.post(b"x" * 20_000)
            assert answer.error == (413, "invalid_request_error", "request_too_large")
            assert up.log == []

    async def test_row_07_it_is_read_no_further(self, tmp_path: Path, up: Upstream) -> None:
        text = one_upstream(up.base_url, "server: {body_limit: 10KiB}")
        async with running(tmp_path, text) as gateway:
            port = int(gateway.url.rsplit(":", 1)[1])
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
                b"authorization: Bearer " + gateway.key.encode() + b"\r\n\r\n"
            )
            sent = 0
            try:
                while sent < 50_000_000:
                    writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                    await asyncio.wait_for(writer.drain(), 2)
                    sent += 65536
            except (ConnectionError, TimeoutError):
                pass
            assert sent < 20_000_000
            writer.close()
            assert up.log == []

    @pytest.mark.parametrize("model", ["nope", "nope/x", "up/", "task/nope", "upp/m"])
    async def test_row_09_an_unknown_model(self, gateway: Gateway, model: str) -> None:
        answer = await gateway.post(CHAT | {"model": model})
        assert answer.error == (404, "invalid_request_error", "model_not_found")
        assert answer.json["error"]["param"] == "model"

    @pytest.mark.parametrize(
        ("change", "param"),
        [
            ({"max_tokens": -1}, "max_tokens"),
            ({"max_completion_tokens": "many"}, "max_completion_tokens"),
            ({"messages": []}, "messages"),
            ({"messages": "Hi"}, "messages"),
            ({"messages": [1]}, "messages"),
            ({"messages": [{"content": "x"}]}, "messages"),
            ({"model": 7}, "model"),
            ({"model": None}, "model"),
            ({"stream": "yes"}, "stream"),
            ({"n": 0}, "n"),
            ({"temperature": "hot"}, "temperature"),
            ({"stop": 3}, "stop"),
            ({"metadata": []}, "metadata"),
            ({"tools": {}}, "tools"),
        ],
    )
    async def test_row_10_values_of_the_wrong_kind(
        self, gateway: Gateway, up: Upstream, change: dict[str, Any], param: str
    ) -> None:
        answer = await gateway.post(CHAT | change)
        assert answer.error == (400, "invalid_request_error", "invalid_value")
        assert answer.json["error"]["param"] == param
        assert up.log == []

    @pytest.mark.parametrize("field", ["api_base", "api_key", "base_url"])
    async def test_row_11_a_request_chooses_no_url_and_no_key(
        self, gateway: Gateway, up: Upstream, field: str
    ) -> None:
        answer = await gateway.post(CHAT | {field: "http://169.254.169.254/"})
        assert answer.error == (400, "invalid_request_error", "unknown_parameter")
        assert answer.json["error"]["param"] == field
        assert up.log == []


class TestFailures:
    async def test_row_18_an_upstream_that_refuses(self, tmp_path: Path) -> None:
        text = one_upstream(f"http://127.0.0.1:{fake.refused_port()}/v1", ONE_TRY)
        async with running(tmp_path, text) as gateway:
            answer = await gateway.post(CHAT)
            assert answer.error == (502, "upstream_error", "upstream_unreachable")
            (row,) = await gateway.rows()
            assert (row["outcome"], row["status_code"]) == ("failed", 502)

    async def test_row_18_a_name_that_does_not_resolve(self, tmp_path: Path) -> None:
        text = one_upstream("http://no-such-host.invalid/v1", ONE_TRY)
        async with running(tmp_path, text) as gateway:
            answer = await gateway.post(CHAT)
            assert answer.error == (502, "upstream_error", "upstream_unreachable")

    async def test_row_18_tls_that_fails(self, tmp_path: Path, up: Upstream) -> None:
        text = one_upstream(up.base_url.replace("http:", "https:"), ONE_TRY)
        async with running(tmp_path, text) as gateway:
            answer = await gateway.post(CHAT)
            assert answer.error == (502, "upstream_error", "upstream_unreachable")

    async def test_row_19_a_rate_limit_alone(self, tmp_path: Path, up: Upstream) -> None:
        up.script(fake.error_reply(429, headers={"Retry-After": "30"}))
        async with running(tmp_path, one_upstream(up.base_url)) as gateway:
            answer = await gateway.post(CHAT)
            assert answer.error == (429, "rate_limit_error", "rate_limit_exceeded")
            assert answer.headers["retry-after"] == "30"
            assert len(up.log) == 1

    async def test_row_21_our_key_is_refused(self, gateway: Gateway, up: Upstream) -> None:
        up.script(fake.error_reply(401, message="Incorrect API key provided: sk-up-secret"))
        answer = await gateway.post(CHAT)
        assert answer.error == (502, "upstream_error", "upstream_auth_failed")
        assert b"sk-up-secret" not in answer.body
        (row,) = await gateway.attempts()
        assert "sk-up-secret" not in row["error_message"]

    async def test_row_23_a_prompt_too_long_is_sent_once(
        self, tmp_path: Path, up: Upstream, other: Upstream
    ) -> None:
        up.script(fake.error_reply(400, message="too long", code="context_length_exceeded"))
        async with running(tmp_path, two_upstreams(up.base_url, other.base_url)) as gateway:
            answer = await gateway.post(CHAT | {"model": "both"})
            assert answer.error == (400, "invalid_request_error", "context_length_exceeded")
            assert (len(up.log), len(other.log)) == (1, 0)

    async def test_row_26_no_first_token_in_time(self, gateway: Gateway, up: Upstream) -> None:
        up.script([fake.Stall()])
        for body in (CHAT, STREAM):
            answer = await gateway.post(body)
            assert answer.error == (504, "upstream_error", "upstream_timeout")
        await up.wait_until_closed(1)

    @pytest.mark.parametrize(
        "reply",
        [
            fake.html_reply(),
            fake.truncated_json_reply(),
            fake.redirect_reply("http://127.0.0.1:9/"),
        ],
    )
    @pytest.mark.parametrize("body", [CHAT, STREAM])
    async def test_row_27_a_200_that_is_no_answer(
        self, gateway: Gateway, up: Upstream, reply: Any, body: Any
    ) -> None:
        up.script(reply)
        answer = await gateway.post(body)
        assert answer.error == (502, "upstream_error", "invalid_upstream_response")
        assert len(up.log) == 1


class TestStreams:
    @pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
    @pytest.mark.parametrize("split", [None, 1, 7])
    async def test_row_29_any_split_gives_the_same_events(
        self, gateway: Gateway, up: Upstream, newline: str, split: int | None
    ) -> None:
        parts = ["Hé", "\u2028", "日本", "\U0001f600", '"\\']
        up.script(fake.sse(*fake.chat_chunks(parts), newline=newline, split=split))
        answer = await gateway.post(STREAM)
        assert text_of(answer.body) == "".join(parts)
        assert answer.body.endswith(b"data: [DONE]\n\n")
        assert b"\r" not in answer.body

    async def test_row_30_an_end_without_a_finish(self, gateway: Gateway, up: Upstream) -> None:
        up.script(fake.sse(*fake.chat_chunks(["Hel", "lo"], finish=None), done=False))
        answer = await gateway.post(STREAM)
        assert text_of(answer.body[: answer.body.rindex(b"data: ")]) == "Hello"
        assert in_band(answer.body) == ("upstream_error", "stream_interrupted")
        (row,) = await gateway.rows()
        assert (row["outcome"], row["usage_source"]) == ("failed", "estimated")
        assert row["output_tokens"] > 0

    async def test_row_30_the_sdk_raises(self, gateway: Gateway, up: Upstream) -> None:
        up.script(fake.sse(*fake.chat_chunks(["Hel", "lo"], finish=None), done=False))
        async with gateway.client() as client:
            stream = await client.chat.completions.create(**STREAM)
            with pytest.raises(openai.APIError, match="closed the stream"):
                async for _ in stream:
                    pass

    async def test_row_30_a_reset(self, gateway: Gateway, up: Upstream) -> None:
        whole = fake.sse(*fake.chat_chunks(["Hel", "lo"], finish=None), done=False)
        up.script([*list(whole)[:-1], fake.Sleep(0.05), fake.Reset()])
        answer = await gateway.post(STREAM)
        assert in_band(answer.body) == ("upstream_error", "stream_interrupted")

    async def test_row_31_a_finish_without_done(self, gateway: Gateway, up: Upstream) -> None:
        up.script(fake.sse(*fake.chat_chunks(["Hello"]), done=False))
        answer = await gateway.post(STREAM)
        assert answer.body.endswith(b"data: [DONE]\n\n")
        (row,) = await gateway.rows()
        assert row["outcome"] == "ok"

    async def test_row_32_an_error_event_before_content(
        self, tmp_path: Path, up: Upstream, other: Upstream
    ) -> None:
        role, *_ = fake.chat_chunks(["x"])
        up.script(fake.sse(role, b'{"error":{"message":"boom","type":"server_error"}}', done=False))
        async with running(tmp_path, two_upstreams(up.base_url, other.base_url)) as gateway:
            answer = await gateway.post(STREAM | {"model": "both"})
            assert answer.status == 200
            assert answer.headers["x-turnout-provider"] == "two"
            assert answer.headers["x-turnout-attempts"] == "2"
            assert b"boom" not in answer.body

    async def test_row_32_an_error_event_after_content(
        self, tmp_path: Path, up: Upstream, other: Upstream
    ) -> None:
        first = fake.chat_chunks(["Hello"])[:2]
        up.script(fake.sse(*first, b'{"error":{"message":"boom","code":429}}', done=False))
        async with running(tmp_path, two_upstreams(up.base_url, other.base_url)) as gateway:
            answer = await gateway.post(STREAM | {"model": "both"})
            assert in_band(answer.body) == ("rate_limit_error", "rate_limit_exceeded")
            assert other.log == []

    async def test_row_33_pings_are_no_content(self, gateway: Gateway, up: Upstream) -> None:
        head, *rest = fake.sse(*fake.chat_chunks(["Hello"])[:2], done=False)
        ping = b": ping\n\n"
        pings = [
            s
            for _ in range(40)
            for s in (fake.Send(b"%x\r\n%b\r\n" % (len(ping), ping)), fake.Sleep(0.03))
        ]
        begun = [s for s in (head, *rest) if getattr(s, "data", b"") != b"0\r\n\r\n"]
        up.script([*begun, *pings])
        began = time.monotonic()
        answer = await gateway.post(STREAM)
        assert in_band(answer.body) == ("upstream_error", "stream_idle_timeout")
        assert time.monotonic() - began < 1.0

    async def test_row_34_a_malformed_line_is_skipped(self, gateway: Gateway, up: Upstream) -> None:
        role, content, stop = fake.chat_chunks(["Hello"])
        up.script(fake.sse(role, b'{"choices": [', content, b"nonsense", stop))
        answer = await gateway.post(STREAM)
        assert text_of(answer.body) == "Hello"
        assert b"nonsense" not in answer.body

    async def test_row_34_a_line_of_4_mib_passes(self, gateway: Gateway, up: Upstream) -> None:
        up.script(fake.sse(*fake.chat_chunks(["x" * 4 * 1024 * 1024])))
        answer = await gateway.post(STREAM)
        assert len(text_of(answer.body)) == 4 * 1024 * 1024

    async def test_row_34_a_line_of_17_mib_ends_it(self, gateway: Gateway, up: Upstream) -> None:
        up.script(fake.sse(*fake.chat_chunks(["Hello", "x" * 17 * 1024 * 1024])))
        answer = await gateway.post(STREAM)
        assert in_band(answer.body) == ("upstream_error", "event_too_large")
        assert len(answer.body) < 10_000

    @pytest.mark.parametrize("wanted", [True, False, None])
    async def test_row_35_usage_is_shown_to_who_asked_and_always_counted(
        self, gateway: Gateway, up: Upstream, wanted: bool | None
    ) -> None:
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        up.script(fake.sse(*fake.chat_chunks(["Hello"], usage=usage)))
        options = {} if wanted is None else {"stream_options": {"include_usage": wanted}}
        answer = await gateway.post(STREAM | options)
        extra = [e for e in events(answer.body) if e != b"[DONE]" and not e["choices"]]
        assert bool(extra) is (wanted is True)
        assert up.log[0].json["stream_options"]["include_usage"] is True
        (row,) = await gateway.rows()
        assert (row["input_tokens"], row["output_tokens"]) == (11, 7)
        assert row["usage_source"] == "provider"

    async def test_row_35_stream_options_refused(self, tmp_path: Path) -> None:
        async with (
            Upstream(refuse_stream_options=True) as up,
            running(tmp_path, one_upstream(up.base_url)) as gateway,
        ):
            options = {"stream_options": {"include_usage": True}}
            for sent in (2, 3):
                answer = await gateway.post(STREAM | options)
                (usage,) = [e for e in events(answer.body) if e != b"[DONE]" and not e["choices"]]
                assert usage["usage"]["estimated"] is True
                assert len(up.log) == sent
            rows = await gateway.rows(2)
            assert {row["usage_source"] for row in rows} == {"estimated"}
            assert [row["attempts"] for row in rows] == [2, 1]


class TestSlowReaders:
    async def test_row_37_a_reader_that_stops_is_cut(self, tmp_path: Path, up: Upstream) -> None:
        parts = ["x" * 60_000] * 400
        up.script(fake.sse(*fake.chat_chunks(parts)))
        text = one_upstream(up.base_url, "server: {send_timeout: 500ms}")
        async with running(tmp_path, text) as gateway:
            body = orjson.dumps(STREAM)
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", int(gateway.url.rsplit(":", 1)[1])))
            await loop.sock_sendall(
                sock,
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer "
                + gateway.key.encode()
                + b"\r\ncontent-length: %d\r\n\r\n" % len(body)
                + body,
            )
            (row,) = await gateway.rows()
            assert (row["outcome"], row["error_code"]) == ("client_closed", "client_too_slow")
            assert row["output_tokens"] > 0
            await up.wait_until_closed(1)
            sock.close()


async def test_the_master_key_works_on_the_data_plane(gateway: Gateway) -> None:
    answer = await gateway.post(CHAT, headers={"authorization": f"Bearer {MASTER}"})
    assert answer.status == 200
