"""How the dashboard writes figures, said a second time; and where it shows series of them."""

from decimal import ROUND_HALF_UP, Decimal

from playwright.async_api import Page

UNKNOWN = "\N{EN DASH}"


def places(value: Decimal, count: int) -> str:
    return f"{value.quantize(Decimal(1).scaleb(-count), ROUND_HALF_UP):,}"


def usd(nanousd: int) -> str:
    """Cents, or four or six places of what is small."""
    amount = Decimal(nanousd) / 10**9
    count = 2 if amount == 0 or amount >= 1 else 4 if amount >= Decimal("0.01") else 6
    return f"${places(amount, count)}"


def compact(value: int) -> str:
    if value < 10_000:
        return f"{value:,}"
    size, letter = (10**6, "M") if value >= 999_950 else (1000, "K")
    return f"{places(Decimal(value) / size, 1).removesuffix('.0')}{letter}"


def percent(part: int, whole: int) -> str:
    return f"{places(Decimal(100 * part) / whole, 1)} %"


async def column(page: Page, chart: str, name: str) -> list[str]:
    """A series of a chart, from its table."""
    place = page.locator(f"[data-chart='{chart}']")
    if not await place.locator("table").count():
        await place.locator("summary").click()
        await place.locator("table").wait_for()
    found: list[str] = await place.locator(f"td[data-column='{name}']").all_inner_texts()
    return found
