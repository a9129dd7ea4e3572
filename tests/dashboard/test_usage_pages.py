"""The pages about usage, as a browser shows them. What they show is what the fake upstreams' logs
add up to, and what the API says.
"""

import csv
import re
from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from playwright.async_api import Page, expect

from tests.dashboard.figures import UNKNOWN, column, compact, percent, places, usd
from tests.dashboard.shown import (
    PHONE,
    WIDE,
    Site,
    Windows,
    axe,
    cells,
    figure,
    fits,
    login,
    settled,
    visit,
)
from tests.e2e.books import Mark, Row, Sums, grouped, nano, sums_of, together
from tests.e2e.people import MASTERLY

pytestmark = pytest.mark.asyncio(loop_scope="module")

OpenPage = Callable[..., Awaitable[Page]]

PERIODS = ("1h", "6h", "24h", "7d", "30d", "90d")


def price(row: Row) -> str:
    """What failed has none."""
    return UNKNOWN if row.failed else usd(row.cost)


def of_user(rows: Iterable[Row], user: str) -> list[Row]:
    return [row for row in rows if row.sent.user == user]


async def check_figures(page: Page, sums: Sums) -> None:
    assert await figure(page, "requests") == f"{sums.requests:,}"
    assert await figure(page, "tokens") == compact(sums.input + sums.output)
    assert await figure(page, "cost") == usd(sums.cost)
    assert await figure(page, "saved") == usd(sums.saved)
    assert await figure(page, "error-rate") == percent(sums.errors, sums.requests)
    assert await figure(page, "hit-rate") == percent(sums.hits, sums.requests)


# All pages.


def addresses(site: Site, request_id: str) -> list[str]:
    return [
        "overview?period=1h",
        "requests",
        f"request?id={request_id}",
        "breakdown?by=model&group=m-1",
        "budgets",
    ]


@pytest.mark.parametrize(
    ("theme", "who"), [("light", "carol"), ("dark", "carol"), ("dark", "alice")]
)
async def test_all_can_be_read_by_everybody_at_any_width(
    site: Site, open_page: OpenPage, theme: str, who: str
) -> None:
    whose = site.carol if who == "carol" else site.world.alice
    newest = await site.get("/api/v1/usage/requests?limit=1", whose.bearer)
    for address in addresses(site, newest["data"][0]["request_id"]):
        page = await open_page(theme, WIDE, who)
        await visit(page, site, address)
        await fits(page)
        if who == "carol":  # a user sees no more, and each takes a second
            await axe(page)
        assert await page.locator("h1").count() == 1
        assert await page.locator(".notice.bad[role='alert']").count() == 0
        await page.set_viewport_size({"width": PHONE, "height": 812})
        await fits(page)


# Overview.


async def test_the_overview_shows_what_the_upstreams_answered(
    site: Site, open_page: OpenPage
) -> None:
    sums = together(site.rows())
    assert sums.errors > 0 < sums.hits
    assert sums_of(await site.get("/api/v1/usage/summary?days=1")) == sums
    page = await visit(await open_page(), site, "overview")
    for period in PERIODS:
        await page.get_by_label(period, exact=True).check()
        await expect(page).to_have_url(re.compile(f"period={period}$"))
        await settled(page)
        await check_figures(page, sums)
        assert sum(map(int, await column(page, "requests", "Requests"))) == sums.requests
        assert sum(map(int, await column(page, "requests", "Errors"))) == sums.errors
        assert sum(map(int, await column(page, "requests", "Cache hits"))) == sums.hits
    await page.go_back()
    await expect(page.get_by_label("30d", exact=True)).to_be_checked()


async def test_times_of_the_overview_are_the_apis(site: Site, open_page: OpenPage) -> None:
    said = await site.get("/api/v1/usage/summary?days=1")
    page = await visit(await open_page(), site, "overview?period=24h")
    for name, value in (
        ("p50", said["p50_latency_ms"]),
        ("p95", said["p95_latency_ms"]),
        ("first-token", said["avg_first_token_ms"]),
    ):
        assert await figure(page, name) == f"{places(Decimal(str(value)), 0)} ms"
    series = await site.get("/api/v1/usage/series?period=24h")
    known = [point["p95_first_token_ms"] for point in series["points"]]
    shown = await column(page, "first-token", "p95")
    expected = [UNKNOWN if x is None else f"{places(Decimal(str(x)), 0)} ms" for x in known]
    assert shown == expected
    assert any(known)


