"""Keys, users, and what everybody has of the own, driven in a browser."""

import pytest
from playwright.async_api import expect

from tests.dashboard.driving import (
    LOOKS,
    OpenPage,
    closed,
    dialog,
    fill,
    press,
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
    login,
    visit,
)
from tests.e2e import books
from tests.e2e.people import PASSWORD, ask, bearer, join
from tests.fakes import upstream as fake

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Keys and users.


async def status_of(site: Site, secret: str) -> int:
    answer = await ask(site.world.gateway, "GET", "/v1/models", bearer(secret))
    return answer.status


@pytest.mark.parametrize(("theme", "width"), LOOKS)
async def test_a_key_s_life(open_page: OpenPage, site: Site, theme: str, width: int) -> None:
    page = await open_page(theme, width)
    await visit(page, site, "keys")
    await press(page, "Make a key")
    await axe(page)
    await fill(page, name="ci", owner=site.world.bob.id, models="both, one/*", tags="team-a, ci")
    await fill(page, expires="30d", rpm="60", tpm="9000", rpd="700", tpd="none", concurrency="5")
    await fill(page, budget="2.5", per="day")
    await submit(page, "Make")
    secret = await the(page, "secret")
    assert await the(page, "export") == (
        f"export OPENAI_BASE_URL={site.url}/v1 OPENAI_API_KEY={secret}"
    )
    await fits(page)
    await page.get_by_role("button", name="Done").click()
    await closed(page)
    assert secret not in await page.content()
    assert await status_of(site, secret) == 200
    [made] = [
        each for each in await site.get("/api/v1/keys")
        if each["name"] == "ci" and not each["revoked_at"]
    ]  # fmt: skip
    assert made["user_id"] == site.world.bob.id
    assert (made["models"], made["tags"]) == (["both", "one/*"], ["team-a", "ci"])
    assert made["expires_at"] - made["created_at"] == pytest.approx(30 * 86_400_000, abs=5000)
    assert made["limits"] == {
        "rpm": 60,
        "tpm": 9000,
        "rpd": 700,
        "tpd": None,
        "concurrency": 5,
        "budget": {"amount": 2.5, "per": "day"},
    }
    shown = (await cells(page))[made["id"]]
    assert shown["owner"] == "bob@example.com"
    assert "60 requests/min" in shown["limits"]
    assert "$2.50 a day" in shown["limits"]
    assert shown["spent"].startswith("$0.00 of $2.50")

    await press(page, "Edit ci")
    await fill(page, name="ci2", models="", tpm="", rpm="61", expires="never")
    await submit(page, "Save")
    await closed(page)
    changed = await site.get(f"/api/v1/keys/{made['id']}")
    assert (changed["name"], changed["models"], changed["expires_at"]) == ("ci2", None, None)
    assert changed["tags"] == ["team-a", "ci"]
    assert changed["limits"] == {
        name: value for name, value in (made["limits"] | {"rpm": 61}).items() if name != "tpm"
    }

    await press(page, "Rotate ci2")
    await submit(page, "Rotate")
    rotated = await the(page, "secret")
    await page.get_by_role("button", name="Done").click()
    assert (await status_of(site, secret), await status_of(site, rotated)) == (401, 200)
    await closed(page)
    await press(page, "Revoke ci2")
    await submit(page, "Revoke")
    await closed(page)
    assert await status_of(site, rotated) == 401
    assert made["id"] not in await cells(page)
    await visit(page, site, "keys?show=all")
    assert (await cells(page))[made["id"]]["state"] == "revoked"


async def test_what_a_key_has_spent_is_what_the_log_says(open_page: OpenPage, site: Site) -> None:
    page = await open_page()
    await visit(page, site, "overrides")
    await visit(page, site, "keys")
    shown = await cells(page)
    spent = sum(row.cost for row in site.rows() if row.sent.key == site.capped[0])
    assert spent == 10_000_000
    assert shown[site.capped[0]]["spent"] == "$0.0100 of $0.0200"
    assert shown[site.world.plain_key[0]]["spent"] == "no budget"


async def test_a_user_makes_keys_without_limits(open_page: OpenPage, site: Site) -> None:
    page = await open_page("dark", PHONE, "bob")
    await visit(page, site, "keys")
    await press(page, "Make a key")
    assert await dialog(page).locator("[name='rpm'], [name='owner']").count() == 0
    await fill(page, name="bob's second")
    await submit(page, "Make")
    secret = await the(page, "secret")
    await page.get_by_role("button", name="Done").click()
    await closed(page)
    assert await status_of(site, secret) == 200
    own = await site.get("/api/v1/keys", site.world.bob.bearer)
    assert set(await cells(page)) == {each["id"] for each in own if not each["revoked_at"]}


