"""Every code block of README.md and docs/ is run, or checked by its language.

`tests.docs.blocks` finds them; a page is a `Session`, whose blocks are done in order. A block that
no rule takes fails its page. What can't be run says so in a comment before it, and stands here.
"""

import re
import time
from collections.abc import Callable

import pytest

from proxy.sinks.base import NAMES
from tests.docs import rules
from tests.docs.blocks import ROOT, Block, every_block
from tests.docs.rules import check_json, check_shown, check_webhook, check_yaml, send
from tests.docs.session import SERVE, Fault, Session
from tests.docs.stage import ALERT_SECRET, Stage

NOT_RUN = [
    ("docs/chaos.md", "takes hours; tests/chaos/test_chaos.py has the short forms"),
    ("docs/clients.md", "aider-chat brings 690 MB and takes a minute to install"),
    ("docs/clients.md", "a file of aider's"),
    ("docs/clients.md", "needs Claude Code"),
    ("docs/clients.md", "needs docker"),
    ("docs/fuzzing.md", "takes an hour; tests/fuzz/test_fuzz.py has the short form"),
    ("docs/fuzzing.md", "takes minutes; tests/fuzz/test_api.py has the short form"),
    ("docs/fuzzing.md", "takes minutes; tests/fuzz/test_injection.py has the short form"),
    ("docs/operations.md", "needs root"),
    ("docs/operations.md", "needs docker"),
    ("docs/operations.md", "needs docker"),
    ("docs/operations.md", "needs kubectl and a cluster"),
    ("docs/operations.md", "needs a certificate"),
    (
        "docs/operations.md",
        "needs a home; tests/deploy/test_operations.py runs it: backup-sqlite",
    ),
    (
        "docs/operations.md",
        "needs a backup; tests/deploy/test_operations.py runs it: restore-sqlite",
    ),
    (
        "docs/operations.md",
        "needs PostgreSQL; tests/deploy/test_operations.py runs it: backup-postgresql",
    ),
    (
        "docs/operations.md",
        "needs a backup; tests/deploy/test_operations.py runs it: restore-postgresql",
    ),
    (
        "docs/quick-start.md",
        "installs from the network; the README's own commands, which CI runs, do the same",
    ),
]
"""(page, reason) of every block that says of itself that it can't be run, in the pages' order."""

COMMANDS = [("README.md", "run"), ("README.md", "test")]
"""Blocks that `.ci/run` takes out of their page and runs."""

TEXTS = [
    ("README.md", "export OPENAI_BASE_URL", "printed at the first start: tests/e2e/test_serve.py"),
    ("README.md", "proxy/", "the layout: looked up below"),
    ("docs/api.md", '{"index":0,"status":"stored"', "lines of a warming: tests/proxy/doors"),
    ("docs/configuration.md", "config.yaml:12", "a fault: tests/proxy/test_config.py"),
    ("docs/dashboard-api.md", "default-src", "a header: tests/proxy/doors/test_dashboard.py"),
    ("docs/limits.md", "x-ratelimit-limit-requests", "headers: tests/e2e/test_limits.py"),
    ("docs/quick-start.md", "export OPENAI_BASE_URL", "printed at the first start"),
    ("docs/secrets.md", "auth.encryption_key", "a drawing"),
]
"""(page, how it begins, why it is not compared) of each text that stands below no command."""

AFTER = {
    "docs/alerts.md": """
import os
given = [os.environ[name] for name in ("HOOK_AT", "HOOK_BODY", "HOOK_SIGN")]
assert is_turnouts(os.environ["HOOK_SECRET"], given[0], given[1].encode(), given[2])
assert not is_turnouts("another secret", given[0], given[1].encode(), given[2])
""",
    "docs/llm-wrapper.md": "\nimport asyncio\nassert asyncio.run(ask()) == 'Hello there'\n",
}
"""Page -> what is done with what its Python block defines."""

BEFORE = {
    "docs/trpc.md": "const key = process.env.KEY;\n"
    'const messages = [{ role: "user", content: "Hi" }];\n',
}
"""Page -> what its JavaScript takes as known."""

SHELLS = {"sh", "bash", "shell", "console"}
SCRIPTS = {"js", "javascript", "ts", "typescript", "mjs"}
PAGES = sorted({block.page for block in every_block()})

SHOWN_IN = {
    "docs/control-plane.md": (
        '"status":"error"',
        '"summary"',
    ),  # one of two fails; nothing does here
}
"""Page -> words of lines that only another course of things would print."""


@pytest.mark.parametrize("session", PAGES, indirect=True, ids=PAGES)
def test_the_blocks_of(session: Session, request: pytest.FixtureRequest) -> None:
    page = request.node.callspec.params["session"]
    found = [block for block in every_block() if block.page == page]
    if any(block.language in SHELLS and SERVE.search(block.text) for block in found):
        session.own()
    faults = []
    for block in found:
        try:
            print(block.place, block.language, play(block, session))
        except Fault as fault:
            faults.append(str(fault))
    rules.check_installed(session.installed)
    assert not faults, "\n\n".join(faults)
    if page == "docs/clients.md":
        clients_are_on_the_books(session.stage)


