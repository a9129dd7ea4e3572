"""`python -m tests.dashboard.million [--rows N] [--home FOLDER]`: the dashboard over big books.

Fills the books of a gateway with N made-up rows (see tests/proxy/ledger/million.py; a folder that
has some is taken as it is), serves it with `turnout serve`, and opens every view in Chromium as
who has the master key: how long from the click until the last answer is on the page, and what the
server's process pays for a page that is left open.
"""

import argparse
import asyncio
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.async_api import Page

from proxy.storage.engine import open_database
from tests.dashboard.shown import chromium
from tests.e2e.test_serve import Served, serving
from tests.proxy.ledger.million import load

TIMES = 7  # each view is opened so often
OPEN = 30.0  # seconds that a page is left open
TICK = 100  # of the system's clock, in a second

VIEWS = (
    *(f"overview?period={period}" for period in ("1h", "6h", "24h", "7d", "30d", "90d")),
    "requests",
    "requests?model=model-3",
    *(f"breakdown?by={by}" for by in ("provider", "model", "task", "service", "user", "key")),
    "budgets",
    "cache",
    "providers",
    "keys",
    "users",
    "overrides",
    "playground",
    "config",
)

SHOW = """async (view) => {
  const rest = () => new Promise((done) => requestAnimationFrame(done));
  location.hash = "#/account";
  await rest();
  while (document.querySelector("main [aria-busy=true]")) await rest();
  const began = performance.now();
  location.hash = "#/" + view;
  await rest();
  while (document.querySelector("main [aria-busy=true]")) await rest();
  return performance.now() - began;
}"""
"""A view by the page's own clock, in milliseconds; a frame is 17 of them."""


def cpu(served: Served) -> float:
    """Seconds of CPU that the server has had."""
    fields = Path(f"/proc/{served.process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


async def enter(page: Page, served: Served, home: Path) -> None:
    await page.goto(served.base_url.removesuffix("v1"))
    await page.get_by_role("radio", name="Master key").check()
    await page.locator("input[name=key]").fill((home / "master_key").read_text().strip())
    await page.get_by_role("button", name="Log in").click()
    await page.locator("nav").wait_for()


async def views(page: Page) -> None:
    print("| view | median ms | slowest ms |\n|---|---|---|")
    for view in VIEWS:
        took = [float(await page.evaluate(SHOW, view)) for _ in range(TIMES)]
        print(f"| `{view}` | {statistics.median(took):.0f} | {max(took):.0f} |", flush=True)


async def left_open(page: Page, served: Served) -> list[str]:
    """What the server's process pays, of one core."""
    shares = {}
    for name, view in (("closed", None), ("overview open", "overview?period=24h")):
        if view is None:
            await page.goto("about:blank")
        else:
            await page.goto(f"{served.base_url.removesuffix('v1')}#/{view}")
        await asyncio.sleep(3)
        began, before = time.monotonic(), cpu(served)
        await asyncio.sleep(OPEN)
        shares[name] = (cpu(served) - before) / (time.monotonic() - began)
    return [f"{name}: {share:.1%} of a core" for name, share in shares.items()]


async def fill(folder: Path, rows: int) -> None:
    """Books with so many rows, unless there are books already."""
    home = folder / "home"
    if (home / "turnout.db").exists():
        return
    engine = await open_database("sqlite:///turnout.db", home)
    print(f"{rows:,} rows in {await load(engine, rows):,.0f} s", flush=True)
    await engine.dispose()


async def main(folder: Path, rows: int) -> None:
    await fill(folder, rows)
    (folder / "config.yaml").write_text("cache: {enabled: true}\n")
    with serving(folder) as served:
        async with chromium() as browser:
            page = await (await browser.new_context()).new_page()
            await enter(page, served, folder / "home")
            await views(page)
            print(*await left_open(page, served), sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--home", type=Path, help="a folder that is kept, with the books in home/")
    asked = parser.parse_args()
    if asked.home is not None:
        asyncio.run(main(asked.home, asked.rows))
    else:
        with TemporaryDirectory() as made:
            asyncio.run(main(Path(made), asked.rows))
