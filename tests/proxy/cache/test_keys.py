"""What a request is known by. That nothing crosses a scope is fuzzed in tests/fuzz/scope.py."""

import hashlib
import json
from typing import Any

import pytest

from adapters.base import Ask, Endpoint
from proxy.cache.keys import bypass, key_of, tenant_of
from proxy.cache.policy import Meaning, Policy
from proxy.cache.types import Directives, Key
from proxy.types import Controls, Plan, Principal, Role
from tests.adapters.asks import ask, target
from tests.proxy.cache.entries import PLAN, PRINCIPAL

EXACT = Policy(enabled=True, ttl=60.0, temperature=1.0, epoch="", meaning=None)
MEANING = Meaning(0.01, 0.8, 0.05, True, 2.0, frozenset())
BOTH = Policy(True, 60.0, 1.0, "", MEANING)
SAID_NOTHING = Directives()
SYSTEM = {"role": "system", "content": "Be brief."}
QUESTION = {"role": "user", "content": "Who made the clock?"}


def key(given: Ask | None = None, policy: Policy = BOTH, **over: Any) -> Key:
    said = over.pop("said", SAID_NOTHING)
    plan, principal = over.pop("plan", PLAN), over.pop("principal", PRINCIPAL)
    controls = over.pop("controls", Controls())
    assert not over
    given = given or ask(messages=[SYSTEM, QUESTION])
    return key_of(given, plan, principal, controls, policy, said)


