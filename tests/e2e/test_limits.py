"""Limits of keys and of providers, over real sockets: rows 15 and 16 of the fault table.

The upstream's own log is the oracle of what was let through. A request of these tests reserves
100 tokens and, where the upstream does not say otherwise, comes to 12; a token costs 1,000 nano-
dollars.
"""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import openai
import pytest

from tests.e2e.gateway import MASTER, Answer, Gateway, one_upstream, running, two_upstreams
from tests.e2e.test_serve import serving
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

CHAT = {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 96}
SMALL = CHAT | {"max_tokens": 6}  # reserves 10 tokens
STREAM = CHAT | {"stream": True}
PRICES = 'pricing: {overrides: {"*/*": {input: 1, output: 1}}}\nretry: {attempts: 1}'
TEN = 0.001  # USD: ten times what a request reserves
RATE = (429, "rate_limit_error", "rate_limit_exceeded")
MONEY = (429, "insufficient_quota", "budget_exceeded")
DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:([\d.]+)s)?(?:(\d+)ms)?")


async def early_in_a_minute(seconds: float = 3.0) -> None:
    """Returns when the minute has so much left: a count over a minute changes at its end."""
    left = 60 - time.time() % 60
    if left < seconds:
        await asyncio.sleep(left)


def seconds_of(text: str) -> float:
    """OpenAI's `6m0s`, `8.64s` or `20ms`."""
    found = DURATION.fullmatch(text)
    assert found, text
    hours, minutes, seconds, millis = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds + millis / 1000


class Caller:
    """A key made over the API, and the calls that it makes."""

    def __init__(self, gateway: Gateway, made: Any) -> None:
        self.gateway = gateway
        self.id, self.key = made["id"], made["key"]
        self.headers = {"authorization": f"Bearer {self.key}"}

    async def chat(self, body: Any = CHAT) -> Answer:
        return await self.gateway.post(body, headers=self.headers)

    async def change(self, limits: Any) -> None:
        path = f"/api/v1/keys/{self.id}"
        changed = await self.gateway.call("PATCH", path, {"limits": limits})
        assert changed.status == 200, changed.body


async def caller(gateway: Gateway, **limits: Any) -> Caller:
    made = await gateway.call("POST", "/api/v1/keys", {"name": "held", "limits": limits})
    assert made.status == 201, made.body
    return Caller(gateway, made.json)


def used(tokens: int) -> fake.Script:
    """An answer that has used so many tokens."""
    return fake.chat_reply(usage=fake.count(tokens - 1, 1))


def when(event: asyncio.Event) -> fake.Script:
    """A plain answer, as soon as a test says so."""
    return [fake.WaitFor(event), *fake.chat_reply(usage=fake.count(9, 3))]


async def many(caller: Caller, count: int, body: Any = CHAT) -> list["asyncio.Task[Answer]"]:
    return [asyncio.ensure_future(caller.chat(body)) for _ in range(count)]


async def finished(tasks: list["asyncio.Task[Answer]"], count: int) -> list[Answer]:
    """The answers that are there, once there are `count` of them."""
    async with asyncio.timeout(10):
        while sum(task.done() for task in tasks) < count:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)  # one more would have had the time to come
    done = [task.result() for task in tasks if task.done()]
    assert len(done) == count
    return done


