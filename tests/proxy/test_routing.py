"""From a name to targets: the order of look-up, the strategies, what is off, what is guessed."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from adapters import ADAPTERS
from adapters.base import Auth
from proxy import routing
from proxy.config import load
from proxy.errors import CredentialUnavailable, ModelNotFound
from proxy.signals import Signals
from proxy.types import Call, Controls, Plan, Principal, Role

CONFIG = """
providers:
  a: {dialect: openai, base_url: "http://a.test/v1", api_key: k}
  b: {dialect: openai, base_url: "http://b.test/v1", api_keys: [k1, k2]}
  c: {dialect: openai, base_url: "http://c.test/v1", models: [c-1, c-2]}
  off: {dialect: openai, base_url: "http://o.test/v1", api_key: "${UNSET_KEY}"}
models:
  plain: a/m
  pair: [a/m1, b/m2]
  mixed: [off/x, a/m1]
  dark: [off/x]
  heavy: {strategy: weighted, targets: [{target: a/m1, weight: 9}, {target: c/c-1, weight: 1}]}
  round: {strategy: round_robin, targets: [a/m1, c/c-1]}
  fast: {strategy: latency, targets: [a/m1, c/c-1]}
  cheap: {strategy: cheapest, targets: [a/dear, c/c-1, a/cheap]}
  "x/*": a
  "x/long-*": c/c-2
  "gpt-*": b/gpt-*
  a/alias: b/other
tasks:
  scoring: {targets: [b/m2, a/m1], defaults: {temperature: 0.3}}
