"""What tests of the dashboard's pages do with a mouse, a keyboard and a configuration."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import yaml
from playwright.async_api import Locator, Page, expect

from tests.dashboard.shown import (
    PHONE,
    WIDE,
    Site,
    Windows,
    figure,
    settled,
)
from tests.e2e.books import Mark, Row, Sent

OpenPage = Callable[..., Awaitable[Page]]

LOOKS = [("light", WIDE), ("dark", PHONE)]
"""A theme and a width; every action is driven in both."""


async def the(page: Page, name: str) -> str:
    """A figure, once it is there."""
    await expect(page.locator(f"[data-figure='{name}']")).to_have_count(1)
    return await figure(page, name)


def dialog(page: Page) -> Locator:
    return page.locator("dialog[open]")


async def press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).click()


async def fill(page: Page, **fields: str) -> None:
    """Fields of the open dialog by their names."""
    for name, value in fields.items():
        control = dialog(page).locator(f"[name='{name}']")
        if await control.evaluate("node => node.tagName") == "SELECT":
            await control.select_option(value)
        else:
            await control.fill(value)


async def submit(page: Page, action: str) -> None:
    """The dialog's own button; it closes when that has ended well."""
    await dialog(page).get_by_role("button", name=action, exact=True).click()


async def closed(page: Page) -> None:
    await expect(dialog(page)).to_have_count(0)
    await settled(page)


async def refused(windows: Windows, status: int) -> None:
    """The console tells of an answer that a test wanted to be a fault: once, and of no other."""
    told = [fault for fault in windows.faults if f"status of {status}" in fault]
    assert len(told) == 1, windows.faults
    windows.faults.remove(told[0])


@asynccontextmanager
async def configured(site: Site, change: Callable[[Any], None]) -> AsyncIterator[None]:
    """The configuration with a change while the block runs."""
    path = site.world.gateway.config
    before = path.read_text()
    after = yaml.safe_load(before)
    change(after)
    try:
        await put(site, yaml.safe_dump(after))
        yield
    finally:
        await put(site, before)


async def put(site: Site, text: str) -> None:
    """Saves the configuration and waits until it has been read."""
    was = (await site.get("/health"))["config"]
    site.world.gateway.config.write_text(text)
    for _ in range(400):
        now = (await site.get("/health"))["config"]
        if (now["version"], now["error"]) != (was["version"], was["error"]):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the configuration was not read again")


async def booked(site: Site, mark: Mark, owner: str, user: str | None = None) -> Row:
    """Writes down what a page has asked; the row that it must have."""
    site.world.sent.append(Sent(mark, owner, user))
    return site.rows()[-1]


def money(nano: int) -> str:
    """As the playground shows it: nine places, without the zeros at the end but for two."""
    whole, places = f"{nano / 1e9:.9f}".split(".")
    return f"${whole}.{places[:2]}{places[2:].rstrip('0')}"