def clients_are_on_the_books(stage: Stage) -> None:
    """Each client's service, customer and task got through."""
    clients = ("curl", "openai-python", "openai-js", "anthropic", "langchain")
    clients += ("llama-index", "pydantic-ai", "ai-sdk", "llm")
    for _ in range(50):  # rows are written a moment after their answer
        rows = stage.call("GET", "/api/v1/usage/requests?limit=500").json()["data"]
        told = {
            (row["service_name"], row["user_id"], row["task_type"])
            for row in rows
            if (row["service_name"] or "").startswith("with-")
        }
        if len(told) == len(clients):
            break
        time.sleep(0.1)
    assert told == {(f"with-{name}", "customer-1", "scoring") for name in clients}


def play(block: Block, session: Session) -> str:
    """Does with a block what its mark or language says; what was done."""
    if block.marked("not run") is not None or block.marked("command") is not None:
        return block.mark
    if block.mark.startswith("checked by "):
        return checked_elsewhere(block)
    saved = block.marked("file")
    if saved is not None:
        session.save(saved, block.text)
    if block.language in SHELLS:
        session.shell(block)
    elif block.language in SCRIPTS:
        session.javascript(block, BEFORE.get(block.page, ""))
    elif block.language == "python":
        session.python(block, AFTER.get(block.page, ""), hook_of(block, session))
    elif block.language in CHECKS:
        return CHECKS[block.language](block, session)
    else:
        raise Fault(f"{block.place}: no rule for the language {block.language or 'of none'!r}")
    return "run"


def checked_elsewhere(block: Block) -> str:
    place = block.mark.removeprefix("checked by ").partition(":")[0]
    if not (ROOT / place).exists() or not place.startswith("tests/"):
        raise Fault(f"{block.place}: there is no {place}")
    return block.mark


def hook_of(block: Block, session: Session) -> dict[str, str]:
    """The event that the webhook was told, for the page that checks its signature."""
    if block.page != "docs/alerts.md":
        return {}
    received = session.stage.hooked()
    return {
        "HOOK_SECRET": ALERT_SECRET,
        "HOOK_AT": received.header("x-turnout-timestamp") or "",
        "HOOK_SIGN": received.header("x-turnout-signature") or "",
        "HOOK_BODY": received.body.decode(),
    }


def play_http(block: Block, session: Session) -> str:
    if block.page == "docs/alerts.md":
        return check_webhook(block, session)
    _, made = session.stage.make_key()
    return send(block, session, {"{id}": made})


def play_text(block: Block, session: Session) -> str:
    out = session.shown_by(block)
    if out is not None and not is_listed(block):
        return check_shown(block, out, SHOWN_IN.get(block.page, ()))
    if is_listed(block):
        return "listed"
    raise Fault(f"{block.place}: a text below no command: say in TEXTS why it is not compared")


def is_listed(block: Block) -> bool:
    return any(page == block.page and block.text.startswith(start) for page, start, _ in TEXTS)


def play_sql(block: Block, session: Session) -> str:
    if rules.columns_of(block) != list(NAMES):
        raise Fault(f"{block.place}: the sinks write {NAMES}")
    return "compared"


CHECKS: dict[str, Callable[[Block, Session], str]] = {
    "yaml": lambda block, session: check_yaml(block, session.folder),
    "json": check_json,
    "http": play_http,
    "text": play_text,
    "sql": play_sql,
}


def test_what_is_not_run_is_known() -> None:
    """A block that is not run has to be entered here, with its reason."""
    said = [(b.page, b.marked("not run")) for b in every_block() if b.marked("not run") is not None]
    assert said == NOT_RUN
    ci = [(b.page, b.marked("command")) for b in every_block() if b.marked("command") is not None]
    assert ci == COMMANDS


def test_no_listed_text_is_gone() -> None:
    texts = [(b.page, b.text) for b in every_block() if b.language == "text"]
    gone = [
        entry
        for entry in TEXTS
        if not any(page == entry[0] and text.startswith(entry[1]) for page, text in texts)
    ]
    assert gone == []


def test_the_layout_that_the_readme_draws_is_there() -> None:
    drawn = next(b.text for b in every_block() if b.text.startswith("proxy/\n"))
    folder = ""
    missing: list[str] = []
    for line in drawn.splitlines():
        if not line.startswith(" "):
            folder = line.strip()
        names = re.findall(r"(?<![\w*])\w+\.py\b", line)
        missing += [folder + name for name in names if not list((ROOT / folder).rglob(name))]
    assert missing == []
