"""Endpoints other than chat, and vendors that differ: what goes up, what comes back, the books."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import httpx2
import openai
import orjson
import pytest

from tests.e2e.gateway import Gateway, one_upstream, running
from tests.fakes import upstream as fake
from tests.fakes.dialects import HELLO, speak
from tests.fakes.upstream import Close, Received, Script, Send, Upstream, WaitFor, http, json_reply

MESSAGES = [{"role": "user", "content": "Hi"}]
CHAT: dict[str, Any] = {"model": "up/m", "messages": MESSAGES}
BY_THE_PIECE = 'pricing: {overrides: {"up/*": {image: 0.04}}}'
ANY = 'models: {"*": up}'


def answers(**scripts: Script) -> Any:
    """A match that answers by the last part of the path; what is not named goes on as usual."""
    return lambda received: scripts.get(received.path.split("?")[0].rsplit("/", 1)[1])


def chunked(kind: str, *steps: bytes | fake.Step, end: bool = True) -> Script:
    """An answer in chunked encoding; without `end` the connection closes in its middle."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    script: list[fake.Step] = [Send(head.encode())]
    for step in steps:
        is_data = isinstance(step, bytes)
        script.append(Send(b"%x\r\n%b\r\n" % (len(step), step)) if is_data else step)
    return [*script, Send(b"0\r\n\r\n") if end else Close()]


def events(raw: bytes) -> Script:
    return http(200, raw, {"Content-Type": "text/event-stream"})


def typed(*payloads: Any) -> bytes:
    """Events of OpenAI's newer APIs and of Anthropic's: the type in a line of its own."""
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (p["type"].encode(), orjson.dumps(p)) for p in payloads
    )


def paths(up: Upstream) -> list[str]:
    return [received.path for received in up.log]


@pytest.fixture
async def priced(tmp_path: Path, up: Upstream) -> AsyncIterator[Gateway]:
    """A gateway that knows what an image costs."""
    async with running(tmp_path, one_upstream(up.base_url, BY_THE_PIECE)) as gateway:
        yield gateway


def images(count: int, **over: Any) -> Script:
    data = [{"b64_json": "aGk=", "revised_prompt": None} for _ in range(count)]
    return json_reply({"created": 1, "data": data} | over)


