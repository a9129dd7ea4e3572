"""docs/observability.md and the Grafana dashboard against a real gateway's `/metrics`."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from proxy.doors.metrics import _meaning
from tests.e2e.gateway import MASTER, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream
from tests.proxy.doors.test_cache import REPORT

ROOT = Path(__file__).parent.parent
BOARD = json.loads((ROOT / "deploy" / "grafana" / "turnout.json").read_text())
PAGE = (ROOT / "docs" / "observability.md").read_text()
CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
retry: {{attempts: 1}}
limits: {{concurrency: 1, rpm: 5}}
pricing: {{overrides: {{"*/*": {{input: 1, output: 10}}}}}}
providers:
  up: {{dialect: openai, base_url: "{url}", api_key: k, models: [m]}}
"""

Labels = dict[str, set[str]]
"""A metric's name, as queries have it, -> the labels of its samples."""


async def scraped(tmp_path: Path) -> Labels:
    """After an answer, a hit, a stream, a failure, a refusal and a wrong key."""
    async with (
        Upstream() as up,
        running(tmp_path, CONFIG.format(url=up.base_url)) as gateway,
        gateway.session.get(gateway.url + "/metrics") as answer,
    ):
        assert answer.status == 200  # before any traffic, too
        ask = {"model": "up/m", "messages": [{"role": "user", "content": "a"}]}
        for body in (ask, ask, ask | {"stream": True, "n": 1}):
            assert (await gateway.post(body)).status == 200
        up.script(fake.chat_reply(finish="length"), fake.error_reply(500))
        cut_short = ask | {"max_tokens": 1}
        assert (await gateway.post(cut_short)).status == 200  # not kept
        assert (await gateway.post(ask | {"model": "x"})).status == 404
        fresh = {"x-turnout-cache": "no-store"}
        statuses = [(await gateway.post(ask, headers=fresh)).status for _ in range(3)]
        assert statuses == [502, 429, 429]
        assert (await gateway.post(ask, headers={"authorization": "Bearer no"})).status == 401
        await gateway.rows(8)
        text = (await gateway.call("GET", "/metrics", key=MASTER)).body.decode()
    return labels_of([*text_string_to_metric_families(text), *_meaning(REPORT)])


def labels_of(families: list[Metric]) -> Labels:
    found: Labels = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return {name: labels - {"process", "le"} for name, labels in found.items()}


@pytest.fixture
async def real(tmp_path: Path) -> Labels:
    return await scraped(tmp_path)


def whole(name: str, known: set[str]) -> str:
    """A histogram's samples by its own name."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base if f"{base}_bucket" in known else name


def documented() -> Labels:
    """The table's rows: metrics, and the labels beside them; `the same` is the row before."""
    table = PAGE.partition("| metric |")[2].partition("\n\n")[0].splitlines()[2:]
    found: Labels = {}
    before: set[str] = set()
    for line in table:
        names, labels, _ = (cell.strip() for cell in line.strip("|").split("|", 2))
        given = set(re.findall(r"`(\w+)`", labels))
        if labels.startswith("the same, with"):
            put, instead_of = re.findall(r"`(\w+)`", labels)
            given = before - {instead_of} | {put}
        elif labels == "the same":
            given = before
        before = given
        found |= dict.fromkeys(re.findall(r"`(\w+)`", names), given)
    return found


async def test_every_metric_is_documented_and_none_that_is_not_there(real: Labels) -> None:
    told = documented()
    shown = {whole(name, set(real)) for name in real}
    linux_only = {name for name in told if name.startswith("process_")}
    assert shown - set(told) == set()
    assert set(told) - shown <= linux_only


async def test_labels_are_documented(real: Labels) -> None:
    told = documented()
    wrong = {
        name: (labels, told[whole(name, set(real))])
        for name, labels in real.items()
        if labels != told[whole(name, set(real))]
    }
    assert wrong == {}


# The dashboard.


def expressions() -> Iterator[str]:
    for panel in BOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def metrics_in(expression: str) -> set[str]:
    """The names of its metrics: no label, no function."""
    plain = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", expression)
    plain = re.sub(r"\b(by|without)\s*\([^)]*\)", "", plain)
    return set(re.findall(r"\b(?:turnout|gen_ai|process)_\w+", plain))


def labels_in(expression: str) -> set[str]:
    inside = re.findall(r"\{([^}]*)\}", expression)
    groups = re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", expression)
    names = {name for each in inside for name in re.findall(r"(\w+)\s*[=!]", each)}
    names |= {name.strip() for each in groups for name in each.split(",")}
    return names - {"le", "instance", "process"}


def test_what_is_read_of_a_query() -> None:
    query = 'sum by (le, code) (rate(gen_ai_x_bucket{instance=~"$i", kind!="a_b"}[5m])) / turnout_y'
    assert metrics_in(query) == {"gen_ai_x_bucket", "turnout_y"}
    assert labels_in(query) == {"code", "kind"}


async def test_every_query_asks_for_what_is_there(real: Labels) -> None:
    asked = list(expressions())
    assert len(asked) > 25
    for expression in asked:
        names = metrics_in(expression)
        assert names, expression
        assert names <= set(real), expression
        assert labels_in(expression) <= set().union(*(real[name] for name in names)), expression


def test_the_dashboard_shows_what_it_should() -> None:
    shown = {name for each in expressions() for name in metrics_in(each)}
    assert {
        "turnout_requests_total", "gen_ai_server_request_duration_seconds_bucket",
        "gen_ai_server_time_to_first_token_seconds_bucket", "gen_ai_client_token_usage_sum",
        "turnout_cost_usd_total", "turnout_cache_hits_total", "turnout_breaker_state",
        "turnout_ledger_pending", "turnout_ledger_lost_total", "turnout_limit_refusals_total",
        "turnout_event_loop_lag_seconds",
    } <= shown  # fmt: skip


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = BOARD["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids) > 20
    taken: dict[tuple[int, int], int] = {}
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                other = taken.setdefault((x, y), panel["id"])
                assert other == panel["id"], f"{panel['title']} lies over panel {other}"


def test_the_data_source_is_chosen_by_who_imports_it() -> None:
    variables: dict[str, Any] = {each["name"]: each for each in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    sources = {
        json.dumps(each["datasource"])
        for panel in BOARD["panels"]
        for each in (panel, *panel.get("targets", ()))
        if panel["type"] != "row"
    }
    assert sources == {json.dumps({"type": "prometheus", "uid": "${datasource}"})}
    assert BOARD["schemaVersion"] == 42  # the last of dashboards in this form: Grafana 12.2 on
    assert "id" not in BOARD