async def test_a_user_sees_the_own_part_only(
    site: Site, open_page: OpenPage, windows: Windows
) -> None:
    alice = site.world.alice
    own = together(of_user(site.rows(), alice.id))
    page = await visit(await open_page(who="alice"), site, "overview?period=24h")
    await check_figures(page, own)
    assert 0 < own.requests < together(site.rows()).requests
    await visit(page, site, "requests")
    assert len(await cells(page)) == own.requests
    others = await site.get(f"/api/v1/usage/requests?limit=1&user_id={site.world.bob.id}")
    stranger = others["data"][0]["request_id"]
    await visit(page, site, f"request?id={stranger}")
    await expect(page.get_by_role("alert")).to_contain_text("there is no such request")
    forgive(windows, 404)


async def test_new_requests_come_by_themselves(site: Site, open_page: OpenPage) -> None:
    page = await visit(await open_page(), site, "overview")
    tail = page.locator("[data-tail='live']")
    assert await tail.locator("tr[data-row]").count() == 15
    assert await tail.locator("tr.new").count() == 0
    first = await site.send(Mark("tail1", 321, 12))
    row = tail.locator(f"tr[data-row='{first}']")
    await expect(row).to_have_class("new", timeout=6000)
    assert (await row.locator("[data-column='tokens']").inner_text()).strip() == "321 → 12"
    assert await row.locator("[data-column='cost']").inner_text() == "$0.000345"
    await page.get_by_role("button", name="Pause").click()
    second = await site.send(Mark("tail2", 5, 5))
    await page.wait_for_timeout(2500)
    assert await tail.locator(f"tr[data-row='{second}']").count() == 0
    await page.get_by_role("button", name="Resume").click()
    await expect(tail.locator(f"tr[data-row='{second}']")).to_have_class("new")


async def test_without_requests_it_says_how_to_make_one(site: Site, open_page: OpenPage) -> None:
    page = await visit(await open_page(who="dora"), site, "overview")
    assert await figure(page, "requests") == "0"
    assert await figure(page, "error-rate") == UNKNOWN
    await expect(page.locator("pre")).to_contain_text(f"curl {site.url}/v1/chat/completions")
    for name in ("requests", "breakdown"):
        await visit(page, site, name)
        await expect(page.locator("pre")).to_contain_text(f"curl {site.url}/v1/chat/completions")
    await visit(page, site, "budgets")
    assert await figure(page, "month-expected") == "$0.00"
    await expect(page.locator("main")).to_contain_text("No key or user has a budget.")


# Requests.


async def test_filters_choose_among_the_requests(site: Site, open_page: OpenPage) -> None:
    page = await visit(await open_page(), site, "requests")
    rows = site.rows()
    key = site.world.bobs_key[0]
    for fields, wanted in (
        ({"Provider": "two"}, [r for r in rows if r.provider == "two"]),
        ({"Model": "m-2"}, [r for r in rows if r.provider == "two"]),
        ({"Service": "shop"}, [r for r in rows if r.sent.service == "shop"]),
        ({"User": "c2"}, of_user(rows, "c2")),
        ({"Task": "mail"}, [r for r in rows if r.sent.task == "mail"]),
        ({"Key": key}, [r for r in rows if r.sent.key == key]),
        (
            {"Key": key, "Provider": "two"},
            [r for r in rows if r.sent.key == key and r.provider == "two"],
        ),
        ({"Model": "(none)"}, [r for r in rows if r.provider is None]),
    ):
        await page.get_by_role("link", name="Reset").click()
        await settled(page)
        for label, value in fields.items():
            await page.get_by_label(label, exact=True).fill(value)
        await page.get_by_role("button", name="Apply").click()
        await expect(page).to_have_url(re.compile(r"requests\?"))
        await settled(page)
        shown = await cells(page)
        assert len(shown) == len(wanted) > 0, fields
        assert sum(int(row["input"].replace(",", "")) for row in shown.values()) == sum(
            r.input for r in wanted
        )
        assert sorted(row["cost"] for row in shown.values()) == sorted(map(price, wanted))
    await visit(page, site, "requests?outcome=failed")
    assert len(await cells(page)) == together(rows).errors
    await expect(page.get_by_label("Outcome")).to_have_value("failed")


