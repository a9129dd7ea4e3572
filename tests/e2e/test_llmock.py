"""A judge from outside: llmock breaks what it is asked, and says how Turnout took it.

It sees every attempt with its time, and finds what was tried again too soon, too often or in vain.
It takes equal bodies for one call, so that each call here has its own.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from llmock.chaos import ChaosSettings, StreamChaos
from llmock.scenarios import Fail
from llmock.testing import LLMockServer
from llmock.verdict import Verdict, judge

from tests.e2e.gateway import Gateway, one_upstream, running, two_upstreams

ERRORS = {429: 0.1, 500: 0.1, 503: 0.1, 400: 0.05, 401: 0.05}
QUICK = "retry: {backoff: [50ms, 400ms]}\n"
NEVER_OPEN = "breaker: {failures: 100000, ratio: 1.0, open: 1ms, max_open: 1ms}\n"


@pytest.fixture
def mock() -> Iterator[LLMockServer]:
    with LLMockServer() as server:
        yield server


def verdict(server: LLMockServer) -> Verdict:
    return judge(server.state.journal.records(wait=5))


async def drive(gateway: Gateway, model: str, count: int, at_once: int = 15) -> dict[str, int]:
    """Calls that are not tried again; what became of how many: `ok` or an error's code."""
    outcomes: dict[str, int] = {}
    numbers = iter(range(count))

    async def caller(client: openai.AsyncOpenAI) -> None:
        for number in numbers:
            outcome = await one_call(client, model, number)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1

    async with gateway.client() as client:
        await asyncio.gather(*(caller(client) for _ in range(at_once)))
    return outcomes


async def one_call(client: openai.AsyncOpenAI, model: str, number: int) -> str:
    messages = [{"role": "user", "content": f"call {number} of {model}"}]
    try:
        if number % 3:
            reply = await client.chat.completions.create(model=model, messages=messages)
            assert reply.choices[0].message.content
            return "ok"
        stream = await client.chat.completions.create(model=model, messages=messages, stream=True)
        finish = None
        async for chunk in stream:
            finish = finish or (chunk.choices and chunk.choices[0].finish_reason)
        assert finish, "a stream without a finish was passed on as a whole one"
        return "ok"
    except openai.APIError as error:
        return str(error.code)


class TestVerdict:
    @pytest.mark.parametrize("breaker", ["", NEVER_OPEN], ids=["circuits", "no circuits"])
    async def test_alone(self, tmp_path: Path, mock: LLMockServer, breaker: str) -> None:
        mock.state.chaos.error_rates = ERRORS
        text = one_upstream(mock.base_url(), QUICK + breaker)
        async with running(tmp_path, text) as gateway:
            outcomes = await drive(gateway, "up/m", 300)
        found = verdict(mock)
        assert sum(outcomes.values()) == 300
        assert found.errors == (), found.render()
        if breaker:
            assert outcomes["ok"] > 100
            assert found.faults > 60

    async def test_with_another_beside_it(self, tmp_path: Path, mock: LLMockServer) -> None:
        with LLMockServer() as second:
            for server in (mock, second):
                server.state.chaos.error_rates = ERRORS
            text = two_upstreams(mock.base_url(), second.base_url(), QUICK + NEVER_OPEN)
            async with running(tmp_path, text) as gateway:
                outcomes = await drive(gateway, "both", 300)
            assert sum(outcomes.values()) == 300
            for server in (mock, second):
                found = verdict(server)
                assert found.errors == (), found.render()
            assert verdict(mock).faults > 60
            assert outcomes["ok"] > 150

    async def test_two_models_of_one_server(self, tmp_path: Path, mock: LLMockServer) -> None:
        mock.state.chaos.error_rates = ERRORS
        text = two_upstreams(mock.base_url(), mock.base_url(), QUICK + NEVER_OPEN)
        async with running(tmp_path, text) as gateway:
            outcomes = await drive(gateway, "both", 300)
        assert sum(outcomes.values()) == 300
        found = verdict(mock)
        assert found.errors == (), found.render()

    async def test_its_own_rate_limit(self, tmp_path: Path, mock: LLMockServer) -> None:
        """It says for how long to wait, to the tenth of a second; six are too many to wait for."""
        mock.state.scenarios.add(*(Fail(429, retry_after=wait) for wait in (0.3, 1.0, 2, 6)))
        async with running(tmp_path, one_upstream(mock.base_url(), QUICK)) as gateway:
            outcomes = await drive(gateway, "up/m", 12, at_once=3)
        found = verdict(mock)
        assert found.errors == (), found.render()
        assert outcomes == {"ok": 11, "rate_limit_exceeded": 1}, found.render()

    async def test_streams_that_break(self, tmp_path: Path, mock: LLMockServer) -> None:
        """What breaks before its first content is tried again; later the client is told.

        llmock counts a stream cut short as accepted when no further attempt follows. Turnout
        tells its own client instead: text is out, and can't be taken back. That no client took
        half an answer for a whole one is seen from its side (`one_call`).
        """
        mock.state.stream_chaos = StreamChaos(
            (("disconnect", 0.25), ("truncate", 0.25)), max_after_chunks=6
        )
        text = two_upstreams(mock.base_url(), mock.base_url(), QUICK + NEVER_OPEN)
        async with running(tmp_path, text) as gateway:
            outcomes = await drive(gateway, "both", 300)
        found = verdict(mock)
        assert {f.code for f in found.errors} <= {"truncated_stream_accepted"}, found.render()
        assert set(outcomes) == {"ok", "stream_interrupted"}
        broken = [c for c in found.calls if not c.succeeded]
        assert len(found.errors) <= outcomes["stream_interrupted"] <= len(broken), found.render()


def test_the_judge_finds_what_it_should() -> None:
    """The verdict would be worth nothing if it were never against anyone."""
    with LLMockServer(chaos=ChaosSettings(error_rates={400: 1.0})) as server:
        with openai.OpenAI(base_url=server.base_url(), api_key="k", max_retries=0) as client:
            for _ in range(2):
                with pytest.raises(openai.BadRequestError):
                    client.chat.completions.create(model="m", messages=[])
        assert [f.code for f in verdict(server).errors] == ["retried_non_retryable"]