class TestImages:
    @pytest.mark.parametrize(("count", "usd"), [(1, "0.04"), (3, "0.12")])
    async def test_are_billed_by_the_piece(
        self, priced: Gateway, up: Upstream, count: int, usd: str
    ) -> None:
        up.on(answers(generations=images(count)))
        async with priced.client() as client:
            raw = await client.images.with_raw_response.generate(
                model="up/m", prompt="a cat", n=count
            )
        answer = raw.parse()
        assert [image.b64_json for image in answer.data or []] == ["aGk="] * count
        assert raw.headers["x-turnout-cost-usd"] == usd
        assert up.log[0].path == "/v1/images/generations"
        assert up.log[0].json == {"model": "m", "prompt": "a cat", "n": count}
        (row,) = await priced.rows()
        (attempt,) = await priced.attempts()
        assert (row["usage_type"], row["images"]) == ("image", count)
        assert row["cost_nanousd"] == attempt["cost_nanousd"] == count * 40_000_000
        assert attempt["images"] == count
        assert row["usage_source"] == "provider"

    async def test_what_was_made_counts_and_not_what_was_asked_for(
        self, priced: Gateway, up: Upstream
    ) -> None:
        up.on(answers(generations=images(2)))
        body = {"model": "up/m", "prompt": "a cat", "n": 4}
        answer = await priced.post(body, "/v1/images/generations")
        assert answer.headers["x-turnout-cost-usd"] == "0.08"

    async def test_the_tokens_of_a_picture_are_on_the_books_too(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        usage = {"input_tokens": 50, "output_tokens": 1000, "total_tokens": 1050}
        up.on(answers(generations=images(1, usage=usage)))
        price = 'pricing: {overrides: {"up/*": {input: 10, output: 40, image: 0.01}}}'
        async with running(tmp_path, one_upstream(up.base_url, price)) as gateway:
            await gateway.post({"model": "up/m", "prompt": "x"}, "/v1/images/generations")
            (row,) = await gateway.rows()
        assert (row["input_tokens"], row["output_tokens"], row["images"]) == (50, 1000, 1)
        # 50 at $10 a million, 1000 at $40, one image at $0.01.
        assert row["cost_nanousd"] == 500_000 + 40_000_000 + 10_000_000

    async def test_an_answer_without_pictures_is_none(self, priced: Gateway, up: Upstream) -> None:
        up.on(answers(generations=json_reply({"created": 1})))
        answer = await priced.post({"model": "up/m", "prompt": "x"}, "/v1/images/generations")
        assert answer.error == (502, "upstream_error", "invalid_upstream_response")

    async def test_a_streamed_picture_is_billed_like_another(
        self, priced: Gateway, up: Upstream
    ) -> None:
        usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
        shared = {"b64_json": "aGk=", "created_at": 1, "output_format": "png"}
        raw = typed(
            {"type": "image_generation.partial_image", "partial_image_index": 0, **shared},
            {"type": "image_generation.completed", "usage": usage, **shared},
        )
        up.on(answers(generations=events(raw)))
        async with priced.client() as client:
            stream = await client.images.generate(
                model="up/m", prompt="x", stream=True, partial_images=1
            )
            kinds = [event.type async for event in stream]
        assert kinds == ["image_generation.partial_image", "image_generation.completed"]
        (row,) = await priced.rows()
        assert (row["input_tokens"], row["output_tokens"]) == (5, 7)
        assert (row["images"], row["cost_nanousd"]) == (1, 40_000_000)


TRANSCRIPTS = {
    "json": ("application/json", b'{"text": "Hello",  "logprobs": null}'),
    "text": ("text/plain; charset=utf-8", b"Hello\n"),
    "srt": ("text/plain; charset=utf-8", b"1\n00:00:00,000 --> 00:00:01,000\nHello\n\n"),
    "vtt": ("text/plain; charset=utf-8", b"WEBVTT\n\n00:00.000 --> 00:01.000\nHello\n\n"),
    "verbose_json": (
        "application/json",
        b'{"task": "transcribe", "language": "english", "duration": 1.5, "text": "Hello"}',
    ),
}


TWO_MODELS = (
    b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nup/m\r\n'
    b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nup/n\r\n--x--'
)


class TestTranscriptions:
    @pytest.mark.parametrize("form", TRANSCRIPTS)
    async def test_a_file_goes_up_as_it_was_sent(
        self, gateway: Gateway, up: Upstream, form: str
    ) -> None:
        kind, body = TRANSCRIPTS[form]
        up.on(answers(transcriptions=http(200, body, {"Content-Type": kind})))
        sent: list[Any] = []

        async def note(request: Any) -> None:
            sent.append((await request.aread(), request.headers["content-type"]))

        spoof = b'\r\n--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nup/m\r\n'
        audio = random.Random(7).randbytes(100_000) + spoof + b"\x00\r\n"
        http_client = openai.DefaultAsyncHttpxClient(event_hooks={"request": [note]})
        async with gateway.client(http_client=http_client) as client:
            raw = await client.audio.transcriptions.with_raw_response.create(
                model="up/m",
                file=("ä.wav", audio, "audio/wav"),
                language="en",
                response_format=form,
            )
        said = raw.parse()
        assert raw.content == body
        assert raw.headers["content-type"] == kind
        assert (said if isinstance(said, str) else said.text).count("Hello") == 1
        ((form_sent, content_type),) = sent
        (received,) = up.log
        assert received.path == "/v1/audio/transcriptions"
        model = b'name="model"\r\n\r\nup/m\r\n'
        before, after = form_sent.split(audio)
        assert (before + after).count(model) == 1
        field = model.replace(b"up/m", b"m")
        expected = before.replace(model, field) + audio + after.replace(model, field)
        assert received.body == expected
        assert model in audio
        assert received.header("content-type") == content_type
        assert received.header("authorization") == "Bearer sk-up-secret"
        (row,) = await gateway.rows()
        assert (row["usage_type"], row["status_code"]) == ("audio", 200)

    async def test_a_form_whose_model_need_not_change_goes_out_byte_for_byte(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        up.on(answers(transcriptions=json_reply({"text": "Hello"})))
        form = (
            b'preamble\r\n--b c\r\ncontent-disposition: form-data; name="model"\r\n\r\nm-1\r\n'
            b'--b c\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\x00\r\n'
            b"--b c--\r\nepilogue"
        )
        headers = {"content-type": 'multipart/form-data; boundary="b c"'}
        async with running(tmp_path, one_upstream(up.base_url, ANY)) as gateway:
            answer = await gateway.post(form, "/v1/audio/transcriptions", headers=headers)
        assert answer.json == {"text": "Hello"}
        assert up.log[0].body == form
        assert up.log[0].header("content-type") == headers["content-type"]

    async def test_a_stream(self, gateway: Gateway, up: Upstream) -> None:
        usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 5, "total_tokens": 19}
        raw = typed(
            {"type": "transcript.text.delta", "delta": "Hel"},
            {"type": "transcript.text.delta", "delta": "lo"},
            {"type": "transcript.text.done", "text": "Hello", "usage": usage},
        )
        up.on(answers(transcriptions=events(raw)))
        async with gateway.client() as client:
            stream = await client.audio.transcriptions.create(
                model="up/m", file=("a.wav", b"RIFF"), stream=True
            )
            kinds = [event.type async for event in stream]
        assert kinds == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
        (row,) = await gateway.rows()
        assert (row["input_tokens"], row["output_tokens"], row["stream"]) == (14, 5, True)

    @pytest.mark.parametrize(
        ("content_type", "form", "code", "param"),
        [
            ("application/json", b"{}", "invalid_content_type", None),
            ("multipart/form-data", b"--x--", "invalid_content_type", None),
            ("multipart/form-data; boundary=x", b"--x--", "invalid_value", "model"),
            (
                "multipart/form-data; boundary=x",
                TWO_MODELS,
                None,
                "model",
            ),
        ],
        ids=["json", "no boundary", "no model", "two models"],
    )
    async def test_a_form_that_is_none(
        self,
        gateway: Gateway,
        up: Upstream,
        content_type: str,
        form: bytes,
        code: str | None,
        param: str | None,
    ) -> None:
        """Of two models the upstream might take the other one, as with JSON."""
        up.on(answers(transcriptions=json_reply({"text": "Hello"})))
        headers = {"content-type": content_type}
        answer = await gateway.post(form, "/v1/audio/transcriptions", headers=headers)
        assert answer.status == 400
        assert answer.json["error"]["param"] == param
        assert code in (None, answer.json["error"]["code"])
        assert up.log == []


class TestSpeech:
    SOUND = random.Random(3).randbytes(30_000)
    ASK: dict[str, Any] = {"model": "up/m", "input": "Hello", "voice": "alloy"}  # noqa: RUF012

    async def test_sound_comes_back_as_it_is(self, gateway: Gateway, up: Upstream) -> None:
        up.on(answers(speech=http(200, self.SOUND, {"Content-Type": "audio/wav"})))
        async with gateway.client() as client:
            raw = await client.audio.speech.with_raw_response.create(**self.ASK)
        assert raw.content == self.SOUND
        assert raw.headers["content-type"] == "audio/wav"
        assert raw.headers["x-turnout-provider"] == "up"
        assert up.log[0].path == "/v1/audio/speech"
        assert up.log[0].json == self.ASK | {"model": "m"}
        (row,) = await gateway.rows()
        assert (row["usage_type"], row["outcome"]) == ("audio", "ok")

    async def test_its_beginning_is_there_before_the_upstream_has_made_the_rest(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        heard = asyncio.Event()
        first, rest = self.SOUND[:5000], self.SOUND[5000:]
        up.on(answers(speech=chunked("audio/mpeg", first, WaitFor(heard), rest)))
        got = b""
        async with (
            asyncio.timeout(3),
            gateway.client() as client,
            client.audio.speech.with_streaming_response.create(**self.ASK) as answer,
        ):
            async for piece in answer.iter_bytes():
                got += piece
                if len(got) >= len(first):
                    heard.set()
        assert got == self.SOUND

    @pytest.mark.parametrize("length", [False, True])
    async def test_a_break_in_the_middle_is_no_clean_end(
        self, gateway: Gateway, up: Upstream, length: bool
    ) -> None:
        half = self.SOUND[:10_000]
        if length:
            kind = {"Content-Type": "audio/mpeg"}
            script = http(200, half, kind, length=len(self.SOUND))
        else:
            script = chunked("audio/mpeg", half, fake.Sleep(0.05), half, end=False)
        up.on(answers(speech=script))
        headers = {"authorization": f"Bearer {gateway.key}"}
        with pytest.raises(aiohttp.ClientPayloadError):
            async with gateway.session.post(
                gateway.base_url + "/audio/speech", json=self.ASK, headers=headers
            ) as answer:
                assert answer.status == 200
                await answer.read()
        (row,) = await gateway.rows()
        assert (row["outcome"], row["error_code"]) == ("failed", "stream_interrupted")

    async def test_the_sdk_hears_of_it_too(self, gateway: Gateway, up: Upstream) -> None:
        half = self.SOUND[:10_000]
        up.on(answers(speech=chunked("audio/mpeg", half, fake.Sleep(0.05), half, end=False)))
        async with gateway.client() as client:
            with pytest.raises(httpx2.RemoteProtocolError):
                async with client.audio.speech.with_streaming_response.create(**self.ASK) as answer:
                    async for _ in answer.iter_bytes():
                        pass

    async def test_an_error_before_the_first_sound_is_an_error(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        up.on(answers(speech=fake.error_reply(400, "no such voice", param="voice")))
        async with gateway.client() as client:
            with pytest.raises(openai.BadRequestError, match="no such voice") as caught:
                await client.audio.speech.create(**self.ASK)
        assert caught.value.param == "voice"

    @pytest.mark.parametrize(
        "script",
        [fake.html_reply(), json_reply({"error": {"message": "no"}}), http(200, b"")],
        ids=["a page", "an error in a 200", "nothing"],
    )
    async def test_what_is_no_sound_is_a_failure(
        self, gateway: Gateway, up: Upstream, script: Script
    ) -> None:
        up.on(answers(speech=script))
        answer = await gateway.post(self.ASK, "/v1/audio/speech")
        assert answer.status == 502

    async def test_events(self, gateway: Gateway, up: Upstream) -> None:
        usage = {"input_tokens": 4, "output_tokens": 50, "total_tokens": 54}
        raw = typed(
            {"type": "speech.audio.delta", "audio": "aGk="},
            {"type": "speech.audio.done", "usage": usage},
        )
        up.on(answers(speech=events(raw)))
        answer = await gateway.post(self.ASK | {"stream_format": "sse"}, "/v1/audio/speech")
        assert answer.body == raw
        (row,) = await gateway.rows()
        assert (row["input_tokens"], row["output_tokens"]) == (4, 50)


class TestModerations:
    RESULT = json_reply({"id": "modr-1", "model": "omni", "results": []})

    async def test_without_a_model_the_usual_one_is_asked(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        up.on(answers(moderations=self.RESULT))
        text = one_upstream(up.base_url, "models: {omni-moderation-latest: up/guard}")
        async with running(tmp_path, text) as gateway:
            async with gateway.client() as client:
                answer = await client.moderations.create(input="Hi")
            (row,) = await gateway.rows()
        assert (answer.id, answer.results) == ("modr-1", [])
        assert up.log[0].path == "/v1/moderations"
        assert up.log[0].json == {"input": "Hi", "model": "guard"}
        assert (row["name"], row["model"]) == ("omni-moderation-latest", "guard")
        assert (row["input_tokens"], row["output_tokens"]) == (0, 0)

    async def test_a_model_that_is_named_is_asked(self, gateway: Gateway, up: Upstream) -> None:
        up.on(answers(moderations=self.RESULT))
        async with gateway.client() as client:
            await client.moderations.create(input=["a", "b"], model="up/other")
        assert up.log[0].json == {"input": ["a", "b"], "model": "other"}

    async def test_an_answer_without_results_is_none(self, gateway: Gateway, up: Upstream) -> None:
        up.on(answers(moderations=json_reply({"id": "x"})))
        answer = await gateway.post({"model": "up/m", "input": "x"}, "/v1/moderations")
        assert answer.error == (502, "upstream_error", "invalid_upstream_response")


RESPONSE_USAGE = {
    "input_tokens": 30,
    "input_tokens_details": {"cached_tokens": 10},
    "output_tokens": 4,
    "output_tokens_details": {"reasoning_tokens": 1},
    "total_tokens": 34,
}
RESPONSE = (
    b'{ "id":"resp_1", "object":"response", "created_at":1,  "model":"m", "status":"completed",'
    b'"output":[{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":'
    b'[{"type":"output_text","text":"Native \\u00e9","annotations":[]}]}], "new": 1.50,\n"usage":'
    + orjson.dumps(RESPONSE_USAGE)
    + b"}"
)
RESPONSE_STREAM = (
    b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":'
    + RESPONSE.replace(b"\n", b"")
    + b'}\n\nevent: response.output_text.delta\ndata: {"delta":"Native ","sequence_number" : 1,'
    b'"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0}\n\n'
    b'event: response.completed\ndata: {"type":"response.completed","sequence_number":2,"response":'
    + RESPONSE.replace(b"\n", b"")
    + b"}\n\n"
)


class TestNativeResponses:
    @pytest.fixture
    async def native(self, tmp_path: Path, up: Upstream) -> AsyncIterator[Gateway]:
        up.on(self._answer)
        text = one_upstream(up.base_url, ANY, ", responses: true")
        async with running(tmp_path, text) as gateway:
            yield gateway

    @staticmethod
    def _answer(received: Received) -> Script:
        assert received.path == "/v1/responses", received.path
        return events(RESPONSE_STREAM) if received.json.get("stream") else json_reply(RESPONSE)

    @pytest.mark.parametrize("stream", [False, True])
    async def test_pass_byte_for_byte(self, native: Gateway, up: Upstream, stream: bool) -> None:
        raw = (
            b'{ "input" :[{"role":"user","content":"\\u00e9 \xc3\xa9"}],"model":"gpt-x",\n'
            b'"store":true, "metadata":{"a":"b"}, "previous_response_id":"resp_0",'
            b'"tools":[{"type":"web_search"}], "temperature":1.0e0,"background" :false,'
            b'"stream":' + (b"true" if stream else b"false") + b" }"
        )
        answer = await native.post(raw, "/v1/responses")
        assert (answer.status, answer.body) == (200, RESPONSE_STREAM if stream else RESPONSE)
        assert up.log[0].body == raw
        (row,) = await native.rows()
        names = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
        assert [row[name] for name in names] == [30, 10, 4, 1]
        assert (row["usage_source"], row["endpoint"]) == ("provider", "/v1/responses")

    async def test_the_sdk(self, native: Gateway, up: Upstream) -> None:
        kept: dict[str, Any] = {"store": True, "previous_response_id": "resp_0"}
        async with native.client() as client:
            whole = await client.responses.create(model="gpt-x", input="Hi", **kept)
            stream = await client.responses.create(model="gpt-x", input="Hi", stream=True, **kept)
            kinds = [event.type async for event in stream]
        assert whole.output_text == "Native é"
        assert kinds == ["response.created", "response.output_text.delta", "response.completed"]
        for received in up.log:
            assert received.json["previous_response_id"] == "resp_0"
            assert received.json["store"] is True

    async def test_only_the_model_changes(self, tmp_path: Path, up: Upstream) -> None:
        up.on(self._answer)
        text = one_upstream(up.base_url, "", ", responses: true")
        async with running(tmp_path, text) as gateway:
            await gateway.post(b'{"input": "Hi",  "model": "up/m"}', "/v1/responses")
        assert up.log[0].body == b'{"input": "Hi",  "model": "m"}'

    async def test_what_is_kept_upstream_is_refused_where_nothing_is(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        text = one_upstream(up.base_url, "", ", responses: false")
        async with running(tmp_path, text) as without:
            for member, value in {"store": True, "previous_response_id": "resp_0"}.items():
                body = {"model": "up/m", "input": "Hi", member: value}
                answer = await without.post(body, "/v1/responses")
                assert answer.status == 400
                assert answer.json["error"]["param"] == member
        assert up.log == []


class TestResponsesOnChat:
    ASK: dict[str, Any] = {"model": "up/m", "input": "Hi"}  # noqa: RUF012
    NATIVE, CHAT = "/v1/responses", "/v1/chat/completions"

    @pytest.mark.parametrize("status", [404, 405, 501])
    @pytest.mark.parametrize("stream", [False, True])
    async def test_an_upstream_without_it_is_asked_once(
        self, tmp_path: Path, up: Upstream, status: int, stream: bool
    ) -> None:
        up.on(answers(responses=fake.error_reply(status, "nothing here")))
        async with running(tmp_path, one_upstream(up.base_url)) as gateway:
            async with gateway.client() as client:
                texts = [await self._text(client, stream) for _ in range(3)]
            rows = await gateway.rows(3)
        assert texts == ["Hello there"] * 3
        assert paths(up) == [self.NATIVE, self.CHAT, self.CHAT, self.CHAT]
        assert up.log[1].json["messages"] == [{"role": "user", "content": "Hi"}]
        assert [(row["status_code"], row["attempts"]) for row in rows] == [
            (200, 2),
            (200, 1),
            (200, 1),
        ]

    async def _text(self, client: openai.AsyncOpenAI, stream: bool) -> str:
        if not stream:
            answer = await client.responses.create(**self.ASK)
            return answer.output_text
        parts = await client.responses.create(**self.ASK, stream=True)
        return "".join([e.delta async for e in parts if e.type == "response.output_text.delta"])

    async def test_a_model_that_is_not_there_says_nothing_of_the_path(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        missing = fake.error_reply(404, "no such model", code="model_not_found")
        up.on(answers(responses=missing))
        async with running(tmp_path, one_upstream(up.base_url)) as gateway:
            for _ in range(2):
                answer = await gateway.post(self.ASK, "/v1/responses")
                assert answer.error == (404, "invalid_request_error", "model_not_found")
        assert paths(up) == [self.NATIVE, self.NATIVE]

    async def test_where_it_is_said_to_be_there_a_404_is_a_404(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        up.on(answers(responses=fake.error_reply(404, "nothing here")))
        text = one_upstream(up.base_url, "", ", responses: true")
        async with running(tmp_path, text) as gateway:
            given = [await gateway.post(self.ASK, "/v1/responses") for _ in range(2)]
        assert [answer.status for answer in given] == [404, 404]
        assert paths(up) == [self.NATIVE, self.NATIVE]

    @pytest.mark.parametrize("stream", [False, True])
    async def test_where_it_is_said_not_to_be_there_it_is_never_asked(
        self, tmp_path: Path, up: Upstream, stream: bool
    ) -> None:
        text = one_upstream(up.base_url, "", ", responses: false")
        async with running(tmp_path, text) as gateway, gateway.client() as client:
            assert await self._text(client, stream) == "Hello there"
        assert paths(up) == [self.CHAT]


UNSAID: dict[str, Any] = {"seed": 7, "logit_bias": {"50256": -100}}
"""Members that Anthropic has no word for."""


def claude(up: Upstream, extra: str = "", provider: str = "") -> str:
    text = one_upstream(up.base_url, extra, provider)
    return text.replace("dialect: openai", "dialect: anthropic")


class TestDropParams:
    @pytest.mark.parametrize("where", ["request", "provider", "configuration"])
    @pytest.mark.parametrize("stream", [False, True])
    async def test_what_is_left_out_is_listed(
        self, tmp_path: Path, up: Upstream, where: str, stream: bool
    ) -> None:
        up.on(speak("anthropic"))
        text = claude(
            up,
            "drop_params: true" if where == "configuration" else "",
            ", drop_params: true" if where == "provider" else "",
        )
        own = {"drop_params": True} if where == "request" else {}
        async with running(tmp_path, text) as gateway:
            answer = await gateway.post(CHAT | UNSAID | own | {"stream": stream})
        assert answer.status == 200, answer.body
        dropped = answer.headers["x-turnout-dropped"].split(", ")
        assert sorted(dropped) == ["logit_bias", "seed"]
        sent = up.log[0].json
        hi = [{"type": "text", "text": "Hi"}]
        assert sent["messages"] == [{"role": "user", "content": hi}]
        assert not sent.keys() & {"seed", "logit_bias", "drop_params"}

    @pytest.mark.parametrize("name", UNSAID)
    @pytest.mark.parametrize("own", [{}, {"drop_params": False}])
    async def test_without_leave_it_is_refused_by_name(
        self, tmp_path: Path, up: Upstream, name: str, own: dict[str, Any]
    ) -> None:
        async with running(tmp_path, claude(up)) as gateway:
            answer = await gateway.post(CHAT | {name: UNSAID[name]} | own)
            (row,) = await gateway.rows()
        assert answer.error == (400, "invalid_request_error", "unsupported_parameter")
        assert answer.json["error"]["param"] == name
        assert "x-turnout-dropped" not in answer.headers
        assert up.log == []
        assert (row["status_code"], row["attempts"]) == (400, 0)

    async def test_with_nothing_left_out_nothing_is_listed(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        up.on(speak("anthropic"))
        async with running(tmp_path, claude(up, "drop_params: true")) as gateway:
            answer = await gateway.post(CHAT | {"temperature": 0.5})
        assert answer.status == 200
        assert "x-turnout-dropped" not in answer.headers
        assert up.log[0].json["temperature"] == 0.5

    async def test_the_next_target_may_know_the_word(
        self, tmp_path: Path, up: Upstream, other: Upstream
    ) -> None:
        text = f"""
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
cache: {{enabled: false}}
providers:
  one: {{dialect: anthropic, base_url: "{up.base_url}", api_key: sk-one-secret}}
  two: {{dialect: openai, base_url: "{other.base_url}", api_key: sk-two-secret}}
models:
  both: [one/claude, two/gpt]
"""
        async with running(tmp_path, text) as gateway:
            answer = await gateway.post({"model": "both", "messages": MESSAGES} | UNSAID)
            (row,) = await gateway.rows()
        assert answer.status == 200
        assert answer.headers["x-turnout-provider"] == "two"
        assert up.log == []
        (received,) = other.log
        assert received.json == {"model": "gpt", "messages": MESSAGES} | UNSAID
        assert "x-turnout-dropped" not in answer.headers
        assert (row["provider_name"], row["attempts"], row["outcome"]) == ("two", 1, "ok")


class TestAzure:
    def _text(self, up: Upstream, more: str = ', api_version: "2024-10-21"') -> str:
        root = up.base_url.removesuffix("/v1")
        return f"""
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
cache: {{enabled: false}}
providers:
  up: {{preset: azure, base_url: "{root}", api_key: azure-secret{more}}}
"""

    @pytest.mark.parametrize("stream", [False, True])
    async def test_the_deployment_is_in_the_path(
        self, tmp_path: Path, up: Upstream, stream: bool
    ) -> None:
        script = fake.sse(*fake.chat_chunks(["Hello"])) if stream else fake.chat_reply()
        up.on(answers(completions=script))
        async with running(tmp_path, self._text(up)) as gateway:
            answer = await gateway.post(CHAT | {"stream": stream})
        assert answer.status == 200
        assert b"Hello" in answer.body
        (received,) = up.log
        assert received.method == "POST"
        expected = "/openai/deployments/m/chat/completions?api-version=2024-10-21"
        assert received.path == expected
        assert received.header("api-key") == "azure-secret"
        assert received.header("authorization") is None

    async def test_other_endpoints(self, tmp_path: Path, up: Upstream) -> None:
        data = [{"object": "embedding", "index": 0, "embedding": [1.0]}]
        up.on(answers(embeddings=json_reply({"object": "list", "data": data})))
        async with running(tmp_path, self._text(up)) as gateway:
            body = {"model": "up/text ä/1", "input": "x"}
            assert (await gateway.post(body, "/v1/embeddings")).status == 200
        expected = "/openai/deployments/text%20%C3%A4%2F1/embeddings?api-version=2024-10-21"
        assert paths(up) == [expected]

    async def test_without_a_version_it_is_the_v1_api(self, tmp_path: Path, up: Upstream) -> None:
        up.on(answers(completions=fake.chat_reply()))
        async with running(tmp_path, self._text(up, "")) as gateway:
            assert (await gateway.post(CHAT)).status == 200
        (received,) = up.log
        assert received.path == "/openai/v1/chat/completions"
        assert received.json["model"] == "m"
        assert received.header("api-key") == "azure-secret"


class TestMistral:
    def _text(self, up: Upstream, more: str = "") -> str:
        provider = f'{{preset: mistral, base_url: "{up.base_url}", api_key: sk-up-secret{more}}}'
        return one_upstream(up.base_url).replace(
            f'{{dialect: openai, base_url: "{up.base_url}", api_key: sk-up-secret}}', provider
        )

    @pytest.mark.parametrize("stream", [False, True])
    async def test_members_by_its_own_names(
        self, tmp_path: Path, up: Upstream, stream: bool
    ) -> None:
        asked = {"seed": 42, "max_completion_tokens": 9, "temperature": 0.5, "stream": stream}
        asked |= {"user": "u-1"} | ({"stream_options": {"include_usage": True}} if stream else {})
        async with running(tmp_path, self._text(up)) as gateway:
            answer = await gateway.post(CHAT | asked)
        assert answer.status == 200, answer.body
        assert up.log[0].json == {
            "model": "m",
            "messages": MESSAGES,
            "random_seed": 42,
            "max_tokens": 9,
            "temperature": 0.5,
            "stream": stream,
        }
        assert "x-turnout-dropped" not in answer.headers

    async def test_what_it_does_not_know(self, tmp_path: Path, up: Upstream) -> None:
        body = CHAT | {"logit_bias": {"1": 2}}
        async with running(tmp_path, self._text(up)) as gateway:
            answer = await gateway.post(body)
            assert answer.error == (400, "invalid_request_error", "unsupported_parameter")
            assert answer.json["error"]["param"] == "logit_bias"
            assert up.log == []
            answer = await gateway.post(body | {"drop_params": True})
        assert answer.headers["x-turnout-dropped"] == "logit_bias"
        assert up.log[0].json == {"model": "m", "messages": MESSAGES}

    async def test_its_thought_comes_apart_from_its_text(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}
        completion = fake.chat_completion("x")
        completion["choices"][0]["message"]["content"] = [thought, {"type": "text", "text": "Hi"}]
        up.on(answers(completions=json_reply(completion)))
        async with running(tmp_path, self._text(up)) as gateway, gateway.client() as client:
            answer = await client.chat.completions.create(**CHAT)
        message = answer.choices[0].message
        assert (message.content, message.model_dump()["reasoning_content"]) == ("Hi", "Hm")


CLAUDES: dict[str, Any] = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": HELLO}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 11, "output_tokens": 7, "cache_read_input_tokens": 2},
}
CLAUDES_ANSWER = orjson.dumps(CLAUDES, option=orjson.OPT_INDENT_2)
CLAUDES_STREAM = typed(
    {"type": "message_start", "message": CLAUDES | {"content": []}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": HELLO}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 7},
    },
    {"type": "message_stop"},
)


def speaking(gateway: Gateway) -> anthropic.AsyncAnthropic:
    """Anthropic's SDK, without its own retries."""
    return anthropic.AsyncAnthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0)


class TestMessages:
    RAW = (
        b'{ "model" :"claude-x","max_tokens":50,"messages":[{"role":"user","content":'
        b'[{"type":"text","text":"\\u00e9 \xc3\xa9","cache_control":{"type":"ephemeral"}}]}],\n'
        b'"tools":[{"type":"web_search_20250305","name":"web_search"}],"brand_new":1.50,"stream":%b}'
    )

    @pytest.mark.parametrize("stream", [False, True])
    async def test_pass_byte_for_byte_to_a_target_of_the_same_dialect(
        self, tmp_path: Path, up: Upstream, stream: bool
    ) -> None:
        up.on(answers(messages=events(CLAUDES_STREAM) if stream else json_reply(CLAUDES_ANSWER)))
        raw = self.RAW % (b"true" if stream else b"false")
        async with running(tmp_path, claude(up, ANY)) as gateway:
            headers = {
                "x-api-key": gateway.key,
                "anthropic-version": "2099-01-01",
                "anthropic-beta": "one-2025-01-01,two-2025-01-01",
                "openai-beta": "no=1",
            }
            url = gateway.base_url + "/messages"
            async with gateway.session.post(url, data=raw, headers=headers) as answer:
                assert answer.status == 200
                body = await answer.read()
            (row,) = await gateway.rows()
        assert body == (CLAUDES_STREAM if stream else CLAUDES_ANSWER)
        (received,) = up.log
        assert received.path == "/v1/messages"
        assert received.body == raw
        assert received.header("anthropic-version") == "2099-01-01"
        assert received.header("anthropic-beta") == "one-2025-01-01,two-2025-01-01"
        assert received.header("x-api-key") == "sk-up-secret"
        assert received.header("authorization") is None
        assert received.header("openai-beta") is None
        # Anthropic counts what it read from its cache apart.
        names = ("input_tokens", "cached_tokens", "output_tokens")
        assert [row[name] for name in names] == [13, 2, 7]
        assert (row["usage_source"], row["endpoint"]) == ("provider", "/v1/messages")

    async def test_without_a_version_one_is_sent(self, tmp_path: Path, up: Upstream) -> None:
        up.on(answers(messages=json_reply(CLAUDES_ANSWER)))
        async with running(tmp_path, claude(up, ANY)) as gateway:
            await gateway.post(self.RAW % b"false", "/v1/messages")
        assert up.log[0].header("anthropic-version") == "2023-06-01"
        assert up.log[0].header("anthropic-beta") is None

    async def test_only_the_model_changes(self, tmp_path: Path, up: Upstream) -> None:
        up.on(answers(messages=json_reply(CLAUDES_ANSWER)))
        raw = self.RAW % b"false"
        async with running(tmp_path, claude(up, "models: {claude-x: up/m}")) as gateway:
            await gateway.post(raw, "/v1/messages")
        assert up.log[0].body == raw.replace(b'"claude-x"', b'"m"')

    async def test_its_errors_keep_its_shape(self, tmp_path: Path, up: Upstream) -> None:
        error = {"type": "invalid_request_error", "message": "max_tokens: too many"}
        up.on(answers(messages=json_reply({"type": "error", "error": error}, 400)))
        async with running(tmp_path, claude(up, ANY)) as gateway, speaking(gateway) as client:
            with pytest.raises(anthropic.BadRequestError, match="too many"):
                await client.messages.create(model="x", max_tokens=1, messages=MESSAGES)


class TestCountTokens:
    async def test_where_the_provider_counts(self, tmp_path: Path, up: Upstream) -> None:
        up.on(answers(count_tokens=json_reply(b'{ "input_tokens": 4711 }')))
        raw = b'{ "model":"claude-x", "messages":[{"role":"user","content":"Hi"}] }'
        async with running(tmp_path, claude(up, ANY)) as gateway:
            answer = await gateway.post(raw, "/v1/messages/count_tokens")
        assert answer.body == b'{ "input_tokens": 4711 }'
        assert "x-turnout-estimated" not in answer.headers
        (received,) = up.log
        assert (received.path, received.body) == ("/v1/messages/count_tokens", raw)
        assert received.header("x-api-key") == "sk-up-secret"
        assert received.header("anthropic-version") == "2023-06-01"

    async def test_elsewhere_it_is_estimated_and_says_so(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        async with speaking(gateway) as client:
            raw = await client.messages.with_raw_response.count_tokens(
                model="up/m", messages=[{"role": "user", "content": "x" * 40}]
            )
        assert raw.headers["x-turnout-estimated"] == "true"
        # 40 bytes at 4 a token, and 3 tokens for the message.
        assert (await raw.parse()).input_tokens == 13
        assert up.log == []


BODIES: dict[str, dict[str, Any]] = {
    "/v1/images/generations": {"model": "up/m", "prompt": "x"},
    "/v1/audio/speech": {"model": "up/m", "input": "x"},
    "/v1/moderations": {"model": "up/m", "input": "x"},
    "/v1/embeddings": {"model": "up/m", "input": "x"},
    "/v1/responses": {"model": "up/m", "input": "x"},
    "/v1/messages": {"model": "up/m", "messages": MESSAGES, "max_tokens": 9},
    "/v1/messages/count_tokens": {"model": "up/m", "messages": MESSAGES},
}


class TestOddMembers:
    @pytest.mark.parametrize("path", BODIES)
    @pytest.mark.parametrize("name", ["metadata", "stream_options", "user", "store"])
    async def test_are_never_a_fault_of_turnouts_own(
        self, gateway: Gateway, up: Upstream, path: str, name: str
    ) -> None:
        up.script(json_reply({"error": {"message": "what is that?"}}, 400))
        for value in ("odd", [1], 7):
            answer = await gateway.post(BODIES[path] | {name: value}, path)
            assert answer.status in (200, 400), answer.body

    @pytest.mark.parametrize("name", ["metadata", "stream_options"])
    async def test_nor_in_a_form(self, gateway: Gateway, up: Upstream, name: str) -> None:
        up.on(answers(transcriptions=json_reply({"text": "Hello"})))
        form = aiohttp.FormData({"model": "up/m", name: "odd"})
        form.add_field("file", b"RIFF", filename="a.wav")
        headers = {"authorization": f"Bearer {gateway.key}"}
        url = gateway.base_url + "/audio/transcriptions"
        async with gateway.session.post(url, data=form, headers=headers) as answer:
            assert answer.status in (200, 400), await answer.read()