@pytest.mark.parametrize(("theme", "width"), LOOKS)
async def test_an_account_s_life(
    open_page: OpenPage, windows: Windows, site: Site, theme: str, width: int
) -> None:
    page = await open_page(theme, width)
    await visit(page, site, "users")
    email = f"erin-{theme}@example.com"
    await press(page, "Add a user")
    await axe(page)
    await fill(page, email=email, name="Erin", password="short", budget="7")
    await submit(page, "Add")
    await expect(dialog(page).get_by_role("alert")).to_contain_text("password")
    await refused(windows, 422)
    await fill(page, password=PASSWORD)
    await submit(page, "Add")
    await closed(page)
    shown = (await cells(page))[email]
    assert (shown["role"], shown["state"], shown["limits"]) == ("user", "active", "$7.00 a month")
    credentials = {"email": email, "password": PASSWORD}
    first = await ask(site.world.gateway, "POST", "/api/v1/login", None, credentials)
    assert first.status == 200

    await press(page, f"Log out everywhere: {email}")
    await submit(page, "Log out everywhere")
    await closed(page)
    cookie = {"cookie": first.headers["set-cookie"].split(";")[0]}
    answer = await ask(site.world.gateway, "GET", "/api/v1/users/me", cookie)
    assert answer.status == 401

    await press(page, f"Edit {email}")
    await fill(
        page, name="Erin E.", role="admin", budget="", rpm="5", password="another " + PASSWORD
    )
    await submit(page, "Save")
    await closed(page)
    [now] = (await site.get(f"/api/v1/users?email={email}"))["users"]
    assert (now["name"], now["role"], now["limits"]) == ("Erin E.", "admin", {"rpm": 5})
    again = credentials | {"password": "another " + PASSWORD}
    assert (await ask(site.world.gateway, "POST", "/api/v1/login", None, again)).status == 200

    await press(page, f"Edit {email}")
    await dialog(page).locator("[name='active']").uncheck()
    await submit(page, "Save")
    await closed(page)
    assert (await cells(page))[email]["state"] == "off"
    assert (await ask(site.world.gateway, "POST", "/api/v1/login", None, again)).status == 401
    await press(page, f"Remove {email}")
    await submit(page, "Remove")
    await closed(page)
    assert email not in await cells(page)


@pytest.mark.parametrize(("theme", "width"), LOOKS)
async def test_own_keys_of_providers_and_the_password(
    open_page: OpenPage, windows: Windows, site: Site, theme: str, width: int
) -> None:
    email = f"fred-{theme}@example.com"
    await join(site.world.gateway, email)
    context = await windows.browser.new_context(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
    page = await context.new_page()
    try:
        await page.set_viewport_size({"width": width, "height": 812})
        await page.goto(site.url + "/")
        await page.get_by_label("Email").last.fill(email)
        await page.get_by_label("Password").fill(PASSWORD)
        await press(page, "Log in")
        await expect(page.locator("[data-figure='who']")).to_be_attached()
        await visit(page, site, "account")
        assert (await cells(page))["one"]["source"] == "the gateway's key"
        site.world.one.on(lambda _: fake.error_reply(401, "no such key"))
        await press(page, "Set the key of one")
        await axe(page)
        await fill(page, key="sk-own-one-of-fred-9876")
        await submit(page, "Save")
        await expect(dialog(page).get_by_role("alert")).to_contain_text("nothing was saved")
        site.world.one.on(books.answering("one"))
        await submit(page, "Save")
        await closed(page)
        shown = (await cells(page))["one"]
        assert shown["source"] == "your own key"
        assert shown["key"].endswith("9876")
        assert "sk-own-one-of-fred" not in await page.content()
        await press(page, "Remove the key of one")
        await submit(page, "Remove")
        await closed(page)
        assert (await cells(page))["one"]["key"] == "none"

        fresh = "a new " + PASSWORD
        await page.locator("[name='old']").fill("wrong " + PASSWORD)
        await page.locator("[name='new']").fill(fresh)
        await page.locator("[name='again']").fill(fresh + "!")
        await press(page, "Change the password")
        await expect(page.locator("main .notice.bad")).to_contain_text("differ")
        await page.locator("[name='again']").fill(fresh)
        await press(page, "Change the password")
        await expect(page.locator("main .notice.bad")).to_contain_text("password")
        await page.locator("[name='old']").fill(PASSWORD)
        await press(page, "Change the password")
        await expect(page.locator("#toasts")).to_contain_text("Changed")
        await visit(page, site, "keys")
        await expect(page.locator("main h1")).to_have_text("Keys")
        body = {"email": email, "password": fresh}
        assert (await ask(site.world.gateway, "POST", "/api/v1/login", None, body)).status == 200
    finally:
        site.world.one.on(books.answering("one"))
        await context.close()


async def test_the_master_key_has_no_keys_of_its_own(
    open_page: OpenPage, windows: Windows, site: Site
) -> None:
    page = await open_page("light", WIDE, None)
    try:
        await login(page, site)
        windows.faults = [fault for fault in windows.faults if "status of 401" not in fault]
        await visit(page, site, "account")
        await expect(page.locator("main")).to_contain_text("No account")
        await visit(page, site, "keys")
        assert site.capped[0] in await cells(page)
    finally:
        await windows.forget("light", None)