async def test_one_is_found_by_its_id(site: Site, open_page: OpenPage) -> None:
    page = await visit(await open_page(), site, "requests")
    newest = await site.get("/api/v1/usage/requests?limit=1")
    wanted = newest["data"][0]["request_id"]
    await page.get_by_label("Request id", exact=True).fill(f" {wanted} ")
    await page.get_by_role("button", name="Apply").click()
    await expect(page).to_have_url(re.compile(rf"#/request\?id={wanted}$"))
    await expect(page.locator("h1")).to_have_text("Request")
    await settled(page)
    assert wanted in await page.locator("main").inner_text()


async def test_a_filter_offers_what_there_is(site: Site, open_page: OpenPage) -> None:
    page = await visit(await open_page(), site, "requests")
    await page.get_by_label("Key", exact=True).focus()
    options = page.locator(f"datalist option[value='{site.capped[0]}']")
    await expect(options).to_have_text("capped")
    await page.get_by_label("Service", exact=True).focus()
    await expect(page.locator("datalist option[value='(none)']").last).to_be_attached()


async def test_pages_follow_each_other(site: Site, open_page: OpenPage) -> None:
    page = await visit(await open_page(), site, "requests")
    first = await cells(page)
    assert len(first) == 50
    await page.get_by_role("link", name="Older").click()
    await expect(page).to_have_url(re.compile("cursor="))
    await settled(page)
    second = await cells(page)
    assert len(first | second) == len(first) + len(second) == len(site.rows())
    await expect(page.get_by_text("These are the oldest.")).to_be_visible()
    await page.get_by_role("link", name="Newest").click()
    await expect(page.get_by_role("link", name="Older")).to_be_visible()
    assert await cells(page) == first


async def test_an_export_has_the_rows_of_the_filters(site: Site, open_page: OpenPage) -> None:
    page = await visit(await open_page(), site, "requests?service=shop")
    wanted = [row for row in site.rows() if row.sent.service == "shop"]
    for name, read in (("CSV", _csv), ("JSON Lines", _lines)):
        async with page.expect_download() as waiting:
            await page.get_by_role("link", name=f"Export {name}").click()
        path = await (await waiting.value).path()
        found = read(Path(path).read_text())
        assert [int(row["input_tokens"]) for row in found] == [row.input for row in wanted]
        assert {row["service_name"] for row in found} == {"shop"}


def _csv(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(text.splitlines()))


def _lines(text: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in text.splitlines()]


# Request.


async def test_a_request_shows_both_attempts(site: Site, open_page: OpenPage) -> None:
    metadata = {"customer": "<b>bold</b>"}
    request_id = await site.send(Mark("over", 700, 70, 100, "one"), metadata=metadata)
    page = await visit(await open_page(), site, "overview")
    row = page.locator(f"[data-tail='live'] tr[data-row='{request_id}'] a")
    await row.click()
    await settled(page)
    assert await figure(page, "request-id") == request_id
    assert await figure(page, "answered") == "two / m-2"
    assert await figure(page, "cost") == "$0.0023"
    assert await figure(page, "input") == "700"
    assert await figure(page, "cached-tokens") == "100"
    assert await figure(page, "output") == "70"
    assert await figure(page, "attempts") == "2"
    assert await figure(page, "cache") == "Not from the cache: a provider was asked"
    assert orjson.loads(await figure(page, "metadata")) == metadata
    shown = await cells(page)
    assert [row["target"].split() for row in shown.values()] == [
        ["m-1", "one,", "key", "0"],
        ["m-2", "two,", "key", "0"],
    ]
    assert [row["status"] for row in shown.values()] == ["500", "200"]
    assert [row["outcome"].split()[0] for row in shown.values()] == ["failed", "ok"]
    assert "it broke" in shown["1"]["error"]
    assert shown["2"]["cost"] == "$0.0023"


async def test_what_the_cache_answered_and_what_failed(site: Site, open_page: OpenPage) -> None:
    mark = Mark("again", 640, 64)
    await site.send(mark)
    hit = await site.send(mark)
    failed = await site.send(Mark("dead", 1, 1, 0, "all"))
    page = await open_page()
    await wait_for_row(page, site, hit)
    assert await figure(page, "cache") == "Answered from the cache: $0.000768 saved"
    assert await figure(page, "cost") == "$0.00"
    assert await page.locator("tr[data-row]").count() == 0
    await wait_for_row(page, site, failed)
    assert await figure(page, "status") == "502"
    assert await figure(page, "answered") in ("one / m-1", "two / m-2")
    assert len(await cells(page)) == 2


