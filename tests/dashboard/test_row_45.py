"""What strangers say is text, on every page and in every log (FAULTS 45).

All that a caller, a provider or an admin can name is hostile here: markup, links, templates,
characters that nobody sees, lines of a log that never were, and ten megabytes of it.
"""

import csv
import io
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from yarl import URL

from proxy.telemetry.logs import JsonLines, TextLines
from tests.dashboard.driving import dialog, refused
from tests.dashboard.shown import PHONE, Windows, fits, settled, visit
from tests.e2e.gateway import Answer, Gateway, running
from tests.e2e.people import MASTERLY, SERVICE, SERVICE_KEY, Person, bearer, join, make_key
from tests.fakes import upstream as fake
from tests.fakes.upstream import Received, Script, Upstream

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]

MARKUP = "<script>alert(1)</script>"
NASTY = f"{MARKUP}\"><img src=x onerror=alert(2)>javascript:alert(3)${{alert(4)}}{{{{alert(5)}}}}'`"
UNSEEN = "\u202egpj.exe\u2066\u2028\ufeff"  # turned, isolated, a line end of JavaScript's
FORGED = "\n2026-11-21 00:00:00,000 INFO turnout.access: forged\r\n\x1b[31mred\x1b[2J\x07\x9b1m"
LONG = 10 * 1024 * 1024

CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}", service_keys: ["{service}"]}}
server: {{access_log: true, private_providers: true}}
ledger: {{log_bodies: true}}
cache: {{enabled: false}}
retry: {{attempts: 1}}
breaker: {{failures: 1000, ratio: 100%}}
providers:
  up: {{dialect: openai, base_url: "{url}", api_key: sk-up-secret-of-row-45}}
models: {{"*": up, "long": up/long, "stream": up/stream, "bad": up/bad, "worse": up/worse}}
"""

WATCH = """
window.fired = [];
for (const name of ["alert", "prompt"])
  window[name] = (said) => window.fired.push(`${name} ${said}`);
