"""Model discovery: what a caller may reach, by whose key, at which price."""

from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
from pydantic import SecretStr

from proxy import retry, routing
from proxy.auth import Authenticator
from proxy.config import load
from proxy.doors.v2_models import Discovery, ModelEntry, id_of
from proxy.errors import ModelNotFound
from proxy.ledger.pricing import Prices
from proxy.limits import LimitsOf
from proxy.pipeline import Snapshot
from proxy.types import Principal, Role
from tests.e2e.gateway import Gateway, running
from tests.fakes.upstream import Upstream

CONFIG = """
auth: {master_key: "${TURNOUT_MASTER_KEY}", service_keys: [service-secret]}
cache: {enabled: false}
providers:
  up: {dialect: openai, base_url: "http://127.0.0.1:9", api_key: k, models: [m1, m2]}
  dark: {dialect: openai, base_url: "http://127.0.0.1:9", api_key: "${NO_SUCH_KEY}", models: [m3]}
  anthropic: {dialect: anthropic, base_url: "http://127.0.0.1:9", api_key: "${NO_SUCH_KEY}"}
  bare: {dialect: openai, base_url: "http://127.0.0.1:9", api_key: k}
models:
  quick: [bare/m4, dark/m3]
tasks:
  chores: {targets: [dark/m3, bare/m5]}
pricing:
  overrides:
    "up/m1": {input: 3, output: 15, cached: 0.3}
    "bare/*": {input: 1, output: 2}
"""
NAMES = {"up/m1", "up/m2", "dark/m3", "bare/m4", "bare/m5"}


class Own:
    """Keys that a user has saved."""

    def __init__(self, *providers: str) -> None:
        self.providers = frozenset(providers)

    def open(self, provider: str, base_url: str) -> SecretStr:
        raise AssertionError("no key is opened to list models")


def user(*providers: str, models: tuple[str, ...] | None = None) -> Principal:
    return Principal(Role.USER, user_id="u1", models=models, own=Own(*providers))


def discovery(folder: Path, text: str = CONFIG) -> Discovery:
    path = folder / "config.yaml"
    path.write_text(text)
    config = load(path, {"TURNOUT_MASTER_KEY": "sk-master-of-this-test-0123456789"})
    prices = Prices(config.pricing.overrides)
    snapshot = Snapshot(
        config=config,
        table=routing.build_table(config, prices.unit),
        auth=Authenticator(None, SecretStr("k")),  # type: ignore[arg-type]
        prices=prices,
        policy=retry.Policy(1, (0, 0), 0),
        limits=LimitsOf(),
        breakers={},
    )
    return Discovery(lambda: snapshot)


async def found(discovery: Discovery, principal: Principal) -> dict[str, ModelEntry]:
    return {model.name: model for model in await discovery.models(principal)}


