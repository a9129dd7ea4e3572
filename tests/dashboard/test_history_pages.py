"""The pages about usage with forty days behind them: every day of a chart, the forecast, budgets,
and how long attempts took. With TURNOUT_SCREENSHOTS=1 this makes the pictures of docs/dashboard.md.
"""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from proxy.storage.engine import open_database
from tests.dashboard import history
from tests.dashboard.figures import UNKNOWN, column, compact, percent, usd
from tests.dashboard.history import DAY, Caller, Made
from tests.dashboard.shown import (
    PHONE,
    WIDE,
    Windows,
    axe,
    cells,
    figure,
    fits,
    screenshot,
    settled,
    visit,
)
from tests.e2e.gateway import Gateway, running
from tests.e2e.people import MASTERLY, Person, ask, join, make_key
from tests.fakes.upstream import refused_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
alerts: {{every: 1s}}
providers:
  openai: {{dialect: openai, base_url: "{url}", api_key: sk-of-the-tests-1}}
  anthropic: {{dialect: anthropic, base_url: "{url}", api_key: sk-of-the-tests-2}}
  groq: {{dialect: openai, base_url: "{url}", api_key: sk-of-the-tests-3}}
models:
  fast: [openai/gpt-4o-mini, anthropic/claude-sonnet-4-5, groq/llama-3.1-8b-instant]
