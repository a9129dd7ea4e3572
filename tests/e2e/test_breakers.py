"""Circuits, over real sockets: rows 20, 24 and 25 of the fault table.

The upstream's own log is the oracle of what was sent while a circuit was open.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gateway import MASTER, Answer, Gateway, one_upstream, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Received, Upstream

CHAT = {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}]}
STREAM = CHAT | {"stream": True}
OPEN = (503, "upstream_error", "circuit_open")
ONE_TRY = "retry: {attempts: 1}\n"
SERVICE = "service-key-for-the-tests"
TWO_KEYS = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
cache: {{enabled: false}}
retry: {{attempts: 1}}
breaker: {{failures: 5, open: 1s}}
providers:
  up: {{dialect: openai, base_url: "{url}", api_keys: [sk-first, sk-second]}}
"""


async def states(gateway: Gateway) -> dict[str, str]:
    answer = await gateway.call("GET", "/api/v1/breakers")
    assert answer.status == 200, answer.body
    return {entry["name"]: entry["state"] for entry in answer.json["breakers"]}


async def open_up(gateway: Gateway, up: Upstream, failures: int = 5) -> None:
    """Fails until the provider's circuit is open."""
    up.script(fake.error_reply(503))
    for _ in range(failures):
        assert (await gateway.post(CHAT)).error[2] == "upstream_overloaded"
    assert (await states(gateway))["provider/up"] == "OPEN"


def asked_by(up: Upstream, key: str) -> int:
    return sum(r.header("authorization") == f"Bearer {key}" for r in up.log)


def by_key(received: Received, key: str, script: fake.Script) -> fake.Script | None:
    return script if received.header("authorization") == f"Bearer {key}" else None


