"""The short form of the scope's fuzzing (`tests.fuzz.scope`), and that its checks can fail."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from adapters.base import Endpoint
from proxy.cache import keys, lookup
from proxy.cache.types import Key
from proxy.types import Role
from tests.fuzz import scope
from tests.fuzz.scope import CHANGES, Change, Request, Wrong

EACH = 15  # cases of each change


@st.composite
def pairs(draw: Any, change: Change) -> tuple[Request, Request]:
    request = draw(scope.requests())
    after = change(draw, request)
    assume(after is not None)
    return request, after


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_one_change(change: Change) -> None:
    compared = 0

    @settings(max_examples=EACH, suppress_health_check=list(HealthCheck))
    @given(pairs(change))
    def check(pair: Any) -> None:
        nonlocal compared
        compared += scope.check(pair[0], CHANGES[change], pair[1])

    check()
    assert compared or change in SELDOM, "no partitions were compared"


SELDOM = (scope.last_role, scope.tools, scope.endpoint)
"""Changes after which a request may hardly ever be answered by meaning."""


@settings(max_examples=60)
@given(scope.crowds())
def test_many_tenants_at_one_cache(visitors: list[scope.Visitor]) -> None:
    asyncio.run(scope.gather_crowd(visitors))


def test_crowds_are_served_in_every_way() -> None:
    seen = Counter[str]()

    @settings(max_examples=100, derandomize=True)
    @given(scope.crowds())
    def look(visitors: list[scope.Visitor]) -> None:
        seen.update(asyncio.run(scope.gather_crowd(visitors)))

    look()
    assert min(seen[way] for way in ("asked", "exact", "semantic", "joined")) > 20, seen


# Broken keys.

REAL = keys.key_of


def without_tenant(*given: Any) -> Key:
    ask, plan, principal, *rest = given
    return REAL(ask, plan, principal._replace(role=Role.ADMIN), *rest)


def without_customer(*given: Any) -> Key:
    ask, plan, principal, controls, *rest = given
    return REAL(ask, plan, principal, controls._replace(user=None), *rest)


def without_headers(*given: Any) -> Key:
    ask, *rest = given
    return REAL(ask._replace(headers=()), *rest)


def without_targets(*given: Any) -> Key:
    ask, plan, *rest = given
    return REAL(ask, plan._replace(targets=()), *rest)


def without_namespace(*given: Any) -> Key:
    *rest, said = given
    return REAL(*rest, said._replace(namespace=""))


def without_endpoint(*given: Any) -> Key:
    ask, *rest = given
    key = REAL(ask, *rest)
    return key._replace(digest=REAL(ask._replace(endpoint=Endpoint.CHAT), *rest).digest)


def without_earlier_turns(*given: Any) -> Key:
    """What is known by its last message alone: the usual fault."""
    ask, *rest = given
    key = REAL(ask, *rest)
    turns = ask.body.get("messages")
    if not turns or key.partition is None:
        return key
    short = {**ask.body, "messages": turns[-1:]}
    return key._replace(partition=REAL(ask._replace(body=short), *rest).partition)


def with_metadata(*given: Any) -> Key:
    ask, *rest = given
    return REAL(ask._replace(headers=(("m", str(ask.body.get("metadata"))),)), *rest)


def with_all_words(*given: Any) -> Key:
    key = REAL(*given)
    return key._replace(partition=key.partition and key.digest)


@pytest.mark.parametrize(
    ("broken", "change", "what"),
    [
        (without_tenant, scope.caller, "other: digests"),
        (without_tenant, scope.owner, "other: digests"),
        (without_customer, scope.customer, "other: digests"),
        (without_headers, scope.forwarded, "other: digests"),
        (without_targets, scope.targets, "other: digests"),
        (without_namespace, scope.namespace, "other: digests"),
        (without_endpoint, scope.endpoint, "other: digests"),
        (without_earlier_turns, scope.earlier, "other: both in partition"),
        (with_metadata, scope.beside, "same: digests"),
        (with_all_words, scope.question, "question: partitions"),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_the_checks_catch(
    broken: Callable[..., Key], change: Change, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "key_of", broken)
    assert what in faults_of(change)


@pytest.mark.parametrize(
    ("member", "change"),
    [
        ("seed", scope.sampling),
        ("temperature", scope.sampling),
        ("tools", scope.tools),
        ("system", scope.system),
        ("response_format", scope.response_format),
        ("x_new", scope.unknown),
    ],
    ids=lambda given: getattr(given, "__name__", given),
)
def test_a_member_that_is_left_out_is_caught(
    member: str, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_BESIDE", keys._BESIDE | {member})
    assert faults_of(change) == {"other: digests"}


def faults_of(change: Change) -> set[str]:
    """How the faults that are found begin; that none is found is a failure."""
    caught: set[str] = set()

    def is_caught(pair: tuple[Request, Request]) -> bool:
        try:
            scope.check(pair[0], CHANGES[change], pair[1])
        except Wrong as wrong:
            caught.add(re.split(r" [0-9a-f]{32}", str(wrong))[0])
            return True
        return False

    found(pairs(change), is_caught)
    return caught


@pytest.mark.parametrize(
    ("broken", "tier"), [(without_tenant, "exact"), (without_earlier_turns, "semantic")]
)
def test_a_crowd_catches(
    broken: Callable[..., Key], tier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "key_of", broken)

    def is_caught(visitors: list[scope.Visitor]) -> bool:
        try:
            asyncio.run(scope.gather_crowd(visitors))
        except Wrong as wrong:
            return str(wrong).startswith(tier)
        return False

    found(scope.crowds(), is_caught)


def found(strategy: st.SearchStrategy[Any], is_caught: Callable[[Any], bool]) -> None:
    """Passes once a case is found that the check catches; no smaller one is looked for."""
    quick = settings(max_examples=3000, derandomize=True, phases=scope.GENERATE, database=None)
    try:
        find(strategy, is_caught, settings=quick)
    except NoSuchExample:
        raise AssertionError("nothing was caught") from None
