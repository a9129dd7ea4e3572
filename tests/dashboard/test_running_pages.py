"""The pages that a gateway is run with, driven in a browser: all of them looked at, and what is
done with the cache, providers, overrides and the configuration. See also `test_people_pages`.

What they show is compared with the API and with what the upstreams' own logs add up to.
"""

import re
from typing import Any

import pytest
import yaml
from playwright.async_api import expect

from tests.dashboard.driving import (
    LOOKS,
    OpenPage,
    closed,
    configured,
    dialog,
    fill,
    press,
    put,
    refused,
    submit,
    the,
)
from tests.dashboard.shown import (
    PHONE,
    WIDE,
    Site,
    Windows,
    axe,
    cells,
    fits,
    settled,
    visit,
)
from tests.e2e import books
from tests.e2e.books import Mark, Sent, together
from tests.e2e.gateway import MASTER, Gateway
from tests.e2e.people import MASTERLY, SERVICE, ask
from tests.fakes import upstream as fake

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES = {
    "cache": "Cache",
    "providers": "Providers",
    "keys": "Keys",
    "users": "Users",
    "overrides": "Overrides",
    "playground": "Playground",
    "account": "My keys of providers",
    "config": "Configuration",
}
OF_USERS = ["keys", "playground", "account"]
PUBLIC = "https://93.184.215.14/v1"  # an address that is nobody's inside; it is not connected to


# Every page.


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", list(PAGES))
async def test_a_page_is_for_everybody_s_eyes(
    open_page: OpenPage, site: Site, name: str, theme: str
) -> None:
    page = await open_page(theme, WIDE)
    await visit(page, site, name)
    await expect(page.locator("main h1")).to_have_text(PAGES[name])
    await expect(page.locator("main .notice.bad")).to_have_count(0)
    assert await page.title() == f"{PAGES[name]} · Turnout"
    await fits(page)
    await page.set_viewport_size({"width": PHONE, "height": 812})
    await fits(page)
    if theme == "light":
        await page.set_viewport_size({"width": WIDE, "height": 900})
    await axe(page)


async def test_a_user_has_the_own_pages_only(open_page: OpenPage, site: Site) -> None:
    page = await open_page("light", WIDE, "alice")
    for name in PAGES:
        await page.goto(f"{site.url}/#/{name}")
        await expect(page.locator("main")).to_have_attribute("data-page", name)
        if name in OF_USERS:
            await expect(page.locator("main h1")).to_have_text(PAGES[name])
        else:
            await expect(page.locator("main")).to_contain_text("for admins")
            assert await page.locator(f"nav a[href='#/{name}']").count() == 0
        await fits(page)
    await visit(page, site, "keys")
    assert list(await cells(page)) == [site.world.alices_key[0]]


# The cache.


async def test_the_cache_s_figures_are_those_of_the_logs(open_page: OpenPage, site: Site) -> None:
    page = await open_page()
    await visit(page, site, "cache")
    sums = together(site.rows())
    saved = sum(row.input + row.output for row in site.rows() if row.hit)
    assert sums.hits > 3
    assert await the(page, "hits_exact") == str(sums.hits)
    assert await the(page, "hits_semantic") == "0"
    assert await the(page, "saved_usd") == await the(page, "ledger_saved_usd")
    assert await the(page, "saved_usd") == f"${sums.saved / 1e9:.6f}"
    assert await the(page, "saved_tokens") == f"{saved:,}"
    assert await the(page, "ledger_requests") == str(sums.requests)
    assert await the(page, "ledger_cached") == str(sums.hits)
    said = await site.get("/api/v1/cache/metrics")
    assert await the(page, "hit_rate") == f"{said['hit_rate'] * 100:.1f} %"
    assert await the(page, "entries") == str(said["entries"])
    assert await the(page, "misses") == str(sum(said["misses"].values()))
    shown = await cells(page)
    for kind, counts in (("miss", said["misses"]), ("bypass", said["bypasses"])):
        found = {key: row["count"] for key, row in shown.items() if key.startswith(kind + ":")}
        assert found == {f"{kind}:{reason}": str(number) for reason, number in counts.items()}


