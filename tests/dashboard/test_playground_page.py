"""The playground, driven in a browser, and the programs that are copied from it."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.dashboard.driving import (
    LOOKS,
    OpenPage,
    booked,
    money,
    press,
    refused,
    the,
)
from tests.dashboard.shown import (
    Site,
    Windows,
    axe,
    cells,
    figure,
    fits,
    visit,
)
from tests.e2e import books
from tests.e2e.books import Mark, Sent
from tests.e2e.test_dialects import npm_package
from tests.fakes import upstream as fake
from tests.fakes.upstream import Received, Script

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The playground.


async def say(page: Page, mark: Mark) -> None:
    await page.get_by_label("Message").fill(mark.text)
    await press(page, "Send")


@pytest.mark.parametrize(("theme", "width"), LOOKS)
async def test_a_conversation_with_all_that_is_known_of_it(
    open_page: OpenPage, site: Site, theme: str, width: int
) -> None:
    page = await open_page(theme, width)
    await visit(page, site, "overrides")
    await visit(page, site, "playground?model=both")
    names = [each["id"] for each in (await site.get("/v1/models"))["data"]]
    shown = await page.locator("[name='model'] option").all_text_contents()
    assert sorted(shown) == sorted(names)
    assert await page.locator("[name='model']").input_value() == "both"
    await page.locator("[name='system']").fill("Be brief.")
    await page.locator("[name='temperature']").fill("0.3")
    await page.locator("[name='max_tokens']").fill("77")
    mark = Mark(f"play{theme}", 1200, 40, 0, "one")
    await say(page, mark)
    answer = page.locator("[data-turn='assistant']")
    await expect(answer.last).to_contain_text(f"answer {mark.id}")
    # The program is the call that was made, until another message is written.
    program = await figure(page, "snippet")
    assert mark.text[:40] in program
    assert '"assistant"' not in program
    row = await booked(site, mark, site.carol.id, site.carol.id)
    assert (row.provider, row.attempts, row.cost) == ("two", 2, 3_800_000)
    assert await the(page, "answer_end") == "whole"
    assert await the(page, "answer_status") == "200"
    assert await the(page, "answer_cache") == "miss"
    assert await the(page, "answer_tokens") == "1,200 in, 40 out"
    assert await the(page, "answer_cost") == "$0.0038"
    assert await the(page, "x-turnout-provider") == "two"
    assert await the(page, "x-turnout-attempts") == "2"
    assert re.fullmatch(r"[\d.]+ (ms|s)", await the(page, "answer_first"))
    assert await the(page, "booked_target") == "two/m-2"
    assert await the(page, "booked_cost") == money(row.cost)
    assert (await the(page, "booked_tokens")).startswith("1,200 in, 40 out")
    attempts = await cells(page)
    assert attempts["attempt:1"]["target"] == "one/m-1"
    assert attempts["attempt:1"]["status"] == "500"
    assert (attempts["attempt:2"]["target"], attempts["attempt:2"]["status"]) == ("two/m-2", "200")
    sent = site.world.two.log[-1].json
    assert (sent["temperature"], sent["max_tokens"], sent["stream"]) == (0.3, 77, True)
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    await fits(page)
    await axe(page)

    # A second turn has the first one with it; without a stream the answer is whole at once.
    await page.get_by_text("Stream the answer").click()
    second = Mark(f"more{theme}", 50, 5)
    await say(page, second)
    await expect(answer.last).to_contain_text(f"answer {second.id}")
    sent = site.world.one.log[-1].json
    assert [message["role"] for message in sent["messages"]] == [
        "system", "user", "assistant", "user",
    ]  # fmt: skip
    assert sent["messages"][2]["content"] == f"answer {mark.id}"
    row = await booked(site, second, site.carol.id, site.carol.id)
    assert await the(page, "answer_cost") == money(row.cost) == "$0.00006"
    assert await the(page, "x-turnout-cost-usd") == "0.00006"
    assert await the(page, "booked_cost") == "$0.00006"

    # Asked again it is a hit, unless the cache is told not to.
    await page.get_by_role("button", name="Edit from here").last.click()
    await press(page, "Send")
    await expect(page.locator("[data-figure='answer_cache']")).to_contain_text("hit; tier=exact")
    assert await the(page, "booked_cached") == "yes"
    assert await the(page, "booked_saved") == "$0.00006"
    await booked(site, second, site.carol.id, site.carol.id)
    await page.locator("[name='cache']").select_option("no-store")
    await press(page, "Clear")
    await expect(answer).to_have_count(0)


def streams(script: Callable[[], Script]) -> Callable[[Received], Script | None]:
    plain = books.answering("one")

    def match(received: Received) -> Script | None:
        return script() if b"[[odd" in received.body else plain(received)

    return match


@pytest.mark.parametrize(("theme", "width"), LOOKS)
async def test_a_stream_that_breaks_never_looks_whole(
    open_page: OpenPage, windows: Windows, site: Site, theme: str, width: int
) -> None:
    page = await open_page(theme, width)
    await visit(page, site, "overrides")
    await visit(page, site, "playground?model=one/m-1")
    await expect(page.locator("[name='model']")).to_have_value("one/m-1")
    cut = fake.sse(*fake.chat_chunks(["half of ", "an answer"], finish=None), done=False)
    site.world.one.on(streams(lambda: [*cut[:-1], fake.Reset()]))
    try:
        await say(page, Mark(f"odd{theme}", 10, 1))
        broken = page.locator("[data-turn='broken']")
        await expect(broken).to_contain_text("half of an answer")
        await expect(broken).to_contain_text("broke off")
        assert await the(page, "answer_end") == "broken"
        await expect(page.locator("[data-turn='assistant']")).to_have_count(0)
        await expect(page.get_by_label("Message")).to_have_value(re.compile("odd"))
        await axe(page)
        before = len(site.world.one.log)
        stalled = fake.sse(*fake.chat_chunks(["the first words "], finish=None), done=False)[:-1]
        site.world.one.on(streams(lambda: [*stalled, fake.Stall()]))
        await press(page, "Send")
        await expect(page.locator("[data-turn='assistant']")).to_contain_text("the first words")
        await press(page, "Stop")
        await expect(page.locator("[data-turn='stopped']")).to_contain_text("the first words")
        assert await the(page, "answer_end") == "stopped"
        assert len(site.world.one.log) == before + 1
        await site.world.one.wait_until_closed(5)
        site.world.one.on(streams(lambda: fake.error_reply(400, "not like that")))
        await press(page, "Send")
        await expect(page.locator("[data-turn='refused']")).to_contain_text("not like that")
        await refused(windows, 400)
        assert await the(page, "answer_status") == "400"
        assert (await the(page, "answer_id")).startswith("req_")
        await the(page, "booked_outcome")
    finally:
        site.world.one.on(books.answering("one"))


@pytest.mark.parametrize("stream", [True, False])
async def test_what_is_copied_runs(
    open_page: OpenPage, site: Site, tmp_path: Path, stream: bool
) -> None:
    """With quotes of every kind in it."""
    page = await open_page()
    await visit(page, site, "overrides")
    await visit(page, site, "playground?model=both")
    await page.locator("[name='system']").fill('It\'s "brief" \\ $HOME `ls`\nüber 100 %')
    await page.locator("[name='temperature']").fill("0")
    await page.locator("[name='cache']").select_option("no-store")
    await page.locator("[name='stream']").set_checked(stream)
    expected: list[Any] = []
    for form, label in (
        ("curl", "curl"),
        ("py", "Python"),
        ("mjs", "JavaScript"),
        ("mjs", "fetch"),
    ):
        mark = Mark(f"copied-{label}-{stream}", 40, 4)
        await page.get_by_label("Message").fill(f'Don\'t say "no". {mark.text}')
        await page.get_by_role("radio", name=label, exact=True).check()
        code = (await figure(page, "snippet")).replace("YOUR_TURNOUT_KEY", site.world.plain_key[1])
        assert f"{site.url}/v1" in code
        said = await run(form, code, tmp_path)
        if label in ("curl", "fetch") and stream:
            assert said.rstrip().endswith("data: [DONE]"), said
            said = joined(said)
        elif label == "curl":
            said = json.loads(said)["choices"][0]["message"]["content"]
        assert said.strip() == f"answer {mark.id}"
        sent = site.world.one.log[-1]
        expected.append(sent.json)
        assert sent.json["messages"] == [
            {"role": "system", "content": 'It\'s "brief" \\ $HOME `ls`\nüber 100 %'},
            {"role": "user", "content": f'Don\'t say "no". {mark.text}'},
        ]
        assert sent.json["temperature"] == 0
        site.world.sent.append(Sent(mark, site.world.plain_key[0], None, site.world.plain_key[0]))
    assert len(expected) == 4


async def run(form: str, code: str, folder: Path) -> str:
    """A program's output, with nothing of it in the environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    if form == "curl":
        command = ["sh", "-c", code]
    elif form == "py":
        command = [sys.executable, "-c", code]
    else:
        folder = npm_package()
        command = ["node", "--input-type=module", "-e", code]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=kept, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    return out.decode()


def joined(events: str) -> str:
    """The words of a stream."""
    datas = [line[6:] for line in events.splitlines() if line.startswith("data: {")]
    choices = [choice for data in datas for choice in json.loads(data)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)