class TestRow24:
    async def test_row_24_503_at_load(self, tmp_path: Path, up: Upstream) -> None:
        """A hundred callers who ask again and again: 120 requests, then the circuit is open."""
        up.script([fake.Sleep(0.1), *fake.error_reply(503)])
        text = one_upstream(
            up.base_url,
            "retry: {backoff: [20ms, 40ms]}\nbreaker: {failures: 5, open: 5s, max_open: 8s}",
        )
        async with running(tmp_path, text) as gateway:
            first = await asyncio.gather(*(gateway.post(CHAT) for _ in range(100)))
            sent = len(up.log)
            assert {answer.status for answer in first} == {503}
            assert sent <= 100 + 0.2 * 100 + 3
            more: list[Answer] = []
            for _ in range(4):
                more += await asyncio.gather(*(gateway.post(CHAT) for _ in range(60)))
                await asyncio.sleep(0.05)
            for answer in more:
                assert answer.error == OPEN
                assert 1 <= int(answer.headers["retry-after"]) <= 6
            assert len(up.log) == sent  # no packet
            rows = await gateway.rows(340)
            assert sum(row["attempts"] for row in rows) == sent

    async def test_row_24_503_for_seconds(self, tmp_path: Path, up: Upstream) -> None:
        """A request each 10 ms for three seconds: after the first few only probes are sent."""
        up.script([fake.Sleep(0.02), *fake.error_reply(503)])
        text = one_upstream(
            up.base_url,
            "retry: {backoff: [20ms, 40ms]}\nbreaker: {failures: 5, open: 1s, max_open: 4s}",
        )
        async with running(tmp_path, text) as gateway:
            tasks = []
            for _ in range(300):
                tasks.append(asyncio.ensure_future(gateway.post(CHAT)))
                await asyncio.sleep(0.01)
            answers = await asyncio.gather(*tasks)
        opened = next(at for at, a in enumerate(answers) if a.error == OPEN)
        began = up.log[0].at
        early = [r for r in up.log if r.at < began + 0.5]
        assert len(early) <= 1.2 * opened + 3
        for at in (0.8, 2.5):  # half-open after one second, and after two more
            phase = [r for r in up.log if at < r.at - began <= at + 1.5]
            assert len(phase) <= 2
        assert len(up.log) - len(early) <= 4
        assert {a.error for a in answers} == {OPEN, (503, "upstream_error", "upstream_overloaded")}
        assert sum(a.error != OPEN for a in answers) <= len(up.log)
        assert all(1 <= int(a.headers["retry-after"]) <= 5 for a in answers)

    async def test_row_24_retries_without_a_circuit(self, tmp_path: Path, up: Upstream) -> None:
        """The budget alone: with 60 under way no more than 12 retries are under way at a time."""
        up.script(fake.chat_reply(), [fake.Sleep(0.2), *fake.error_reply(503)])
        text = one_upstream(
            up.base_url,
            "retry: {backoff: [1ms, 2ms]}\nbreaker: {failures: 10000, ratio: 1.0}",
        )
        async with running(tmp_path, text) as gateway:
            assert (await gateway.post(CHAT)).status == 200  # so that the ratio is never 1
            tasks = [asyncio.ensure_future(gateway.post(CHAT)) for _ in range(60)]
            answers = await asyncio.gather(*tasks)
            assert {a.error[2] for a in answers} == {"upstream_overloaded"}
        firsts, rest = up.log[1:61], up.log[61:]
        assert max(r.at for r in firsts) < min(r.at for r in rest)
        assert len(rest) >= 12
        for at in {r.at for r in rest}:
            assert sum(at - 0.2 < r.at <= at for r in rest) <= 12

    async def test_row_24_a_circuit_that_opens_again_stays_open_for_longer(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        text = one_upstream(
            up.base_url, ONE_TRY + "breaker: {failures: 2, open: 300ms, max_open: 700ms}"
        )
        async with running(tmp_path, text) as gateway:
            await open_up(gateway, up, 2)
            waits = []
            for _ in range(3):
                began = asyncio.get_running_loop().time()
                while (await gateway.post(CHAT)).error == OPEN:
                    await asyncio.sleep(0.01)
                waits.append(asyncio.get_running_loop().time() - began)
        assert 0.25 <= waits[0] <= 0.45
        assert 0.5 <= waits[1] <= 0.8
        assert 0.6 <= waits[2] <= 0.85  # `max_open`, and the jitter never adds to that


class TestRow25:
    async def test_row_25_two_probes_while_a_hundred_wait(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        event = asyncio.Event()
        text = one_upstream(up.base_url, ONE_TRY + "breaker: {failures: 5, open: 300ms}")
        async with running(tmp_path, text) as gateway:
            await open_up(gateway, up)
            await asyncio.sleep(0.4)
            assert (await states(gateway))["provider/up"] == "HALF_OPEN"
            up.script([fake.WaitFor(event), *fake.chat_reply()])
            tasks = [asyncio.ensure_future(gateway.post(CHAT)) for _ in range(100)]
            await up.wait_for_requests(7)
            async with asyncio.timeout(5):
                while sum(task.done() for task in tasks) < 98:
                    await asyncio.sleep(0.01)
            assert len(up.log) == 5 + 2
            for task in tasks:
                if task.done():
                    assert task.result().error == OPEN
                    assert task.result().headers["retry-after"] == "1"
            event.set()
            answers = await asyncio.gather(*tasks)
            assert [answer.status for answer in answers].count(200) == 2
            assert (await states(gateway))["provider/up"] == "CLOSED"
            answers = await asyncio.gather(*(gateway.post(CHAT) for _ in range(20)))
            assert {answer.status for answer in answers} == {200}

    @pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
    async def test_row_25_a_probe_whose_client_leaves_frees_its_lease(
        self, tmp_path: Path, up: Upstream, body: dict[str, Any]
    ) -> None:
        text = one_upstream(up.base_url, ONE_TRY + "breaker: {failures: 5, open: 200ms}")
        async with running(tmp_path, text) as gateway:
            await open_up(gateway, up)
            await asyncio.sleep(0.3)
            head = list(fake.sse(*fake.chat_chunks(["x"])[:2], done=False))[:-1]
            up.script([*(head if body is STREAM else []), fake.Stall()])
            probes = [asyncio.ensure_future(gateway.post(body)) for _ in range(2)]
            await up.wait_for_requests(7)
            assert (await gateway.post(CHAT)).error == OPEN
            for probe in probes:
                probe.cancel()
            await asyncio.gather(*probes, return_exceptions=True)
            await up.wait_until_closed()
            assert (await states(gateway))["provider/up"] == "HALF_OPEN"
            up.script(fake.chat_reply())
            assert [(await gateway.post(CHAT)).status for _ in range(2)] == [200, 200]
            assert set((await states(gateway)).values()) == {"CLOSED"}

    async def test_row_25_a_probe_that_fails_opens_it_again(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        text = one_upstream(up.base_url, ONE_TRY + "breaker: {failures: 5, open: 200ms}")
        async with running(tmp_path, text) as gateway:
            await open_up(gateway, up)
            await asyncio.sleep(0.3)
            assert (await gateway.post(CHAT)).error[2] == "upstream_overloaded"
            assert (await gateway.post(CHAT)).error == OPEN
            assert len(up.log) == 6

    async def test_row_25_a_probe_that_the_client_is_to_blame_for_decides_nothing(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        text = one_upstream(up.base_url, ONE_TRY + "breaker: {failures: 5, open: 200ms}")
        async with running(tmp_path, text) as gateway:
            await open_up(gateway, up)
            await asyncio.sleep(0.3)
            up.script(fake.error_reply(400))
            assert [(await gateway.post(CHAT)).status for _ in range(5)] == [400] * 5
            assert (await states(gateway))["provider/up"] == "HALF_OPEN"


class TestWhatOpensWhat:
    @pytest.mark.parametrize(
        ("status", "code"), [(429, "insufficient_quota"), (401, None), (402, None)]
    )
    async def test_row_20_a_key_at_its_end_is_left_alone_and_the_other_goes_on(
        self, tmp_path: Path, up: Upstream, status: int, code: str | None
    ) -> None:
        up.on(lambda r: by_key(r, "sk-first", fake.error_reply(status, code=code)))
        async with running(tmp_path, TWO_KEYS.format(url=up.base_url)) as gateway:
            answers = [(await gateway.post(CHAT)).status for _ in range(8)]
            # One attempt only, so that the first one that meets it is told.
            assert sorted(answers)[:7] == [200] * 7
            assert asked_by(up, "sk-first") == 1
            found = await states(gateway)
            assert found["credential/up#0"] == "OPEN"
            assert {s for name, s in found.items() if name != "credential/up#0"} == {"CLOSED"}

    async def test_row_20_alone_the_quota_is_told_and_not_tried_again(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        up.script(fake.error_reply(429, code="insufficient_quota"))
        async with running(tmp_path, one_upstream(up.base_url)) as gateway:
            answer = await gateway.post(CHAT)
            assert answer.error == (429, "insufficient_quota", "insufficient_quota")
            assert answer.headers["x-should-retry"] == "false"
            assert len(up.log) == 1
            again = await gateway.post(CHAT)
            assert again.error == OPEN
            assert int(again.headers["retry-after"]) > 1
            assert len(up.log) == 1

    async def test_a_403_may_be_of_one_model_only(self, tmp_path: Path, up: Upstream) -> None:
        up.on(lambda r: fake.error_reply(403) if r.json["model"] == "forbidden" else None)
        text = one_upstream(up.base_url, ONE_TRY + "breaker: {failures: 3, open: 1s}")
        async with running(tmp_path, text) as gateway:
            for _ in range(2):
                assert (await gateway.post(CHAT | {"model": "up/forbidden"})).status == 502
            assert (await states(gateway))["credential/up#0"] == "CLOSED"
            assert (await gateway.post(CHAT)).status == 200

    async def test_no_first_token_shuts_one_model_only(self, tmp_path: Path, up: Upstream) -> None:
        up.on(lambda r: [fake.Stall()] if r.json["model"] == "slow" else None)
        text = one_upstream(
            up.base_url,
            ONE_TRY + "breaker: {failures: 3, open: 1s}",
            ", timeout: {first_token: 100ms}",
        )
        slow = STREAM | {"model": "up/slow"}
        async with running(tmp_path, text) as gateway:
            answers = await asyncio.gather(*(gateway.post(slow) for _ in range(3)))
            assert {a.error for a in answers} == {(504, "upstream_error", "upstream_timeout")}
            assert (await gateway.post(slow)).error == OPEN
            assert (await gateway.post(STREAM)).status == 200
            found = await states(gateway)
            assert found.pop("deployment/up/slow") == "OPEN"
            assert set(found.values()) == {"CLOSED"}
        assert len(up.log) == 4

    async def test_streams_that_break_count_for_the_provider(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        head = list(fake.sse(*fake.chat_chunks(["x"])[:2], done=False))[:-1]
        up.script([*head, fake.Close()])
        text = one_upstream(up.base_url, ONE_TRY + "breaker: {failures: 3, open: 1s}")
        async with running(tmp_path, text) as gateway:
            for _ in range(3):
                assert b"stream_interrupted" in (await gateway.post(STREAM)).body
            found = await states(gateway)
            assert found.pop("provider/up") == "OPEN"
            assert set(found.values()) == {"CLOSED"}
            assert (await gateway.post(STREAM | {"model": "up/another"})).error == OPEN

    async def test_a_429_opens_its_key_for_as_long_as_it_asks(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        up.on(lambda r: by_key(r, "sk-first", fake.error_reply(429, headers={"Retry-After": "30"})))
        async with running(tmp_path, TWO_KEYS.format(url=up.base_url)) as gateway:
            answers = [(await gateway.post(CHAT)).status for _ in range(20)]
            assert answers.count(429) == asked_by(up, "sk-first") == 5
            assert answers.count(200) == 15
            shown = (await gateway.call("GET", "/api/v1/breakers")).json["breakers"]
            (entry,) = [e for e in shown if e["state"] != "CLOSED"]
            assert (entry["name"], entry["kind"]) == ("credential/up#0", "credential")

    async def test_what_clients_get_wrong_opens_nothing(self, tmp_path: Path, up: Upstream) -> None:
        up.script(fake.error_reply(400), fake.error_reply(422), fake.error_reply(413))
        async with running(tmp_path, one_upstream(up.base_url, ONE_TRY)) as gateway:
            for _ in range(30):
                assert (await gateway.post(CHAT)).status in (400, 413, 422)
            assert set((await states(gateway)).values()) == {"CLOSED"}
        assert len(up.log) == 30

    async def test_clients_that_leave_open_nothing(self, tmp_path: Path, up: Upstream) -> None:
        up.script([fake.Stall()])
        async with running(tmp_path, one_upstream(up.base_url, ONE_TRY)) as gateway:
            tasks = [asyncio.ensure_future(gateway.post(CHAT)) for _ in range(25)]
            await up.wait_for_requests(25)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await up.wait_until_closed()
            assert set((await states(gateway)).values()) == {"CLOSED"}

    async def test_a_deadline_of_the_callers_own_opens_nothing(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        up.script([fake.Stall()])
        text = one_upstream(up.base_url, ONE_TRY + "breaker: {failures: 2}")
        async with running(tmp_path, text) as gateway:
            headers = {"x-turnout-timeout": "0.1"}
            for _ in range(4):
                assert (await gateway.post(CHAT, headers=headers)).status == 504
            assert set((await states(gateway)).values()) == {"CLOSED"}


class TestTheDoor:
    async def test_states_and_reset(self, tmp_path: Path, up: Upstream) -> None:
        text = one_upstream(up.base_url, ONE_TRY + "breaker: {failures: 2, open: 20s}").replace(
            "auth: {", f"auth: {{service_keys: [{SERVICE}], "
        )
        url = "/api/v1/breakers"
        async with running(tmp_path, text) as gateway:
            assert (await gateway.call("GET", url)).json == {"breakers": []}
            await open_up(gateway, up, 2)
            up.script(fake.chat_reply())
            assert (await gateway.post(CHAT)).error == OPEN
            for key in (gateway.key, "sk-turnout-nonsense"):
                answer = await gateway.call("GET", url, key=key)
                assert answer.status == (403 if key == gateway.key else 401)
                answer = await gateway.call("POST", url + "/reset", key=key)
                assert answer.status == (403 if key == gateway.key else 401)
            assert (await gateway.post(CHAT)).error == OPEN
            wrong = await gateway.call("POST", url + "/reset", {"provider": "tow"})
            assert wrong.error == (422, "invalid_request_error", "invalid_value")
            done = await gateway.call("POST", url + "/reset", {"provider": "up"})
            assert (done.status, done.json) == (200, {"reset": 1})
            assert set((await states(gateway)).values()) == {"CLOSED"}
            assert (await gateway.post(CHAT)).status == 200
            await open_up(gateway, up, 2)
            headers = {"x-service-key": SERVICE}
            async with gateway.session.get(gateway.url + url, headers=headers) as reply:
                assert reply.status == 200
            async with gateway.session.post(gateway.url + url + "/reset", headers=headers) as reply:
                assert (reply.status, await reply.json()) == (200, {"reset": 1})
            assert (await states(gateway))["provider/up"] == "CLOSED"

    async def test_a_reload_keeps_circuits(self, tmp_path: Path, up: Upstream) -> None:
        text = one_upstream(up.base_url, ONE_TRY + "breaker: {failures: 2, open: 20s}")
        async with running(tmp_path, text) as gateway:
            await open_up(gateway, up, 2)
            before = (await gateway.call("GET", "/health")).json["config"]["version"]
            gateway.config.write_text(text + "limits: {rpm: 600}\n")
            async with asyncio.timeout(5):
                while (await gateway.call("GET", "/health")).json["config"]["version"] == before:
                    await asyncio.sleep(0.05)
            assert (await states(gateway))["provider/up"] == "OPEN"
            assert (await gateway.post(CHAT)).error == OPEN
            headers = {"authorization": f"Bearer {MASTER}"}
            assert (await gateway.post(CHAT, headers=headers)).error == OPEN
        assert len(up.log) == 2