async def wait_for_row(page: Page, site: Site, request_id: str) -> None:
    for _ in range(100):
        found = await site.world.ask("GET", f"/api/v1/usage/requests/{request_id}", MASTERLY)
        if found.status == 200:
            break
        await page.wait_for_timeout(20)
    await visit(page, site, "requests")
    await visit(page, site, f"request?id={request_id}")


# Breakdown.

GROUPS: dict[str, Callable[[Row], str | None]] = {
    "Provider": lambda row: row.provider,
    "Model": lambda row: row.model,
    "Task": lambda row: row.sent.task,
    "Service": lambda row: row.sent.service,
    "User": lambda row: row.sent.user,
    "Key": lambda row: row.sent.key,
}


async def test_every_breakdown_adds_up(site: Site, open_page: OpenPage) -> None:
    page = await visit(await open_page(), site, "breakdown")
    rows = site.rows()
    whole = together(rows)
    for label, by in GROUPS.items():
        await page.get_by_label(label, exact=True).check()
        await expect(page.get_by_role("heading", name=f"By {label.lower()}")).to_be_visible()
        await settled(page)
        shown = await cells(page)
        expected = {name or "(none)": sums for name, sums in grouped(rows, by).items()}
        assert shown.keys() == expected.keys()
        for name, sums in expected.items():
            said = shown[name]
            assert said["requests"] == f"{sums.requests:,}"
            assert said["tokens"] == compact(sums.input + sums.output)
            assert said["cost"] == usd(sums.cost)
            assert said["saved"] == usd(sums.saved)
            assert said["hits"] == str(sums.hits)
            assert said["errors"] == str(sums.errors)
            assert said["share"] == percent(sums.cost, whole.cost)
    names = {row["group"].split()[0] for row in shown.values()}
    assert {"capped", "roomy", "(none)"} <= names


async def test_a_group_shows_its_course_and_its_requests(site: Site, open_page: OpenPage) -> None:
    page = await visit(await open_page(), site, "breakdown?by=service")
    shop = [row for row in site.rows() if row.sent.service == "shop"]
    button = page.get_by_role("button", name="shop")
    await button.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("[data-drill='shop']")).to_be_visible()
    await settled(page)
    await expect(button).to_have_attribute("aria-expanded", "true")
    await expect(button).to_be_focused()
    sums = together(shop)
    assert sum(map(int, await column(page, "group-requests", "Requests"))) == sums.requests
    assert sum(map(int, await column(page, "group-requests", "Errors"))) == sums.errors
    costs = await column(page, "group-cost", "Cost")
    assert [cost for cost in costs if cost != "$0.00"] == [usd(sums.cost)]
    await page.reload()
    await settled(page)
    await page.get_by_role("link", name="Its requests").click()
    await expect(page).to_have_url(re.compile("service=shop"))
    await settled(page)
    assert len(await cells(page)) == len(shop)


async def test_the_rest_without_a_name_can_be_followed_too(site: Site, open_page: OpenPage) -> None:
    page = await visit(await open_page(), site, "breakdown?by=user&group=(none)")
    nobodys = [row for row in site.rows() if row.sent.user is None]
    assert sum(map(int, await column(page, "group-requests", "Requests"))) == len(nobodys)
    await page.get_by_role("link", name="Its requests").click()
    await expect(page).to_have_url(re.compile("requests"))
    await settled(page)
    assert len(await cells(page)) == len(nobodys)


async def test_users_are_shown_by_name(site: Site, open_page: OpenPage) -> None:
    page = await visit(await open_page(), site, "breakdown?by=user")
    shown = await cells(page)
    assert shown[site.world.bob.id]["group"].split() == ["bob@example.com", site.world.bob.id]
    page = await visit(await open_page(who="alice"), site, "breakdown")
    await expect(page.get_by_label("User", exact=True)).to_have_count(0)
    await page.get_by_label("Key", exact=True).check()
    await settled(page)
    shown = await cells(page)
    assert shown.keys() == {"(none)", site.world.alices_key[0]}
    assert shown[site.world.alices_key[0]]["group"].split()[0] == "alice's"


async def test_tabs_are_walked_with_the_arrow_keys(site: Site, open_page: OpenPage) -> None:
    page = await visit(await open_page(), site, "breakdown")
    await page.get_by_label("Provider", exact=True).focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("heading", name="By model")).to_be_visible()
    await expect(page.get_by_label("Model", exact=True)).to_be_focused()
    await expect(page).to_have_url(re.compile("by=model"))