async def test_ids_are_made_of_names() -> None:
    assert id_of("up/m1") == str(
        uuid5(UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8"), "turnout:up/m1")
    )
    assert id_of("openai/gpt-4o") == "e9d5be64-4314-5bb4-8a9d-259986c5d441"


async def test_an_entry_has_prices(tmp_path: Path) -> None:
    models = await found(discovery(tmp_path), user())
    assert models["up/m1"].model_dump() == {
        "id": id_of("up/m1"),
        "name": "up/m1",
        "display_name": "m1",
        "provider": "up",
        "model": "m1",
        "is_active": True,
        "input_price_per_million": 3.0,
        "output_price_per_million": 15.0,
        "cached_input_price_per_million": 0.3,
        "currency": "USD",
        "context_window": None,
        "source": "system",
    }
    assert models["up/m2"].input_price_per_million is None


async def test_without_a_key_it_is_there_but_not_active(tmp_path: Path) -> None:
    models = await found(discovery(tmp_path), user())
    assert models.keys() > NAMES
    active = {name for name, model in models.items() if model.is_active}
    assert active == {"up/m1", "up/m2", "bare/m4", "bare/m5"}
    assert (models["dark/m3"].is_active, models["dark/m3"].source) == (False, None)


async def test_an_own_key_brings_the_models_of_its_provider(tmp_path: Path) -> None:
    models = await found(discovery(tmp_path), user("anthropic", "up"))
    claude = models["anthropic/claude-haiku-4-5"]
    assert (claude.is_active, claude.source) == (True, "user")
    assert claude.display_name == "Claude Haiku 4.5"
    assert (claude.input_price_per_million, claude.output_price_per_million) == (1.0, 5.0)
    assert claude.cached_input_price_per_million == pytest.approx(0.1)
    assert claude.context_window == 200_000
    assert models["up/m1"].source == "user"
    assert models["bare/m4"].source == "system"


async def test_prices_by_tiers_are_the_lowest(tmp_path: Path) -> None:
    text = CONFIG.replace("  bare:", "  google: {dialect: gemini, api_key: k}\n  bare:")
    models = await found(discovery(tmp_path, text), user())
    pro = models["google/gemini-2.5-pro"]
    assert (pro.input_price_per_million, pro.output_price_per_million) == (1.25, 10.0)


async def test_a_provider_that_lists_models_has_no_others(tmp_path: Path) -> None:
    text = CONFIG.replace("anthropic, base_url", "anthropic, models: [claude-opus-4-5], base_url")
    models = await found(discovery(tmp_path, text), user("anthropic"))
    assert [name for name in models if name.startswith("anthropic/")] == [
        "anthropic/claude-opus-4-5"
    ]


async def test_an_alias_of_a_models_name_says_where_it_leads(tmp_path: Path) -> None:
    text = CONFIG.replace("models:\n", 'models:\n  "up/m2": [dark/m3, bare/m4]\n')
    model = (await found(discovery(tmp_path, text), user()))["up/m2"]
    assert (model.id, model.provider, model.model) == (id_of("up/m2"), "bare", "m4")
    model = (await found(discovery(tmp_path, text), user("dark")))["up/m2"]
    assert (model.provider, model.source) == ("dark", "user")


async def test_a_caller_sees_what_it_may_use(tmp_path: Path) -> None:
    assert (await found(discovery(tmp_path), user(models=("up/*",)))).keys() == {"up/m1", "up/m2"}
    assert await discovery(tmp_path).model(user(models=("up/*",)), id_of("bare/m4")) is None


async def test_an_id_leads_to_its_name(tmp_path: Path) -> None:
    known = discovery(tmp_path)
    assert await known.name_of(id_of("up/m1")) == "up/m1"
    assert await known.name_of(id_of("up/m1").upper()) == "up/m1"
    assert await known.name_of("quick") == "quick"
    with pytest.raises(ModelNotFound):
        await known.name_of("564e8710-43a9-406f-b0ab-e8d651a33e82")


async def test_the_index_is_made_once_for_a_configuration(tmp_path: Path) -> None:
    known = discovery(tmp_path)
    assert await known.index() is await known.index()


@pytest.fixture
async def gateway(tmp_path: Path, up: Upstream) -> Any:
    async with running(tmp_path, CONFIG.replace("http://127.0.0.1:9", up.base_url)) as gateway:
        yield gateway


@pytest.fixture
async def up() -> Any:
    async with Upstream() as upstream:
        yield upstream


async def test_the_list(gateway: Gateway) -> None:
    for path in ("/v2/llm-models", "/v2/llm-models/"):
        answer = await gateway.call("GET", f"{path}?is_active=true")
        assert answer.status == 200, answer.body
        assert {model["name"] for model in answer.json} == {"up/m1", "up/m2", "bare/m4", "bare/m5"}
    inactive = (await gateway.call("GET", "/v2/llm-models?is_active=false")).json
    assert {model["provider"] for model in inactive} == {"dark", "anthropic"}
    everything = (await gateway.call("GET", "/v2/llm-models")).json
    assert len(everything) == len(inactive) + 4
    one = (await gateway.call("GET", "/v2/llm-models?provider=dark")).json
    assert [model["name"] for model in one] == ["dark/m3"]


async def test_the_same_in_the_control_plane(gateway: Gateway) -> None:
    entries = (await gateway.call("GET", "/v2/llm-models?is_active=true")).json
    answer = await gateway.call("GET", "/api/v1/models?is_active=true", key=gateway.key)
    assert answer.json == {"models": entries}


async def test_one_model(gateway: Gateway) -> None:
    [entry] = [m for m in (await gateway.call("GET", "/v2/llm-models")).json if m["model"] == "m2"]
    for name in (entry["id"], "up/m2"):
        assert (await gateway.call("GET", f"/v2/llm-models/{name}")).json == entry
    for name in ("564e8710-43a9-406f-b0ab-e8d651a33e82", "up/none", "x"):
        answer = await gateway.call("GET", f"/v2/llm-models/{name}")
        assert answer.error == (404, "invalid_request_error", "model_not_found")
        assert isinstance(answer.json["detail"], str)


async def test_faults(gateway: Gateway) -> None:
    for query in ("is_active=perhaps", "unknown=1"):
        answer = await gateway.call("GET", f"/v2/llm-models?{query}")
        assert answer.status == 422, query
    assert (await gateway.call("GET", "/v2/llm-models", key="sk-wrong")).status == 401