"""
PRICES = {"cheap": 1.0, "dear": 9.0}
KEY = Principal(Role.KEY, "key_1")


@pytest.fixture
def table(tmp_path: Path) -> routing.Table:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return routing.build_table(load(path, {}), lambda provider, url, model: PRICES.get(model))


def plan(table: routing.Table, name: str, signals: Signals | None = None, **controls: Any) -> Plan:
    return routing.plan(table, KEY, name, Controls(**controls), signals or Signals())


def ids(found: Plan) -> list[str]:
    return [target.id for target in found.targets]


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("plain", ["a/m#0"]),
        ("pair", ["a/m1#0", "b/m2#0", "b/m2#1"]),
        ("mixed", ["a/m1#0"]),
        ("x/some/model", ["a/some/model#0"]),
        ("x/long-name", ["c/c-2#0"]),
        ("gpt-4o", ["b/gpt-4o#0", "b/gpt-4o#1"]),
        ("a/alias", ["b/other#0", "b/other#1"]),
        ("a/any:free", ["a/any:free#0"]),
        ("c/c-1", ["c/c-1#0"]),
        ("task/scoring", ["b/m2#0", "b/m2#1", "a/m1#0"]),
    ],
)
def test_names(table: routing.Table, name: str, targets: list[str]) -> None:
    assert ids(plan(table, name)) == targets


@pytest.mark.parametrize(
    "name", ["", "nope", "nope/m", "c/c-3", "task/nope", "x/", "a/", "dark", "off/x"]
)
def test_names_without_a_target(table: routing.Table, name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        plan(table, name)
    assert caught.value.param == "model"


def test_a_bare_star_takes_everything(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        'providers: {up: {dialect: openai, base_url: "http://u.test/v1"}}\nmodels: {"*": up}\n'
    )
    table = routing.build_table(load(path, {}), lambda *_: None)
    assert ids(plan(table, "gpt-6-astra")) == ["up/gpt-6-astra#0"]
    assert ids(plan(table, "org/model")) == ["up/org/model#0"]


def test_what_is_off_says_why(table: routing.Table) -> None:
    with pytest.raises(ModelNotFound, match="UNSET_KEY"):
        plan(table, "dark")


def test_a_misspelt_name_gets_a_guess_among_what_is_allowed(table: routing.Table) -> None:
    with pytest.raises(ModelNotFound, match="did you mean 'plain'"):
        plan(table, "plane")
    narrow = Principal(Role.KEY, "key_1", models=("pair",))
    with pytest.raises(ModelNotFound) as caught:
        routing.plan(table, narrow, "plane", Controls(), Signals())
    assert "plain" not in caught.value.message


def test_a_forbidden_name_is_an_unknown_one(table: routing.Table) -> None:
    narrow = Principal(Role.KEY, "key_1", models=("pair", "x/*"))
    for name in ("plain", "task/scoring", "a/m"):
        with pytest.raises(ModelNotFound):
            routing.plan(table, narrow, name, Controls(), Signals())
    with pytest.raises(ModelNotFound):
        routing.plan(table, narrow, "pair", Controls(task="scoring"), Signals())
    assert routing.plan(table, narrow, "x/y", Controls(), Signals()).targets


def test_weighted(table: routing.Table) -> None:
    first = Counter(plan(table, "heavy").targets[0].provider for _ in range(2000))
    assert 0.86 < first["a"] / 2000 < 0.94
    assert len(plan(table, "heavy").targets) == 2


def test_round_robin(table: routing.Table) -> None:
    signals = Signals()
    assert [plan(table, "round", signals).targets[0].provider for _ in range(4)] == list("acac")


def test_latency(table: routing.Table) -> None:
    signals = Signals()
    signals.note_latency("a/m1#0", 0.2)
    assert plan(table, "fast", signals).targets[0].provider == "c", "the unknown is tried"
    signals.note_latency("c/c-1#0", 0.9)
    assert plan(table, "fast", signals).targets[0].provider == "a"


def test_cheapest(table: routing.Table) -> None:
    assert ids(plan(table, "cheap")) == ["a/cheap#0", "a/dear#0", "c/c-1#0"]


def test_keys_take_turns(table: routing.Table) -> None:
    signals = Signals()
    assert [ids(plan(table, "gpt-4", signals))[0][-1] for _ in range(3)] == ["0", "1", "0"]


def test_a_task_by_header_wins(table: routing.Table) -> None:
    found = plan(table, "plain", task="scoring")
    assert (found.name, found.task, found.defaults) == (
        "task/scoring",
        "scoring",
        {"temperature": 0.3},
    )


def test_a_forced_provider(table: routing.Table) -> None:
    assert ids(plan(table, "pair", provider="b")) == ["b/m2#0", "b/m2#1"]
    assert ids(plan(table, "plain", provider="b")) == ["b/plain#0", "b/plain#1"]
    for name, provider in (("plain", "c"), ("task/scoring", "c"), ("plain", "zz")):
        with pytest.raises(ModelNotFound):
            plan(table, name, provider=provider)


def test_a_forced_provider_is_no_way_round_a_keys_models(table: routing.Table) -> None:
    narrow = Principal(Role.KEY, "key_1", models=("plain",))
    with pytest.raises(ModelNotFound):
        routing.plan(table, narrow, "plain", Controls(provider="b"), Signals())


def test_fallback_off(table: routing.Table) -> None:
    assert ids(plan(table, "pair", fallback=False)) == ["a/m1#0"]


def test_names_that_are_listed(table: routing.Table) -> None:
    listed = routing.names(table)
    for name in ("plain", "pair", "mixed", "task/scoring", "c/c-1", "c/c-2", "a/m", "b/m2"):
        assert name in listed
    for name in ("dark", "off/x", "x/*", "gpt-*"):
        assert name not in listed
    assert len(listed) == len(set(listed))


def test_a_target_carries_what_its_provider_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ADAPTERS, "bedrock", ADAPTERS["openai"])
    path = tmp_path / "config.yaml"
    path.write_text(
        "providers:\n"
        "  az: {preset: azure, base_url: 'https://a.test', api_version: v, api_key: k,"
        " responses: true}\n"
        "  aws: {dialect: bedrock, base_url: 'https://b.test', region: r-1, api_key: k,"
        " drop_params: true}\n"
    )
    providers = load(path, {}).providers
    (az,) = routing._made(providers["az"], "az", "m")
    assert (az.auth, az.api_version, az.has_responses, az.drop_params) == (
        Auth.API_KEY,
        "v",
        True,
        False,
    )
    (aws,) = routing._made(providers["aws"], "aws", "m")
    assert (aws.auth, aws.region, aws.drop_params) == (Auth.BEARER, "r-1", True)


class Own:
    """A user's own keys; one that can't be opened is None."""

    def __init__(self, **keys: str | None) -> None:
        self._keys = keys
        self.asked: list[tuple[str, str]] = []

    @property
    def providers(self) -> frozenset[str]:
        return frozenset(self._keys)

    def open(self, provider: str, base_url: str) -> SecretStr:
        self.asked.append((provider, base_url))
        key = self._keys[provider]
        if key is None:
            raise CredentialUnavailable("it can't be opened")
        return SecretStr(key)


def planned(table: routing.Table, name: str, own: Own) -> Plan:
    principal = Principal(Role.USER, user_id="u", own=own)
    return routing.plan(table, principal, name, Controls(), Signals())


def test_an_own_key_takes_the_place_of_all_of_the_providers(table: routing.Table) -> None:
    own = Own(b="mine")
    found = planned(table, "pair", own)
    assert ids(found) == ["a/m1#0", "b/m2#-1"]
    first, second = found.targets
    assert (first.is_own, second.is_own) == (False, True)
    assert second.api_key == SecretStr("mine")
    assert own.asked == [("b", "http://b.test/v1")]
    assert ids(plan(table, "pair")) == ["a/m1#0", "b/m2#0", "b/m2#1"], "the next caller's"


def test_an_own_key_switches_a_provider_on_for_its_user(table: routing.Table) -> None:
    assert ids(planned(table, "dark", Own(off="mine"))) == ["off/x#-1"]
    with pytest.raises(ModelNotFound, match=r"UNSET_KEY is not set.*no key of your own"):
        planned(table, "dark", Own(a="mine"))
    assert "dark" not in routing.names(table)
    assert "dark" in routing.names(table, Own(off="mine"))
    assert routing.is_on(table.config, "off", Own(off="k"))
    assert not routing.is_on(table.config, "off", Own(a="k"))
    assert not routing.is_on(table.config, "none", Own(none="k"))


def test_an_own_key_that_cant_be_opened_is_told_of(table: routing.Table) -> None:
    with pytest.raises(CredentialUnavailable):
        planned(table, "b/m2", Own(b=None))
    assert ids(planned(table, "pair", Own(b=None))) == ["a/m1#0"], "another can serve"
    assert ids(planned(table, "plain", Own(b=None))) == ["a/m#0"], "others are fine"


def routed(table: routing.Table, *route: str, models: tuple[str, ...] | None = None) -> Plan:
    call = Call(KEY, None, "general", Controls(), route, "label")  # type: ignore[arg-type]
    return routing.plan_route(table, KEY._replace(models=models), call, Signals())


def test_a_door_may_choose_the_targets(table: routing.Table) -> None:
    found = routed(table, "b/m2", "off/x", "a/org/m1")
    assert ids(found) == ["b/m2#0", "b/m2#1", "a/org/m1#0"]
    assert (found.name, found.task) == ("general", "label")
    with pytest.raises(ModelNotFound):
        routed(table, "off/x")
    with pytest.raises(ModelNotFound):
        routed(table, "b/m2", "a/m", models=("b/*",))
