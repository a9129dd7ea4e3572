"""A gateway with traffic, and pages of its dashboard as a browser shows them."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import axe_playwright_python
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.e2e.books import Mark, Row, Sent, together
from tests.e2e.gateway import MASTER
from tests.e2e.people import MASTERLY, Person, bearer, join, make_key
from tests.e2e.world import World, chat, customers, repeats, traffic, world
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

THEMES = ("light", "dark")
WIDE, PHONE = 1280, 375
HEIGHT = {WIDE: 900, PHONE: 812}

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
SCREENSHOTS = Path(__file__).parents[2] / "docs" / "screenshots"

ALERTS = """
alerts: {{webhook: "{webhook}", secret: alert-secret-of-the-tests, every: 1s}}
"""


@dataclass
class Site:
    """A gateway with everybody's traffic behind it. `world.sent` is what was asked."""

    world: World
    carol: Person
    dora: Person
    capped: tuple[str, str]
    roomy: tuple[str, str]
    webhook: Upstream

    @property
    def url(self) -> str:
        return self.world.gateway.url

    def person(self, name: str) -> Person:
        """carol, who is an admin, or alice, bob and dora, who has never asked anything."""
        people = (self.carol, self.dora, self.world.alice, self.world.bob)
        return next(each for each in people if each.email == f"{name}@example.com")

    def rows(self) -> list[Row]:
        """What the books must have, by the upstreams' logs alone, oldest first."""
        return self.world.rows()

    async def get(self, path: str, headers: dict[str, str] | None = None) -> Any:
        """An answer of the API, to the master key unless `headers` say else."""
        return await self.world.get(path, headers or MASTERLY)

    async def send(self, mark: Mark, key: tuple[str, str] | None = None, **over: Any) -> str:
        """One chat, written down in `world.sent`; its request id."""
        key_id, secret = key or self.world.plain_key
        body = chat(mark, max_tokens=100, **over)
        answer = await self.world.ask("POST", "/v1/chat/completions", bearer(secret), body)
        self.world.sent.append(Sent(mark, key_id, None, key_id))
        return str(answer.headers["x-request-id"])


@asynccontextmanager
async def visited(folder: Path) -> AsyncIterator[Site]:
    """The site, with what `traffic`, `repeats` and `customers` ask, and a key that has spent half
    of its budget and one that has hardly begun."""
    async with Upstream() as webhook:
        url = webhook.base_url.removesuffix("/v1") + "/hook"
        webhook.on(lambda _: fake.http(204, b""))
        async with world(folder, extra=ALERTS.format(webhook=url)) as w:
            carol = await join(w.gateway, "carol@example.com", role="admin")
            dora = await join(w.gateway, "dora@example.com")
            capped = await make_key(w.gateway, MASTERLY, name="capped", limits=_budget(0.02))
            roomy = await make_key(w.gateway, MASTERLY, name="roomy", limits=_budget(100))
            site = Site(w, carol, dora, capped, roomy, webhook)
            await traffic(w)
            await repeats(w)
            await customers(w)
            await site.send(Mark("cap", 8000, 1000), capped)
            await site.send(Mark("room", 10, 1), roomy)
            await w.gateway.rows(len(w.sent))
            await settle(site)
            yield site


def _budget(amount: float) -> dict[str, Any]:
    return {"budget": {"amount": amount, "per": "month"}}


async def settle(site: Site) -> None:
    """Returns when the sums of the API have all that was asked."""
    expected = together(site.rows()).requests
    for _ in range(200):
        found = await site.get("/api/v1/usage/summary")
        if found["total_requests"] == expected:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{found['total_requests']} requests in the sums, not {expected}")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The system's Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "the dashboard's tests need Chromium: apt-get install chromium"
    async with async_playwright() as playwright:
        args = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = await playwright.chromium.launch(executable_path=path, args=args)
        try:
            yield browser
        finally:
            await browser.close()


class Place(Protocol):
    """A gateway, and who may look at its dashboard."""

    @property
    def url(self) -> str: ...

    def person(self, name: str) -> Person: ...