addEventListener("securitypolicyviolation", (event) =>
  window.fired.push(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""

STRANGE = """() => {
  const own = (node) => node.matches("script[src^='ui/'], img[src='ui/icon.svg']");
  const made = [...document.querySelectorAll(
    "script, img, svg, iframe, object, embed, base, meta[http-equiv], style",
  )].filter((node) => !own(node));
  const heard = [...document.querySelectorAll("*")].filter((node) =>
    [...node.attributes].some((one) => one.name.startsWith("on")));
  const led = [...document.querySelectorAll("a[href], form[action]")]
    .map((node) => node.getAttribute("href") ?? node.getAttribute("action"))
    .filter((to) => !/^(#|api\\/v1\\/)/.test(to));
  return [...made, ...heard].map((node) => node.outerHTML.slice(0, 200)).concat(led, window.fired);
}"""


class Logs(NamedTuple):
    """The same entries in both forms."""

    text: io.StringIO
    json: io.StringIO


@dataclass
class Haunted:
    """A gateway that was told all of this, and what it wrote."""

    gateway: Gateway
    up: Upstream
    carol: Person
    logs: Logs
    answers: list[Answer] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.gateway.url

    def person(self, name: str) -> Person:
        assert name == "carol"
        return self.carol

    async def ask(self, method: str, path: str, who: dict[str, str], body: Any = None) -> Answer:
        data = None if body is None else io.BytesIO(orjson.dumps(body))
        target = URL(self.url + path, encoded=True)
        async with self.gateway.session.request(method, target, headers=who, data=data) as reply:
            answer = Answer(reply.status, dict(reply.headers), await reply.read())
        assert answer.status < 500 or answer.json["error"]["type"] == "upstream_error", answer.body
        self.answers.append(answer)
        return answer


@contextmanager
def recorded() -> Iterator[Logs]:
    """All that is logged meanwhile, as the command would write it."""
    logs = Logs(io.StringIO(), io.StringIO())
    root = logging.getLogger("turnout")
    before = root.level
    handlers = [logging.StreamHandler(logs.text), logging.StreamHandler(logs.json)]
    handlers[0].setFormatter(TextLines())
    handlers[1].setFormatter(JsonLines())
    for each in handlers:
        root.addHandler(each)
    root.setLevel(logging.INFO)
    try:
        yield logs
    finally:
        root.setLevel(before)
        for each in handlers:
            root.removeHandler(each)


def said(received: Received) -> Script:
    """The upstream says all of it back, too."""
    hostile = NASTY + UNSEEN + FORGED
    match received.json["model"]:
        case "bad":
            return fake.error_reply(400, hostile, hostile, hostile, hostile)
        case "worse":
            return fake.error_reply(500, "x" * LONG)
        case "long":
            return fake.chat_reply("<b>" + "y" * LONG)
        case "stream":
            pieces = ["z" * 65_536] * 160
            return fake.sse(*fake.chat_chunks([NASTY, *pieces]))
        case _:
            return fake.chat_reply(hostile)


def chat(model: str, prompt: str = NASTY, **over: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **over}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def haunted(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Haunted]:
    folder = tmp_path_factory.mktemp("row45")
    async with Upstream() as up:
        up.on(said)
        text = CONFIG.format(url=up.base_url, service=SERVICE_KEY)
        with recorded() as logs:
            async with running(folder, text) as gateway:
                carol = await join(gateway, "carol@example.com", role="admin")
                found = Haunted(gateway, up, carol, logs)
                await name_everything(found)
                await call_in_their_name(found)
                await say_too_much(found)
                yield found


async def name_everything(h: Haunted) -> None:
    """What has a name that an admin or a user gives it."""
    limits = {"budget": {"amount": 1, "per": "month"}}
    owner = {"name": NASTY + UNSEEN + FORGED, "tags": [NASTY[:90], UNSEEN], "limits": limits}
    h.names["key"], h.names["secret"] = await make_key(h.gateway, MASTERLY, **owner)
    made = {
        "name": "made", "display_name": NASTY + UNSEEN, "api_key": "sk-made-of-row-45",
        "base_url": h.up.base_url, "models": [NASTY, "m" + UNSEEN], "allow_private": True,
    }  # fmt: skip
    answer = await h.ask("POST", "/api/v1/providers", MASTERLY, made)
    assert answer.status == 201, answer.body
    override = {"user_id": NASTY, "service_name": UNSEEN, "provider_name": "made"}
    answer = await h.ask("POST", "/api/v1/overrides", MASTERLY, override | {"model_name": NASTY})
    assert answer.status == 201, answer.body
    person = {
        "email": "<img/src=x/onerror=alert(6)>@x.test",
        "name": NASTY,
        "password": "correct horse battery",
    }
    assert (await h.ask("POST", "/api/v1/users", MASTERLY, person)).status == 201
    for path, body in (
        ("/api/v1/providers", made | {"name": "other", "display_name": FORGED}),
        ("/api/v1/overrides", override | {"model_name": FORGED}),
        ("/api/v1/users", person | {"email": "y@example.com", "name": "a" + UNSEEN}),
        ("/api/v1/users", person | {"email": "z\x1b@example.com"}),
    ):
        assert (await h.ask("POST", path, MASTERLY, body)).status == 422, (path, body)


async def call_in_their_name(h: Haunted) -> None:
    """Calls whose every label is hostile, one that fails and one that is refused."""
    who = {
        **bearer(h.names["secret"]),
        "x-turnout-user": NASTY, "x-turnout-service": NASTY, "x-turnout-job": NASTY,
        "x-turnout-metadata": json.dumps({NASTY: [NASTY, UNSEEN, FORGED, "a\0b"]}),
    }  # fmt: skip
    for model, status in ((NASTY, 200), ("bad", 400), (FORGED, 400), ("=1+1", 200)):
        answer = await h.ask("POST", "/v1/chat/completions", who, chat(model))
        assert answer.status == status, (model, answer.body)
        h.names[model] = answer.headers["x-request-id"]
    labels = {"service_name": NASTY + FORGED, "job_id": FORGED, "a": FORGED + UNSEEN}
    more = {"user": "@SUM(A1)" + FORGED + UNSEEN, "metadata": labels}
    answer = await h.ask("POST", "/v1/chat/completions", bearer(h.gateway.key), chat("m", **more))
    assert answer.status == 200, answer.body
    text = {"user_id": NASTY, "service": UNSEEN, "task_type": "t" + NASTY, "prompt": NASTY}
    answer = await h.ask("POST", "/api/v1/generate", SERVICE, text)
    assert answer.status == 200, answer.body
    for path in ("/api/v1/%0A2026%20forged%1B%5B31m", "/v1/" + "p" * 20_000, "/%E2%80%AE%C2%9B"):
        assert (await h.ask("GET", path, MASTERLY)).status == 404


async def say_too_much(h: Haunted) -> None:
    """Ten megabytes wherever they may be said."""
    much = "m" * LONG
    who = bearer(h.gateway.key)
    for model, status in (("m", 200), ("long", 200), ("worse", 502)):
        answer = await h.ask("POST", "/v1/chat/completions", who, chat(model, much))
        assert answer.status == status, answer.body[:500]
    for body in (
        chat(much),
        chat("m", metadata={"a": much}),
        chat("m", **{much: 1}),
        chat("m", user=much),
        {"model": "m", "messages": much},
    ):
        answer = await h.ask("POST", "/v1/chat/completions", who, body)
        assert answer.status in (200, 400), answer.body[:500]
        assert len(answer.body) < 10_000
    for path, body in (
        ("/api/v1/keys", {"name": much}),
        ("/api/v1/keys", {"tags": [much]}),
        ("/api/v1/keys", {"tags": ["t"] * 100_000}),
        ("/api/v1/keys", {"models": [much]}),
        ("/api/v1/keys", {much: much}),
        ("/api/v1/providers", {"name": much}),
        ("/api/v1/overrides", {"user_id": much, "provider_name": "up", "model_name": much}),
        ("/api/v1/users", {"email": much, "name": much, "password": much}),
        ("/api/v1/login", {"email": much, "password": much}),
    ):
        answer = await h.ask("POST", path, MASTERLY, body)
        assert answer.status in (413, 422), (path, answer.body[:500])
        assert len(answer.body) < 10_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def windows(browser: Browser, haunted: Haunted) -> AsyncIterator[Windows]:
    found = Windows(browser, haunted)
    page = await found.page(width=PHONE)
    await page.add_init_script(WATCH)
    yield found
    await found.close()


async def unharmed(page: Page) -> None:
    """Nothing ran, nothing was made, nothing leads elsewhere, and the page fits a phone."""
    assert await page.evaluate(STRANGE) == []
    await fits(page)
    shown = await page.locator("body").inner_text()
    assert len(shown) < 250_000
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]", shown)


PAGES = {
    "overview": MARKUP,
    "requests": MARKUP,
    "requests?service=SERVICE": MARKUP,
    "request?id=GOOD": MARKUP,
    "request?id=BAD": MARKUP,
    "request?id=SERVICE": MARKUP,
    "breakdown?by=model": MARKUP,
    "breakdown?by=service&group=SERVICE": MARKUP,
    "breakdown?by=task": MARKUP,
    "breakdown?by=user": MARKUP,
    "breakdown?by=key": MARKUP,
    "breakdown?by=constructor": "By provider",
    "budgets": MARKUP,
    "cache": "Hit rate",
    "providers": MARKUP,
    "keys": MARKUP,
    "users": MARKUP,
    "overrides": MARKUP,
    "config": "***",
    "account": "Password",
}
"""Every page, and a text that it must show as it is."""


async def test_every_page_shows_it_as_text(windows: Windows, haunted: Haunted) -> None:
    page = await windows.page(width=PHONE)
    ids = {"SERVICE": quote(NASTY), "GOOD": haunted.names[NASTY], "BAD": haunted.names["bad"]}
    for name, words in PAGES.items():
        for word, put in ids.items():
            name = name.replace(word, put)
        await visit(page, haunted, name)
        await expect(page.locator("main")).to_contain_text(words)
        await unharmed(page)
    for name in ("keys", "overrides"):
        await visit(page, haunted, name)
        await expect(page.locator("main")).to_contain_text("⟨U+202E⟩gpj.exe⟨U+2066⟩")
    await refused(windows, 404)  # a request of no such id
    windows.no_faults()


async def test_the_questions_that_are_asked_before_something_is_done(
    windows: Windows, haunted: Haunted
) -> None:
    page = await windows.page(width=PHONE)
    for name, action in (("keys", "Revoke"), ("users", "Remove"), ("overrides", "Remove")):
        await visit(page, haunted, name)
        buttons = page.locator("main").get_by_role("button", name=re.compile(f"^{action} "))
        await buttons.and_(page.locator("[aria-label*='alert(']")).first.click()
        await expect(dialog(page)).to_contain_text("alert(")
        await unharmed(page)
        await dialog(page).get_by_role("button", name="Cancel").click()
    windows.no_faults()


async def test_the_playground(windows: Windows, haunted: Haunted) -> None:
    """Ten megabytes, streamed and whole, are shown cut; typing goes on at once."""
    page = await windows.page(width=PHONE)
    for model, stream in (("stream", True), ("long", False)):
        await visit(page, haunted, f"playground?model={model}")
        await (
            page.locator("select[name='model']").locator("option").first.wait_for(state="attached")
        )
        if not stream:
            await page.get_by_role("checkbox", name="Stream the answer").uncheck()
        await page.locator("textarea[name='message']").fill(NASTY)
        await page.get_by_role("button", name="Send", exact=True).click()
        await expect(page.locator("[data-figure='answer_end']")).to_have_text("whole")
        turns = page.locator("[data-turn] .words")
        assert await turns.first.inner_text() == NASTY
        answer = await turns.last.inner_text()
        assert answer.startswith(MARKUP if stream else "<b>yyyy")
        assert re.fullmatch(r".{50000} … \(10,\d{3},\d{3} characters\)", answer)
        await settled(page)
        await unharmed(page)
        assert await page.evaluate(TYPE, "x") < 1000
        assert await page.evaluate(TYPE, "p" * LONG) < 1000
        await unharmed(page)
    await visit(page, haunted, "playground?model=bad")
    await page.locator("textarea[name='message']").fill("Hello")
    await page.get_by_role("button", name="Send", exact=True).click()
    await expect(page.locator("[data-turn='refused']")).to_contain_text(MARKUP)
    await expect(page.locator("[data-turn='refused']")).to_contain_text("⟨U+001B⟩[31mred")
    await unharmed(page)
    await refused(windows, 400)
    windows.no_faults()


TYPE = """(words) => {
  const box = document.querySelector("textarea[name='message']");
  box.value = words;
  const began = performance.now();
  box.dispatchEvent(new Event("input"));
  const took = performance.now() - began;
  box.value = "";
  return took;
}"""
"""How many milliseconds the page needs for what was typed."""


async def test_the_logs(haunted: Haunted) -> None:
    text = haunted.logs.text.getvalue().removesuffix("\n").split("\n")
    lines = haunted.logs.json.getvalue().removesuffix("\n").split("\n")
    assert len(text) == len(lines) > 20
    for line in text:
        assert line.isprintable()
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ turnout\.", line)
        assert "00:00:00,000 INFO turnout.access: forged" not in line[:60]
    members = [json.loads(line) for line in lines]
    assert all(line.isascii() for line in lines)
    assert max(map(len, text + lines)) < 600_000
    asked = [each for each in members if each["logger"] == "turnout.access"]
    told = [each for each in members if each["logger"] == "turnout.bodies"]
    assert len(asked) > len(haunted.answers)
    assert max(len(each["path"]) for each in asked) == 1000
    assert any("\x9b" in each["path"] and "\u202e" in each["path"] for each in asked)
    assert any(each["request"].endswith("m" * 1000) and each["is_cut"] for each in told)
    assert max(len(each["request"]) for each in told) == 65_536
    assert max(len(each["response"]) for each in told) == 65_536
    assert "secret-of-row-45" not in "".join(text + lines)


async def test_the_books(haunted: Haunted) -> None:
    rows = await haunted.gateway.rows(10) + await haunted.gateway.attempts(8)
    for row in rows:
        lengths = {name: len(value) for name, value in row.items() if isinstance(value, str)}
        assert max(lengths.values()) <= 512, lengths
        assert len(json.dumps(row.get("metadata"))) < 8192 * 6
    files = [each for each in haunted.gateway.home.rglob("*") if each.is_file()]
    assert 10_000 < sum(each.stat().st_size for each in files) < 5_000_000


async def test_the_file_of_a_spreadsheet(haunted: Haunted) -> None:
    answer = await haunted.ask("GET", "/api/v1/usage/export?format=csv", MASTERLY)
    rows = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
    assert {"'=1+1", NASTY} <= {row["model"] for row in rows}
    assert any(row["user_id"].startswith("'@SUM(A1)") for row in rows)
    begins = {value[:1] for row in rows for value in row.values() if value}
    assert not begins & set("=+-@\t\r")
    plain = await haunted.ask("GET", "/api/v1/usage/export", MASTERLY)
    assert any(json.loads(line)["model"] == "=1+1" for line in plain.body.splitlines())