def digest(*scope: Any) -> str:
    """The digest, by the standard library's JSON."""
    written = json.dumps(scope, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.blake2b(written, digest_size=16).hexdigest()


class TestKey:
    SCOPE = ("1", "key:key_1", "", "", "/chat/completions", "fast", ["up/m"], None, {}, [])

    def test_is_of_all_that_the_answer_depends_on(self) -> None:
        body = {"messages": [SYSTEM, QUESTION], "seed": 7, "model": "m", "stream": True}
        found = key(ask(**body))
        fields = {"messages": [SYSTEM, QUESTION], "seed": 7}
        hole = [SYSTEM, {"role": "user", "content": None}]
        assert found.digest == digest(*self.SCOPE, fields)
        assert found.partition == digest(*self.SCOPE, "meaning", {**fields, "messages": hole})
        assert (found.question, found.ineligible) == ("Who made the clock?", None)
        assert found.pool == digest("key:key_1", "fast")

    def test_a_pool_is_a_tenants_task_or_name(self) -> None:
        plan = Plan("task/sum", (target("m"),), "sum")
        assert key(plan=plan).pool == digest("key:key_1", "sum")
        other = ask(messages=[QUESTION], seed=1)
        assert key(other).pool == key().pool

    def test_with_everything_that_may_stand_around_it(self) -> None:
        given = ask(messages=[QUESTION])._replace(
            defaults={"top_k": 5}, headers=(("openai-beta", "x"),)
        )
        plan = Plan("task/sum", (target("b"), target("a"), target("b", credential=1)), "sum")
        found = key(
            given,
            Policy(True, 60.0, 1.0, "v2", None),
            plan=plan,
            principal=Principal(Role.SERVICE),
            controls=Controls(service="mail", user="zoe", provider="up"),
            said=Directives(namespace="docs", tags=("t",)),
        )
        tenant = '["service","mail","zoe"]'
        name = ("task/sum", ["up/a", "up/b"], "up", {"top_k": 5}, [["openai-beta", "x"]])
        scope = ("1", tenant, "docs", "v2", "/chat/completions", *name)
        assert found == Key(digest(*scope, {"messages": [QUESTION]}), "sum")

    def test_stays_what_it_is(self) -> None:
        """A change here makes all that is kept unreachable: it has to have a new VERSION."""
        assert key().digest == "cba0cafdca2b6ef1ad41754b879a365e"

    @pytest.mark.parametrize(
        "name",
        [
            "stream", "stream_options", "model", "user", "metadata", "safety_identifier",
            "prompt_cache_key", "prompt_cache_retention", "service_tier", "store",
        ],
    )  # fmt: skip
    def test_what_says_nothing_of_the_answer_changes_nothing(self, name: str) -> None:
        body = {"messages": [SYSTEM, QUESTION]}
        plain = ask(**body)
        assert key(plain._replace(body={**plain.body, name: {"x": 1}})) == key(plain)

    def test_without_meaning_there_is_no_partition(self) -> None:
        found = key(policy=EXACT)
        assert (found.partition, found.question, found.ineligible) == (None, None, None)
        assert found.digest == key().digest

    def test_what_may_not_be_answered_by_meaning_says_why(self) -> None:
        found = key(ask(messages=[QUESTION], tools=[{"type": "function"}]))
        assert (found.partition, found.question, found.ineligible) == (None, None, "tools")

    def test_what_is_deeper_than_can_be_written_has_none(self) -> None:
        deep: Any = 1
        for _ in range(300):
            deep = [deep]
        with pytest.raises(TypeError):
            key(ask(messages=[QUESTION])._replace(body={"x": deep}))


@pytest.mark.parametrize(
    ("principal", "controls", "expected"),
    [
        (Principal(Role.KEY, "key_1"), Controls(user="u", service="s"), "key:key_1"),
        (Principal(Role.KEY, "key_1", "zoe"), Controls(user="u"), "user:zoe"),
        (Principal(Role.KEY, "key_2", "zoe"), Controls(), "user:zoe"),
        (Principal(Role.USER, None, "zoe"), Controls(), "user:zoe"),
        (Principal(Role.SERVICE), Controls(), '["service",null,null]'),
        (Principal(Role.SERVICE), Controls(service="a", user="b"), '["service","a","b"]'),
        (Principal(Role.SERVICE), Controls(service='a","b'), '["service","a\\",\\"b",null]'),
        (Principal(Role.ADMIN), Controls(user="u"), "admin"),
        (Principal(Role.ANONYMOUS), Controls(), "anonymous"),
    ],
)
def test_whose_answers_they_are(principal: Principal, controls: Controls, expected: str) -> None:
    assert tenant_of(principal, controls) == expected


RESPONSE: dict[str, Any] = {"endpoint": Endpoint.RESPONSES, "store": False}
OFF = Policy(False, 60.0, 1.0, "", None)
COLD = Policy(True, 60.0, 0.5, "", None)
NO_STORE = Directives(read=False, write=False)


@pytest.mark.parametrize(
    ("body", "policy", "said", "expected"),
    [
        ({}, EXACT, SAID_NOTHING, None),
        ({}, OFF, SAID_NOTHING, "disabled"),
        ({}, EXACT, NO_STORE, "no-store"),
        ({}, EXACT, Directives(read=False), None),
        ({"endpoint": Endpoint.IMAGES}, EXACT, SAID_NOTHING, "endpoint"),
        ({"endpoint": Endpoint.SPEECH}, EXACT, SAID_NOTHING, "endpoint"),
        ({"endpoint": Endpoint.TRANSCRIPTIONS}, EXACT, SAID_NOTHING, "endpoint"),
        ({"endpoint": Endpoint.MODERATIONS}, EXACT, SAID_NOTHING, "endpoint"),
        ({"store": True}, EXACT, SAID_NOTHING, "state"),
        ({"store": False}, EXACT, SAID_NOTHING, None),
        (RESPONSE, EXACT, SAID_NOTHING, None),
        ({"endpoint": Endpoint.RESPONSES}, EXACT, SAID_NOTHING, "state"),
        ({**RESPONSE, "store": None}, EXACT, SAID_NOTHING, "state"),
        ({**RESPONSE, "previous_response_id": "r"}, EXACT, SAID_NOTHING, "state"),
        ({**RESPONSE, "conversation": {"id": "c"}}, EXACT, SAID_NOTHING, "state"),
        ({**RESPONSE, "background": True}, EXACT, SAID_NOTHING, "state"),
        ({**RESPONSE, "background": False}, EXACT, SAID_NOTHING, None),
        ({"temperature": 1}, EXACT, SAID_NOTHING, None),
        ({"temperature": 1.01}, EXACT, SAID_NOTHING, "temperature"),
        ({"temperature": 0.5}, COLD, SAID_NOTHING, None),
        ({"temperature": None}, COLD, SAID_NOTHING, "temperature"),
        ({}, COLD, SAID_NOTHING, "temperature"),
        ({"temperature": "hot"}, EXACT, SAID_NOTHING, "temperature"),
        ({"endpoint": Endpoint.EMBEDDINGS}, COLD, SAID_NOTHING, None),
        ({"endpoint": Endpoint.MESSAGES}, COLD, SAID_NOTHING, "temperature"),
    ],
)
def test_what_has_nothing_to_do_with_the_cache(
    body: dict[str, Any], policy: Policy, said: Directives, expected: str | None
) -> None:
    assert bypass(ask(**body), policy, said) == expected


def test_a_tasks_temperature_counts_where_the_request_has_none() -> None:
    hot = ask()._replace(defaults={"temperature": 1.5})
    assert bypass(hot, EXACT, SAID_NOTHING) == "temperature"
    cold = ask(temperature=0)._replace(defaults={"temperature": 1.5})
    assert bypass(cold, EXACT, SAID_NOTHING) is None