"""


SPENT_OF_BUDGET = {"support": 0.68, "campaigns": 0.21}


@dataclass
class Company:
    """A gateway with a past."""

    gateway: Gateway
    people: dict[str, Person]
    keys: dict[str, str]
    made: list[Made]

    @property
    def url(self) -> str:
        return self.gateway.url

    def person(self, name: str) -> Person:
        return self.people[name]

    async def get(self, path: str) -> Any:
        answer = await ask(self.gateway, "GET", path, MASTERLY)
        assert answer.status == 200, answer.body
        return answer.json


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def company(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Company]:
    folder = tmp_path_factory.mktemp("company")
    text = CONFIG.format(url=f"http://127.0.0.1:{refused_port()}/v1")
    async with running(folder, text) as gateway:
        people = {
            name: await join(gateway, f"{name}@example.com", role)
            for name, role in (("carol", "admin"), ("anna", "user"), ("ben", "user"))
        }
        keys = {name: (await make_key(gateway, MASTERLY, name=name))[0] for name in SPENT_OF_BUDGET}
        keys["anna's notebook"], _ = await make_key(
            gateway, people["anna"].bearer, name="anna's notebook"
        )
        callers = [
            Caller(None, keys["support"]),
            Caller(None, keys["campaigns"]),
            Caller(people["anna"].id, keys["anna's notebook"]),
            Caller(people["ben"].id, None),
        ]
        made = list(history.past(callers, int(time.time() * 1000)))
        engine = await open_database("sqlite:///turnout.db", gateway.home)
        await history.write(engine, made)
        await engine.dispose()
        for name, share in SPENT_OF_BUDGET.items():
            spent = sum(each.cost for each in this_month(made) if each.caller.key == keys[name])
            body = {"limits": {"budget": round(spent / share / 1e9, 6)}}
            path = f"/api/v1/keys/{keys[name]}"
            assert (await ask(gateway, "PATCH", path, MASTERLY, body)).status == 200
        yield Company(gateway, people, keys, made)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def views(browser: Browser, company: Company) -> AsyncIterator[Windows]:
    found = Windows(browser, company)
    yield found
    await found.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(views: Windows) -> AsyncIterator[Page]:
    yield await views.page()
    views.no_faults()


def by_day(made: list[Made], value: Callable[[Made], int], since: int) -> list[int]:
    """A sum for each day (UTC) from that of `since` to today."""
    first, last = since // DAY, int(time.time() * 1000) // DAY
    found = [0] * (last - first + 1)
    for each in made:
        if each.at // DAY >= first:
            found[each.at // DAY - first] += value(each)
    return found


def this_month(made: list[Made]) -> list[Made]:
    now = datetime.now(UTC)
    begins = datetime(now.year, now.month, 1, tzinfo=UTC).timestamp() * 1000
    return [each for each in made if each.at >= begins]


async def test_each_day_of_the_charts_is_what_was_asked(page: Page, company: Company) -> None:
    made = company.made
    await visit(page, company, "overview?period=90d")
    assert await figure(page, "requests") == f"{len(made):,}"
    assert await figure(page, "tokens") == compact(sum(m.input + m.output for m in made))
    assert await figure(page, "cost") == usd(sum(m.cost for m in made))
    assert await figure(page, "saved") == usd(sum(m.saved for m in made))
    errors = sum(m.outcome == "failed" for m in made)
    assert await figure(page, "error-rate") == percent(errors, len(made))
    assert await figure(page, "hit-rate") == percent(sum(m.is_hit for m in made), len(made))
    since = int(time.time() * 1000) - 90 * DAY
    for chart, name, value in (
        ("requests", "Requests", lambda m: 1),
        ("requests", "Errors", lambda m: m.outcome == "failed"),
        ("requests", "Cache hits", lambda m: m.is_hit),
    ):
        shown = [int(each.replace(",", "")) for each in await column(page, chart, name)]
        assert shown == by_day(made, value, since)
    assert await column(page, "tokens", "In") == [
        compact(each) for each in by_day(made, lambda m: m.input, since)
    ]
    for name, value in (("Cost", lambda m: m.cost), ("Saved by the cache", lambda m: m.saved)):
        expected = [usd(each) for each in by_day(made, value, since)]
        assert await column(page, "cost", name) == expected


async def test_a_breakdown_of_a_quarter_adds_up(page: Page, company: Company) -> None:
    await visit(page, company, "breakdown?by=model&days=90")
    shown = await cells(page)
    assert next(iter(shown)) == "claude-sonnet-4-5"
    for model in history.MODELS:
        of_it = [each for each in company.made if each.model is model]
        assert shown[model.name]["requests"] == f"{len(of_it):,}"
        assert shown[model.name]["cost"] == usd(sum(each.cost for each in of_it))
    await page.get_by_role("radio", name="Key").check()
    await expect(page.get_by_role("heading", name="By key")).to_be_visible()
    names = {row["group"].splitlines()[0] for row in (await cells(page)).values()}
    assert names == {"support", "campaigns", "anna's notebook", "(none)"}


async def test_the_forecast_has_a_past_and_a_future(page: Page, company: Company) -> None:
    await visit(page, company, "budgets")
    spent = sum(each.cost for each in this_month(company.made))
    assert await figure(page, "month-to-date") == usd(spent)
    assert await figure(page, "history") == "40 days"
    costs = [each for each in await column(page, "forecast", "Cost") if each != UNKNOWN]
    days = by_day(company.made, lambda m: m.cost, int(time.time() * 1000) - 29 * DAY)
    assert costs[-30:] == [usd(each) for each in days]
    future = {
        name: [each for each in await column(page, "forecast", name) if each != UNKNOWN]
        for name in ("Expected", "Low", "High")
    }
    said = (await company.get("/api/v1/usage/forecast"))["usd"]["days"]
    for name, of_day in future.items():
        assert of_day == [usd(round(day[name.lower()] * 1e9)) for day in said]
        assert len(of_day) == 30


async def test_what_another_model_would_cost(page: Page, company: Company) -> None:
    await visit(page, company, "budgets")
    await page.locator("input[name='model']").focus()
    await expect(
        page.locator("datalist option[value='groq/llama-3.1-8b-instant']")
    ).to_be_attached()
    await settled(page)
    await page.locator("input[name='model']").fill("groq/llama-3.1-8b-instant")
    await page.get_by_role("button", name="Compare").click()
    await expect(page.locator("[data-figure='what-if-difference']")).to_contain_text(" less")
    assert await figure(page, "what-if-model") == "groq/llama-3.1-8b-instant"


async def test_budgets_and_what_crossed_them(page: Page, company: Company) -> None:
    keys, month = company.keys, this_month(company.made)
    for _ in range(300):
        if (await company.get("/api/v1/alerts"))["data"]:
            break
        await page.wait_for_timeout(20)
    await visit(page, company, "budgets")
    shown = await cells(page, "section[aria-label='Budgets']")
    spent = {
        name: sum(each.cost for each in month if each.caller.key == keys[name])
        for name in ("support", "campaigns")
    }
    assert list(shown) == [f"key:{keys[name]}" for name in ("support", "campaigns")]
    for name, amount in spent.items():
        assert shown[f"key:{keys[name]}"]["spent"] == usd(amount)
        assert shown[f"key:{keys[name]}"]["share"] == f"{100 * SPENT_OF_BUDGET[name]:.1f} %"
    alerts = page.locator("section", has=page.get_by_role("heading", name="Alerts"))
    assert await alerts.locator("[data-column='threshold']").all_inner_texts() == ["50 %"]
    assert await alerts.locator("[data-column='state']").all_inner_texts() == ["waiting"]
    await page.get_by_role("button", name="Send a test alert").click()
    await expect(alerts.locator("[data-figure='alert-test']")).to_contain_text("did not take it")


def failover(company: Company) -> Made:
    """The newest request that its second target answered."""
    found = [each for each in company.made if each.outcome == "ok" and len(each.tried) == 2]
    return found[-1]


async def test_attempts_are_drawn_in_their_time(page: Page, company: Company) -> None:
    made = failover(company)
    await visit(page, company, f"request?id=req_{made.id}")
    shown = await cells(page)
    assert [shown[number]["target"].split()[0] for number in ("1", "2")] == [
        each.name for each in made.tried
    ]
    assert shown["1"]["error"] == "the model is overloaded"
    bars = page.locator("td[data-column='when'] [role='img'] > div")
    first, second = [await bars.nth(number).bounding_box() for number in (0, 1)]
    assert first is not None
    assert second is not None
    whole = await page.locator("td[data-column='when'] [role='img']").first.bounding_box()
    assert whole is not None
    assert abs(first["width"] - whole["width"] / 2) < 2
    assert abs(second["x"] - first["x"] - first["width"]) < 2


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_it_is_a_picture(
    views: Windows, company: Company, tmp_path: Path, theme: str
) -> None:
    """Charts with something in them are as accessible, and as narrow, as those without."""
    pictures = {"overview": "overview?period=30d", "budgets": "budgets"}
    if theme == "light":
        pictures |= {
            "requests": "requests",
            "request": f"request?id=req_{failover(company).id}",
            "breakdown": "breakdown?by=model&days=30&group=claude-sonnet-4-5",
        }
    for name, address in pictures.items():
        page = await views.page(theme, WIDE)
        await visit(page, company, address)
        if name == "overview":
            await axe(page)
        await screenshot(page, f"{name}-{theme}", tmp_path)
    page = await views.page(theme, PHONE)
    await visit(page, company, "overview?period=30d")
    await fits(page)
    await screenshot(page, f"phone-{theme}", tmp_path)
    views.no_faults()
