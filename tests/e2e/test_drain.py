"""The end of a process, and more requests than it can serve: nobody is left without an answer."""

import asyncio
import signal
import sqlite3
import time
from pathlib import Path

import httpx
import openai
import pytest

from proxy import lifeline
from tests.e2e.gateway import one_upstream, running
from tests.e2e.test_serve import serving
from tests.fakes.upstream import Send, Stall, Step, Upstream, WaitFor, chat_chunks, sse

ASKED = [{"role": "user", "content": "x"}]


def endless() -> list[Step]:
    """A stream that begins and never goes on."""
    return [*sse(*chat_chunks(["Hello"], finish=None), done=False)[:-1], Stall()]


def config(folder: Path, up: Upstream, drain: str) -> None:
    text = one_upstream(up.base_url, f"server: {{drain: {drain}}}")
    (folder / "config.yaml").write_text(text)


def rows(folder: Path) -> list[tuple[str, str | None]]:
    with sqlite3.connect(folder / "home" / "turnout.db") as books:
        return books.execute("SELECT outcome, error_code FROM requests ORDER BY id").fetchall()


async def test_sigterm_waits_for_what_is_under_way(tmp_path: Path, up: Upstream) -> None:
    """FAULTS row 38: a drain."""
    goes_on = asyncio.Event()
    script = sse(*chat_chunks(["Hello", " there"]))
    up.script([*script[:3], WaitFor(goes_on), *script[3:]])
    config(tmp_path, up, "10s")
    with serving(tmp_path) as served:
        key = served.export.group(2)
        async with (
            openai.AsyncOpenAI(base_url=served.base_url, api_key=key, max_retries=0) as client,
            await client.chat.completions.create(
                model="up/m", messages=ASKED, stream=True
            ) as stream,
        ):
            first = await anext(aiter(stream))
            assert first.choices
            served.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            goes_on.set()
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            assert "there" in text
        assert await asyncio.to_thread(served.process.wait, 10) == -signal.SIGTERM
    assert rows(tmp_path) == [("ok", None)]


async def test_38_when_the_drain_is_over_a_stream_is_told(tmp_path: Path, up: Upstream) -> None:
    up.script(endless())
    config(tmp_path, up, "1s")
    with serving(tmp_path) as served:
        key = served.export.group(2)
        async with (
            openai.AsyncOpenAI(base_url=served.base_url, api_key=key, max_retries=0) as client,
            await client.chat.completions.create(
                model="up/m", messages=ASKED, stream=True
            ) as stream,
        ):
            chunks = aiter(stream)
            await anext(chunks)
            served.process.send_signal(signal.SIGTERM)
            with pytest.raises(openai.APIError) as told:
                async for _ in chunks:
                    pass
        assert told.value.code == "server_shutting_down"
        assert await asyncio.to_thread(served.process.wait, 10) == -signal.SIGTERM
    assert rows(tmp_path) == [("failed", "server_shutting_down")]


async def test_38_who_has_no_answer_yet_gets_a_503(tmp_path: Path, up: Upstream) -> None:
    up.script([Stall()])
    config(tmp_path, up, "1s")
    with serving(tmp_path) as served:
        key = served.export.group(2)
        async with httpx.AsyncClient(timeout=20) as client:
            asking = asyncio.ensure_future(
                client.post(
                    served.base_url + "/chat/completions",
                    json={"model": "up/m", "messages": ASKED},
                    headers={"authorization": f"Bearer {key}"},
                )
            )
            await up.wait_for_requests(1)
            served.process.send_signal(signal.SIGTERM)
            answer = await asking
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "server_shutting_down"
        assert answer.headers["retry-after"]
    assert rows(tmp_path) == [("failed", "server_shutting_down")]


async def test_17_one_too_many(tmp_path: Path, up: Upstream) -> None:
    up.script([Send(b"HTTP/1.1 200 OK\r\n"), Stall()])
    text = one_upstream(up.base_url, "server: {max_requests: 2}")
    async with running(tmp_path, text) as gateway:
        body = {"model": "up/m", "messages": ASKED}
        waiting = [asyncio.ensure_future(gateway.post(body)) for _ in range(2)]
        await up.wait_for_requests(2)
        refused = await gateway.post(body)
        assert refused.error == (503, "service_unavailable_error", "server_overloaded")
        assert refused.headers["retry-after"] == "1"
        alive = await gateway.call("GET", "/health/live")
        assert alive.status == 200
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for _ in range(100):
            up.script()
            answer = await gateway.post(body)
            if answer.status == 200:
                break
            await asyncio.sleep(0.02)
        assert answer.status == 200
        assert len(up.log) == 3


async def test_17_a_loop_that_comes_too_late(tmp_path: Path, up: Upstream) -> None:
    async with running(tmp_path, one_upstream(up.base_url, "server: {max_lag: 100ms}")) as gateway:
        body = {"model": "up/m", "messages": ASKED}
        up.script([Stall()])
        waiting = asyncio.ensure_future(gateway.post(body))
        await up.wait_for_requests(1)
        for _ in range(6):  # something blocks the loop again and again
            time.sleep(0.5)
            await asyncio.sleep(lifeline.TICK)
        refused = await gateway.post(body)
        assert refused.error == (503, "service_unavailable_error", "server_overloaded")
        await asyncio.sleep(1.5)  # it recovers
        up.script()
        assert (await gateway.post(body)).status == 200
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