@pytest.mark.parametrize(("theme", "width"), LOOKS)
async def test_the_curve_with_its_bound_and_the_threshold_in_force(
    open_page: OpenPage, site: Site, theme: str, width: int
) -> None:
    said = await site.get("/api/v1/cache/metrics")
    scores = [0.6, 0.75, 0.9, 0.98]
    said["semantic"] |= {
        "state": "on",
        "embedder": "minilm",
        "labels": 812,
        "max_wrong": 0.05,
        "threshold": 0.846,
        "thresholds": {"0.05": 0.846, "0.01": None},
        "certified": True,
        "wrong": {"rate": 0.027, "low": 0.012, "high": 0.049, "labels": 300},
        "curve": [
            {"score": s, "served": 1 - s, "wrong": 0.2 * (1 - s), "low": 0, "high": 0.3 * (1 - s)}
            | {"labels": 100}
            for s in scores
        ],
    }
    page = await open_page(theme, width)
    await page.route("**/api/v1/cache/metrics*", lambda route: route.fulfill(json=said))
    try:
        await visit(page, site, "overrides")
        await visit(page, site, "cache")
        assert await the(page, "threshold") == "score 0.846 and more"
        assert "at most 5.0 %" in await the(page, "max_wrong")
        assert await the(page, "wrong_rate") == "2.7 % (95 %: 1.2 % to 4.9 %; 300 labels)"
        chart = page.locator("[data-chart='calibration']")
        await expect(chart.locator("canvas")).to_have_count(1)
        await expect(chart.locator("figcaption")).to_contain_text("0.846")
        await chart.locator("summary").click()
        rows = await chart.locator("tbody tr").evaluate_all(
            "rows => rows.map(row => [...row.children].map(cell => cell.innerText.trim()))"
        )
        assert rows[0] == ["0.600", "40.0 %", "8.0 %", "12.0 %", "5.0 %"]
        assert [row[0] for row in rows] == ["0.600", "0.750", "0.900", "0.980"]
        await chart.locator(".u-over").hover(position={"x": 2, "y": 60})
        await expect(chart.locator(".tip")).to_contain_text("0.600")
        await fits(page)
        await axe(page)
    finally:
        await page.unroute("**/api/v1/cache/metrics*")


@pytest.mark.parametrize(("theme", "width"), LOOKS)
async def test_prompts_are_warmed_and_answers_dropped(
    open_page: OpenPage, site: Site, theme: str, width: int
) -> None:
    page = await open_page(theme, width)
    await visit(page, site, "cache")
    marks = [Mark(f"warm{theme}{n}", 30 + n, 3) for n in range(2)]
    before = len(site.world.one.log)
    form = page.locator("form").filter(has=page.locator("textarea"))
    await form.locator("[name='prompts']").fill("\n".join(mark.text for mark in marks))
    await form.locator("[name='model']").select_option("both")
    await press(page, "Warm up")
    said = page.locator("[data-figure='warmed']")
    await expect(said).to_contain_text("2 kept now")
    assert len(site.world.one.log) == before + 2
    await settled(page)
    await press(page, "Warm up")
    await expect(said).to_contain_text("2 kept already")
    assert len(site.world.one.log) == before + 2
    await settled(page)

    await press(page, "Drop these")
    await expect(page.locator("main .notice.bad")).to_contain_text("Say which")
    await page.locator("[name='tag']").fill("nobody-has-this")
    await press(page, "Drop these")
    await submit(page, "Drop")
    await expect(page.locator("#toasts")).to_contain_text("0 answers dropped")
    await closed(page)
    kept = int(await the(page, "entries"))
    assert kept >= 2
    await press(page, "Drop all")
    await submit(page, "Cancel")
    assert (await site.get("/api/v1/cache/metrics"))["entries"] == kept
    await press(page, "Drop all")
    await submit(page, "Drop all")
    await expect(page.locator("[data-figure='entries']")).to_have_text("0")
    assert (await site.get("/api/v1/cache/metrics"))["entries"] == 0


# Providers.


@pytest.mark.parametrize(("theme", "width"), LOOKS)
async def test_providers_that_are_on_and_off_and_how_they_do(
    open_page: OpenPage, site: Site, theme: str, width: int
) -> None:
    def change(config: Any) -> None:
        config["providers"]["dark"] = {
            "dialect": "openai",
            "base_url": "http://127.0.0.1:9/v1",
            "api_key": "${KEY_OF_THE_DARK}",
        }
        config["breaker"] = {"failures": 2, "ratio": "100%", "open": "60s"}

    page = await open_page(theme, width)
    async with configured(site, change):
        await visit(page, site, "overrides")
        await visit(page, site, "providers")
        shown = await cells(page)
        assert (shown["one"]["state"], shown["one"]["source"]) == ("on", "file")
        assert (shown["one"]["models"], shown["one"]["priority"]) == ("m-1", "20")
        assert "KEY_OF_THE_DARK is not set" in shown["dark"]["state"]
        row = page.locator("tr[data-row='dark']")
        await row.locator("summary").click()
        await expect(row.locator("pre")).to_have_text("KEY_OF_THE_DARK=…")
        await expect(row).to_contain_text(".env")
        await fits(page)

        await press(page, "Test one")
        await expect(page.locator("[data-figure='test_one']")).to_contain_text("reached")
        site.world.two.on(lambda _: fake.error_reply(401, "who are you?"))
        await press(page, "Test two")
        await expect(page.locator("[data-figure='test_two']")).to_contain_text("failed")
        site.world.two.on(books.answering("two"))

        for n in range(3):
            await site.send(Mark(f"open{theme}{n}", 10, 1, 0, "one"))
        states = (await site.get("/api/v1/breakers"))["breakers"]
        opened = [each["name"] for each in states if each["state"] == "OPEN"]
        assert opened
        await visit(page, site, "overrides")
        await visit(page, site, "providers")
        shown = await cells(page)
        for name in opened:
            assert shown[name]["state"] == "OPEN"
            assert re.match(r"\d\d \w{3} \d{4}, \d\d:\d\d:\d\d", shown[name]["next"])
        await page.locator(f"tr[data-row='{opened[0]}'] button").click()
        await submit(page, "Reset")
        await closed(page)
        states = (await site.get("/api/v1/breakers"))["breakers"]
        assert {each["state"] for each in states} == {"CLOSED"}
        await press(page, "Reset all circuits")
        await submit(page, "Reset")
        await closed(page)