# Forecast and budgets.


async def test_the_forecast_is_the_apis(site: Site, open_page: OpenPage) -> None:
    page = await visit(await open_page(), site, "budgets")
    said = await site.get("/api/v1/usage/forecast")
    spent = together(site.rows()).cost
    assert await figure(page, "month-to-date") == usd(spent)
    month = said["usd"]["projected_month"]
    assert await figure(page, "month-expected") == usd(nano(month["expected"]))
    low, high = (usd(nano(month[end])) for end in ("low", "high"))
    assert await figure(page, "month-interval") == f"{low} to {high}"
    expected = await column(page, "forecast", "Expected")
    days = [usd(nano(day["expected"])) for day in said["usd"]["days"]]
    assert [each for each in expected if each != UNKNOWN] == days
    assert (await column(page, "forecast", "Cost"))[: -len(days)][-1] == usd(spent)


async def test_another_models_price_is_compared(site: Site, open_page: OpenPage) -> None:
    page = await visit(await open_page(), site, "budgets")
    rows = site.rows()
    await page.locator("input[name='model']").fill("two/m-2")
    await page.get_by_role("button", name="Compare").click()
    said = await site.get("/api/v1/usage/forecast?what_if_model=two/m-2")
    then = usd(nano(said["what_if"]["month_to_date_usd"]))
    now = usd(together(rows).cost)
    await expect(page.locator("[data-figure='what-if-so-far']")).to_have_text(
        f"{then} instead of {now}"
    )
    assert (await figure(page, "what-if-difference")).endswith(" more")


async def test_budgets_nearest_to_their_end_come_first(site: Site, open_page: OpenPage) -> None:
    page = await visit(await open_page(), site, "budgets")
    shown = await cells(page, "section[aria-label='Budgets']")
    capped, roomy = f"key:{site.capped[0]}", f"key:{site.roomy[0]}"
    assert list(shown) == [capped, roomy]
    assert shown[capped]["name"].split() == ["capped", capped]
    assert (shown[capped]["spent"], shown[capped]["budget"]) == ("$0.0100", "$0.0200 a month")
    assert shown[capped]["share"] == "50.0 %"
    assert (shown[roomy]["spent"], shown[roomy]["budget"]) == ("$0.000012", "$100.00 a month")
    assert shown[roomy]["lasts"] == "Lasts"


async def test_alerts_are_listed_and_tried(site: Site, open_page: OpenPage) -> None:
    await site.webhook.wait_for_requests(1, timeout=10)
    page = await visit(await open_page(), site, "budgets")
    alerts = page.locator("section", has=page.get_by_role("heading", name="Alerts"))
    row = alerts.locator("tr[data-row]")
    assert await row.count() == 1
    assert await row.locator("[data-column='threshold']").inner_text() == "50 %"
    assert await row.locator("[data-column='spent']").inner_text() == "$0.0100"
    before = len(site.webhook.log)
    await page.get_by_role("button", name="Send a test alert").click()
    await expect(alerts.locator("[data-figure='alert-test']")).to_have_text(
        "The webhook took the test event."
    )
    assert [each.json["event"] for each in site.webhook.log[before:]] == ["test"]
    page = await visit(await open_page(who="alice"), site, "budgets")
    await expect(page.get_by_role("button", name="Send a test alert")).to_have_count(0)


# Faults and the way in.


def forgive(windows: Windows, status: int) -> None:
    """The browser's own line about one answer is all that the console has."""
    [said] = windows.faults
    assert f"status of {status}" in said
    windows.faults.clear()


async def test_a_fault_is_said_in_its_place(
    site: Site, open_page: OpenPage, windows: Windows
) -> None:
    page = await visit(await open_page(), site, "request?id=req_none")
    await expect(page.get_by_role("alert")).to_contain_text("there is no such request")
    assert await page.locator("h1").inner_text() == "Request"
    forgive(windows, 404)


async def test_whoever_logs_in_sees_the_overview(site: Site, windows: Windows) -> None:
    for who, role in (("bob", "user"), (None, "admin")):
        await windows.forget()
        page = await windows.page(who=None)
        await login(page, site, who)
        await expect(page.locator("h1")).to_have_text("Overview")
        await expect(page.locator(".foot")).to_contain_text(f"· {role}")
        await settled(page)
    await windows.forget()
    windows.faults = [said for said in windows.faults if "status of 401" not in said]
    windows.no_faults()
