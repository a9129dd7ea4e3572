"""Fixtures of the dashboard's tests: one browser, one gateway with traffic, pages used again.

All of them live in a module's one loop: a test module says
`pytestmark = pytest.mark.asyncio(loop_scope="module")`. A fault that a page tells the console
fails the test that drove it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.dashboard.shown import Site, Windows, chromium, visited

OpenPage = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with visited(tmp_path_factory.mktemp("site")) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def windows(browser: Browser, site: Site) -> AsyncIterator[Windows]:
    found = Windows(browser, site)
    yield found
    await found.close()


@pytest_asyncio.fixture(loop_scope="module")
async def open_page(windows: Windows) -> AsyncIterator[OpenPage]:
    """`await open_page(theme, width, who)`; see `Windows.page`."""
    yield windows.page
    windows.no_faults()