@pytest.mark.parametrize(("theme", "width"), LOOKS)
async def test_a_provider_is_added_changed_and_removed(
    open_page: OpenPage, windows: Windows, site: Site, theme: str, width: int
) -> None:
    page = await open_page(theme, width)
    await visit(page, site, "overrides")
    await visit(page, site, "providers")
    await press(page, "Add a provider")
    await axe(page)
    await fill(page, name="extra", base_url="http://127.0.0.1:9/v1", api_key="sk-of-the-extra-one")
    await fill(page, models="m-7\nm-8", priority="33", rate_limit_tpm="")
    await submit(page, "Add")
    await expect(dialog(page).get_by_role("alert")).to_contain_text("127.0.0.1")
    await refused(windows, 400)
    await fill(page, base_url=PUBLIC)
    await submit(page, "Add")
    await closed(page)
    shown = (await cells(page))["extra"]
    assert (shown["source"], shown["priority"], shown["models"]) == ("API", "33", "m-7\nm-8")
    [made] = [each for each in await site.get("/api/v1/providers") if each["name"] == "extra"]
    assert (made["base_url"], made["rate_limit_rpm"], made["rate_limit_tpm"]) == (PUBLIC, 60, None)
    assert "sk-of-the-extra-one" not in await page.content()
    await press(page, "Edit extra")
    await fill(page, priority="34", rate_limit_tpm="500")
    await dialog(page).locator("[name='is_enabled']").uncheck()
    await submit(page, "Save")
    await closed(page)
    shown = (await cells(page))["extra"]
    assert shown["priority"] == "34"
    assert shown["state"] != "on"
    changed = await site.get(f"/api/v1/providers/{made['id']}")
    assert (changed["rate_limit_tpm"], changed["is_enabled"]) == (500, False)
    await press(page, "Remove extra")
    await submit(page, "Remove")
    await closed(page)
    assert "extra" not in await cells(page)
    assert "extra" not in {each["name"] for each in await site.get("/api/v1/providers")}


# Overrides.


@pytest.mark.parametrize(("theme", "width"), LOOKS)
async def test_an_override_sends_a_customer_elsewhere(
    open_page: OpenPage, windows: Windows, site: Site, theme: str, width: int
) -> None:
    page = await open_page(theme, width)
    await visit(page, site, "overrides")
    customer = f"customer-{theme}"
    await press(page, "Add an override")
    await fill(page, user=customer, provider="two", model="m-9")
    await submit(page, "Add")
    await expect(dialog(page).get_by_role("alert")).to_contain_text("m-9")
    await refused(windows, 422)
    await fill(page, model="m-2")
    await axe(page)
    await submit(page, "Add")
    await closed(page)
    [shown] = [row for row in (await cells(page)).values() if row["user"] == customer]
    assert (shown["service"], shown["target"]) == ("all", "two/m-2")
    mark = Mark(f"override{theme}", 20, 2)
    body = {"user_id": customer, "service": "shop", "prompt": mark.text}
    answer = await ask(site.world.gateway, "POST", "/api/v1/generate", SERVICE, body)
    assert answer.json["provider"] == "two"
    site.world.sent.append(Sent(mark, customer, customer, None, "shop"))
    await press(page, f"Remove the override of {customer}")
    await submit(page, "Remove")
    await closed(page)
    assert await site.get("/api/v1/overrides") == []


# The configuration.


@pytest.mark.parametrize(("theme", "width"), LOOKS)
async def test_the_configuration_in_force_and_one_with_a_fault(
    open_page: OpenPage, site: Site, theme: str, width: int
) -> None:
    gateway: Gateway = site.world.gateway
    page = await open_page(theme, width)
    await visit(page, site, "overrides")
    await visit(page, site, "config")
    version = (await site.get("/health"))["config"]["version"]
    assert await the(page, "config_version") == version
    assert await the(page, "config_path") == str(gateway.config)
    text = await the(page, "config_text")
    assert yaml.safe_load(text)["models"]["both"] is not None
    for secret in (MASTER, "sk-system-one", "sk-system-two"):
        assert secret not in text
    assert await the(page, "ledger_state") == "ok"
    assert await the(page, "ledger_lost") == "0"
    before = gateway.config.read_text()
    try:
        await put(site, before + "\nsurver: {}\n")
        error = page.locator("[data-figure='config_error']")
        await expect(error).to_contain_text("surver", timeout=10_000)
        assert await the(page, "config_version") == version
        await fits(page)
        await axe(page)
    finally:
        await put(site, before)
    await expect(error).to_have_count(0)
    assert (await ask(gateway, "GET", "/v1/models", MASTERLY)).status == 200