@dataclass
class Windows:
    """Pages by who looks, how wide and in which theme; each is made once and then used again."""

    browser: Browser
    site: Place
    faults: list[str] = field(default_factory=list)
    _contexts: dict[tuple[str, str], BrowserContext] = field(default_factory=dict)
    _pages: dict[tuple[str, str], Page] = field(default_factory=dict)

    async def page(
        self, theme: str = "light", width: int = WIDE, who: str | None = "carol"
    ) -> Page:
        """A page of `who`: see `Site.person`; None is nobody."""
        name = (theme, who or "")
        if name not in self._pages:
            context = await self._context(theme, who)
            page = await context.new_page()
            page.on("console", self._console)
            page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
            self._pages[name] = page
        page = self._pages[name]
        await page.set_viewport_size({"width": width, "height": HEIGHT[width]})
        return page

    async def _context(self, theme: str, who: str | None) -> BrowserContext:
        scheme: Any = theme
        context = await self.browser.new_context(
            color_scheme=scheme, reduced_motion="reduce", accept_downloads=True
        )
        context.set_default_timeout(10_000)
        self._contexts[theme, who or ""] = context
        if who is not None:
            value = self.site.person(who).cookie
            cookie: Any = {"name": "session", "value": value, "url": self.site.url}
            await context.add_cookies([cookie])
        return context

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console {message.type}: {message.text} {message.location}")

    def no_faults(self) -> None:
        """Nothing was said in the console, nothing was thrown, since this was last asked."""
        found, self.faults = self.faults, []
        assert not found, found

    async def forget(self, theme: str = "light", who: str | None = None) -> None:
        """Closes a page with its cookies: the next one is a stranger's again."""
        self._pages.pop((theme, who or ""), None)
        context = self._contexts.pop((theme, who or ""), None)
        if context is not None:
            await context.close()

    async def close(self) -> None:
        for context in self._contexts.values():
            await context.close()


async def visit(page: Page, site: Place, name: str) -> Page:
    """Goes to `#/name` (with its parameters) and waits for all of it."""
    address = f"{site.url}/#/{name}"
    if page.url == address:
        await page.reload()
    elif page.url.split("#")[0] == f"{site.url}/":
        await page.evaluate("address => { location.href = address }", address)
    else:
        await page.goto(address)
    await expect(page.locator("main")).to_have_attribute(
        "data-page", name.partition("?")[0], timeout=10_000
    )
    await settled(page)
    return page


async def settled(page: Page) -> None:
    """Returns when nothing on the page is waited for."""
    await expect(page.locator("main h1").first).to_be_visible()
    await expect(page.locator("main [aria-busy='true']")).to_have_count(0, timeout=10_000)


async def login(page: Page, site: Place, who: str | None = None) -> None:
    """Through the form: as a person, or with the master key."""
    await page.goto(site.url + "/")
    if who is None:
        await page.get_by_role("radio", name="Master key").check()
        await page.locator("input[name='key']").fill(MASTER)
    else:
        person = site.person(who)
        await page.locator("input[name='email']").fill(person.email)
        await page.locator("input[name='password']").fill(person.password)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.locator("[data-figure='who']")).to_be_attached()


async def axe(page: Page) -> None:
    """Serious and critical faults of accessibility fail."""
    if not await page.evaluate("() => 'axe' in window"):
        await page.evaluate(AXE)
    found = await page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    grave = [
        (one["id"], one["help"], [(node["target"], node["html"][:200]) for node in one["nodes"]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert not grave, grave


async def fits(page: Page) -> None:
    """The page itself does not scroll sideways."""
    inner, outer = await page.evaluate(
        "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert inner <= outer, (page.url, inner, outer)


async def figure(page: Page, name: str) -> str:
    """The text of a figure."""
    return (await page.locator(f"[data-figure='{name}']").inner_text()).strip()


async def cells(page: Page, within: str = "main") -> dict[str, dict[str, str]]:
    """The rows of a table: by `data-row` the texts by `data-column`."""
    found: dict[str, dict[str, str]] = await page.locator(within).evaluate(
        """node => {
          const of = (row) => [...row.querySelectorAll("[data-column]")]
            .map((cell) => [cell.dataset.column, cell.innerText.trim()]);
          return Object.fromEntries([...node.querySelectorAll("tr[data-row]")]
            .map((row) => [row.dataset.row, Object.fromEntries(of(row))]));
        }"""
    )
    return found


async def screenshot(page: Page, name: str, folder: Path) -> None:
    """A PNG in `docs/screenshots` if TURNOUT_SCREENSHOTS=1, else in `folder`."""
    target = SCREENSHOTS if os.environ.get("TURNOUT_SCREENSHOTS") == "1" else folder
    target.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=target / f"{name}.png")