class TestRow15:
    @pytest.mark.parametrize(("limit", "width"), [("rpm", 60), ("rpd", 86_400)])
    async def test_row_15_requests(
        self, tmp_path: Path, up: Upstream, limit: str, width: int
    ) -> None:
        async with running(tmp_path, one_upstream(up.base_url, PRICES)) as gateway:
            key = await caller(gateway, **{limit: 3})
            await early_in_a_minute()
            assert [(await key.chat()).status for _ in range(3)] == [200] * 3
            refused = await key.chat()
            left = width - time.time() % width
        assert refused.error == RATE
        assert abs(int(refused.headers["retry-after"]) - left) <= 2
        assert "x-should-retry" not in refused.headers
        assert refused.headers["x-ratelimit-limit-requests"] == "3"
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert len(up.log) == 3

    @pytest.mark.parametrize(("limit", "width"), [("tpm", 60), ("tpd", 86_400)])
    async def test_row_15_tokens(
        self, tmp_path: Path, up: Upstream, limit: str, width: int
    ) -> None:
        up.script(used(150), used(12))
        async with running(tmp_path, one_upstream(up.base_url, PRICES)) as gateway:
            key = await caller(gateway, **{limit: 200})
            await early_in_a_minute()
            assert (await key.chat()).status == 200
            refused = await key.chat()
            assert refused.error == RATE
            assert 1 <= int(refused.headers["retry-after"]) <= width * 3 // 2
            assert "x-should-retry" not in refused.headers
            assert refused.headers["x-ratelimit-limit-tokens"] == "200"
            assert refused.headers["x-ratelimit-remaining-tokens"] == "50"
            assert len(up.log) == 1
            assert (await key.chat(SMALL)).status == 200  # it asks for less

    async def test_row_15_more_than_the_whole_limit_is_not_tried_again(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        async with running(tmp_path, one_upstream(up.base_url, PRICES)) as gateway:
            refused = await (await caller(gateway, tpm=99)).chat()
            assert refused.error == RATE
            assert refused.headers["x-should-retry"] == "false"
            assert up.log == []
            assert (await (await caller(gateway, tpm=100)).chat()).status == 200

    async def test_row_15_requests_at_once(self, tmp_path: Path, up: Upstream) -> None:
        event = asyncio.Event()
        up.script(when(event))
        async with running(tmp_path, one_upstream(up.base_url, PRICES)) as gateway:
            key = await caller(gateway, concurrency=2)
            tasks = await many(key, 5)
            for refused in await finished(tasks, 3):
                assert refused.error == RATE
                assert refused.headers["retry-after"] == "1"
            assert len(up.log) == 2
            event.set()
            assert [a.status for a in await asyncio.gather(*tasks)].count(200) == 2
            assert (await key.chat()).status == 200

    async def test_the_sdk_raises_its_own_error(self, tmp_path: Path, up: Upstream) -> None:
        sent: list[httpx.Request] = []

        async def note(request: httpx.Request) -> None:
            sent.append(request)

        async with running(tmp_path, one_upstream(up.base_url, PRICES)) as gateway:
            rate, money = await caller(gateway, rpm=1), await caller(gateway, budget=0.00001)
            await early_in_a_minute()
            async with gateway.client(api_key=rate.key) as client:
                await client.chat.completions.create(**CHAT)
                with pytest.raises(openai.RateLimitError) as caught:
                    await client.chat.completions.create(**CHAT)
                assert caught.value.code == "rate_limit_exceeded"
                assert caught.value.request_id
            http = httpx.AsyncClient(event_hooks={"request": [note]})
            async with gateway.client(api_key=money.key, max_retries=3, http_client=http) as client:
                with pytest.raises(openai.RateLimitError) as caught:
                    await client.chat.completions.create(**CHAT)
                assert caught.value.code == "budget_exceeded"
                assert caught.value.type == "insufficient_quota"
        assert len(sent) == 1  # the SDK was told not to try again
        assert len(up.log) == 1


class TestHeaders:
    @pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
    async def test_what_is_left_is_told(
        self, tmp_path: Path, up: Upstream, body: dict[str, Any]
    ) -> None:
        up.script(
            fake.sse(*fake.chat_chunks(["Hi"], usage=fake.count(9, 3)))
            if body is STREAM
            else used(12)
        )
        async with running(tmp_path, one_upstream(up.base_url, PRICES)) as gateway:
            key = await caller(gateway, rpm=60, tpm=1000)
            await early_in_a_minute()
            first, second = await key.chat(body), await key.chat(body)
        told = {n: v for n, v in first.headers.items() if n.startswith("x-ratelimit-")}
        resets = {n: told.pop(n) for n in list(told) if "-reset-" in n}
        assert told == {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-limit-tokens": "1000",
            "x-ratelimit-remaining-tokens": "900",
        }
        assert set(resets) == {"x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"}
        assert all(0 < seconds_of(reset) <= 120 for reset in resets.values())
        assert second.headers["x-ratelimit-remaining-requests"] == "58"
        assert second.headers["x-ratelimit-remaining-tokens"] == "888"  # 1000 - 12 - 100

    async def test_the_tightest_is_told(self, tmp_path: Path, up: Upstream) -> None:
        async with running(tmp_path, one_upstream(up.base_url, PRICES)) as gateway:
            answer = await (await caller(gateway, rpm=60, rpd=7, tpm=1000, tpd=400)).chat()
        assert answer.headers["x-ratelimit-limit-requests"] == "7"
        assert answer.headers["x-ratelimit-remaining-requests"] == "6"
        assert answer.headers["x-ratelimit-limit-tokens"] == "400"
        assert answer.headers["x-ratelimit-remaining-tokens"] == "300"

    async def test_without_limits_nothing_is_told(self, tmp_path: Path, up: Upstream) -> None:
        async with running(tmp_path, one_upstream(up.base_url, PRICES)) as gateway:
            plain, poor = await caller(gateway), await caller(gateway, budget=1, concurrency=3)
            for answer in (await plain.chat(), await poor.chat()):
                assert answer.status == 200
                assert not [n for n in answer.headers if n.startswith("x-ratelimit-")]


class TestWhoseLimits:
    async def test_the_configuration_is_every_keys_default(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        text = one_upstream(up.base_url, PRICES + "\nlimits: {rpm: 2}")
        async with running(tmp_path, text) as gateway:
            one, two = await caller(gateway), await caller(gateway, tpm=10_000)
            more, free = await caller(gateway, rpm=4), await caller(gateway, rpm=None)
            await early_in_a_minute()
            passed = {
                name: [(await key.chat()).status for _ in range(6)].count(200)
                for name, key in {"one": one, "two": two, "more": more, "free": free}.items()
            }
            assert passed == {"one": 2, "two": 2, "more": 4, "free": 6}
            headers = {"authorization": f"Bearer {MASTER}"}
            answers = [await gateway.post(CHAT, headers=headers) for _ in range(5)]
            assert {answer.status for answer in answers} == {200}
            assert not [n for n in answers[0].headers if n.startswith("x-ratelimit-")]

    async def test_a_change_holds_at_once(self, tmp_path: Path, up: Upstream) -> None:
        text = one_upstream(up.base_url, PRICES + "\nlimits: {rpm: 1}")
        async with running(tmp_path, text) as gateway:
            key = await caller(gateway, rpm=2)
            await early_in_a_minute()
            assert [(await key.chat()).status for _ in range(3)] == [200, 200, 429]
            await key.change({"rpm": 3})  # what was counted still counts
            assert [(await key.chat()).status for _ in range(2)] == [200, 429]
            await key.change({"rpm": None})
            assert [(await key.chat()).status for _ in range(4)] == [200] * 4
            await key.change(None)  # back to the default of 1
            assert (await key.chat()).error == RATE

    async def test_a_reload_of_the_default_holds_at_once(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        text = one_upstream(up.base_url, PRICES)
        async with running(tmp_path, text) as gateway:
            key = await caller(gateway)
            assert (await key.chat()).status == 200
            gateway.config.write_text(text + "limits: {tpm: 99}\n")
            async with asyncio.timeout(5):
                while (await key.chat()).status == 200:
                    await asyncio.sleep(0.05)
            assert (await key.chat()).error == RATE


class TestRow16:
    @pytest.mark.parametrize("per", ["day", "month"])
    async def test_row_16_fifty_on_the_last_cent(
        self, tmp_path: Path, up: Upstream, per: str
    ) -> None:
        """Ten fit; they come to 12,000 each of 1,000,000, so that eight fit beside them."""
        async with running(tmp_path, one_upstream(up.base_url, PRICES)) as gateway:
            key = await caller(gateway, budget={"amount": TEN, "per": per})
            for total, fit in ((0, 10), (10, 8), (18, 7)):
                event = asyncio.Event()
                up.script(when(event))
                tasks = await many(key, 50)
                for refused in await finished(tasks, 50 - fit):
                    assert refused.error == MONEY
                    assert refused.headers["x-should-retry"] == "false"
                    longest = 86_400 * (1 if per == "day" else 31)
                    assert 0 < int(refused.headers["retry-after"]) <= longest
                assert len(up.log) == total + fit
                event.set()
                answers = await asyncio.gather(*tasks)
                assert [answer.status for answer in answers].count(200) == fit
            rows = await gateway.rows(150)
            assert sum(row["cost_nanousd"] or 0 for row in rows) == 25 * 12_000

    async def test_row_16_one_that_costs_more_is_counted_in_full(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        up.script(used(2000))
        async with running(tmp_path, one_upstream(up.base_url, PRICES)) as gateway:
            key = await caller(gateway, budget=TEN)
            assert (await key.chat()).status == 200
            assert (await key.chat(SMALL)).error == MONEY
            assert len(up.log) == 1

    async def test_row_16_the_dearest_target_is_reserved_for(
        self, tmp_path: Path, up: Upstream, other: Upstream
    ) -> None:
        prices = """
pricing: {overrides: {"one/*": {input: 1, output: 1}, "two/*": {input: 100, output: 100}}}
"""
        text = two_upstreams(up.base_url, other.base_url, prices)
        async with running(tmp_path, text) as gateway:
            key = await caller(gateway, budget=TEN)
            assert (await key.chat(CHAT | {"model": "both"})).error == MONEY
            assert (await key.chat(CHAT | {"model": "one/m"})).status == 200

    @pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
    async def test_row_16_a_client_that_leaves_gives_its_share_back(
        self, tmp_path: Path, up: Upstream, body: dict[str, Any]
    ) -> None:
        up.script([fake.Stall()], used(12))
        async with running(tmp_path, one_upstream(up.base_url, PRICES)) as gateway:
            key = await caller(gateway, budget=0.00015, tpm=150, concurrency=1)
            leaving = asyncio.ensure_future(key.chat(body))
            await up.wait_for_requests(1)
            assert (await key.chat()).status == 429
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            await up.wait_until_closed()
            await asyncio.sleep(0.05)
            assert (await key.chat()).status == 200
        assert len(up.log) == 2

    async def test_row_16_what_failed_has_cost_nothing(self, tmp_path: Path, up: Upstream) -> None:
        up.script(fake.error_reply(500), fake.error_reply(400), fake.html_reply(), used(12))
        async with running(tmp_path, one_upstream(up.base_url, PRICES)) as gateway:
            key = await caller(gateway, budget=0.0001, tpm=100, concurrency=1)
            answers = [(await key.chat()).status for _ in range(4)]
            assert answers == [502, 400, 502, 200]
            assert (await key.chat()).status == 429  # what was answered has

    async def test_row_16_a_stream_that_broke_costs_what_it_gave(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        begun = list(fake.sse(*fake.chat_chunks(["Hel"])[:2], done=False))[:-1]
        up.script([*begun, fake.Close()], used(12))
        async with running(tmp_path, one_upstream(up.base_url, PRICES)) as gateway:
            key = await caller(gateway, budget=0.0001, tpd=105)
            assert b"stream_interrupted" in (await key.chat(STREAM)).body
            await asyncio.sleep(0.05)
            spent = await gateway.rows(1)
            assert 0 < spent[0]["cost_nanousd"] < 10_000
            assert (await key.chat()).error == MONEY
            assert (await key.chat(CHAT | {"max_tokens": 80})).status == 200

    async def test_a_place_is_free_after_a_stream(self, tmp_path: Path, up: Upstream) -> None:
        head = list(fake.sse(*fake.chat_chunks(["Hel"])[:2], done=False))[:-1]
        event = asyncio.Event()
        tail = list(fake.sse(*fake.chat_chunks(["lo"])[1:]))[1:]
        up.on(lambda r: [*head, fake.WaitFor(event), *tail] if r.json.get("stream") else None)
        async with running(tmp_path, one_upstream(up.base_url, PRICES)) as gateway:
            key = await caller(gateway, concurrency=1)
            async with gateway.client(api_key=key.key) as client:
                stream = await client.chat.completions.create(**STREAM)
                await anext(stream)
                assert (await key.chat()).error == RATE  # under way, and its head is out
                event.set()
                async for _ in stream:
                    pass
                assert (await key.chat()).status == 200
                event.clear()
                stream = await client.chat.completions.create(**STREAM)
                await anext(stream)
                assert (await key.chat()).error == RATE
                await stream.close()
            await asyncio.sleep(0.1)
            assert (await key.chat()).status == 200


class TestWhatWasSpentBefore:
    async def test_a_budget_survives_a_restart(self, tmp_path: Path, up: Upstream) -> None:
        up.script(used(850), used(12))
        text = one_upstream(up.base_url, PRICES)
        async with running(tmp_path, text) as gateway:
            key = await caller(gateway, budget=TEN)
            daily = await caller(gateway, budget={"amount": TEN, "per": "day"})
            assert (await key.chat()).status == 200
            assert (await daily.chat()).status == 200
        async with running(tmp_path, text) as again:
            key.gateway = daily.gateway = again
            event = asyncio.Event()
            up.script(when(event))
            tasks = await many(key, 5)  # of 1,000,000 only 150,000 are left
            await finished(tasks, 4)
            tasks += await many(daily, 15)  # and 988,000
            await finished(tasks, 4 + 6)
            event.set()
            assert [a.status for a in await asyncio.gather(*tasks)].count(200) == 1 + 9

    async def test_a_budget_survives_kill_9(self, tmp_path: Path, up: Upstream) -> None:
        """When the request is settled in the spool, and its row is not in the database yet."""
        up.script(used(950), used(12))
        text = one_upstream(up.base_url, PRICES).replace("${TURNOUT_MASTER_KEY}", MASTER)
        (tmp_path / "config.yaml").write_text(text)
        async with aiohttp.ClientSession() as session:
            with serving(tmp_path) as served:
                url = served.base_url.removesuffix("/v1")
                gateway = Gateway(url, tmp_path / "home", tmp_path / "config.yaml", "", session)
                key = await caller(gateway, budget=TEN)
                assert (await key.chat()).status == 200
                await asyncio.sleep(0.02)
                served.process.kill()
            with serving(tmp_path) as again:
                gateway.url = again.base_url.removesuffix("/v1")
                assert (await key.chat()).error == MONEY

    async def test_a_budget_that_comes_later_knows_of_it(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        up.script(used(950), used(12))
        async with running(tmp_path, one_upstream(up.base_url, PRICES)) as gateway:
            key = await caller(gateway)
            assert (await key.chat()).status == 200
            await gateway.rows(1)
            await key.change({"budget": TEN})
            assert (await key.chat()).error == MONEY
            await key.change({"budget": {"amount": TEN, "per": "day"}})
            assert (await key.chat()).error == MONEY
            await key.change({"budget": 2 * TEN})
            assert (await key.chat()).status == 200


class TestProviders:
    async def test_a_provider_without_room_is_passed_over(
        self, tmp_path: Path, up: Upstream, other: Upstream
    ) -> None:
        text = f"""
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
cache: {{enabled: false}}
providers:
  one: {{dialect: openai, base_url: "{up.base_url}", api_key: k, rpm: 2}}
  two: {{dialect: openai, base_url: "{other.base_url}", api_key: k}}
models: {{both: [one/m, two/m]}}
"""
        async with running(tmp_path, text) as gateway:
            await early_in_a_minute()
            answers = [await gateway.post(CHAT | {"model": "both"}) for _ in range(4)]
            assert [a.headers["x-turnout-provider"] for a in answers] == [
                "one",
                "one",
                "two",
                "two",
            ]
            assert [a.headers["x-turnout-attempts"] for a in answers] == ["1"] * 4
            assert len(up.log) == 2
            alone = await gateway.post(CHAT | {"model": "one/m"})
            left = 60 - time.time() % 60
            assert alone.error == RATE
            assert abs(int(alone.headers["retry-after"]) - left) <= 2
            assert len(up.log) == 2

    async def test_tokens_of_a_provider(self, tmp_path: Path, up: Upstream) -> None:
        up.script(used(150), used(12))
        async with running(tmp_path, one_upstream(up.base_url, provider=", tpm: 200")) as gateway:
            await early_in_a_minute()
            assert (await gateway.post(CHAT)).status == 200
            refused = await gateway.post(CHAT)
            assert refused.error == RATE
            assert int(refused.headers["retry-after"]) >= 1
            assert (await gateway.post(SMALL)).status == 200
        assert len(up.log) == 2

    async def test_an_open_circuit_takes_no_room(self, tmp_path: Path, up: Upstream) -> None:
        up.script(fake.error_reply(503), fake.chat_reply())
        text = one_upstream(
            up.base_url,
            "retry: {attempts: 1}\nbreaker: {failures: 1, open: 300ms}",
            ", rpm: 3",
        )
        async with running(tmp_path, text) as gateway:
            await early_in_a_minute()
            assert (await gateway.post(CHAT)).status == 503
            for _ in range(5):
                blocked = await gateway.post(CHAT)
                assert blocked.error == (503, "upstream_error", "circuit_open")
            await asyncio.sleep(0.4)
            assert (await gateway.post(CHAT)).status == 200
        assert len(up.log) == 2
