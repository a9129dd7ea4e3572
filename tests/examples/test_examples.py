"""The examples as somebody would run them: programs of their own, against a real `turnout serve`
with the embedded model and examples/config.yaml. What they did is judged by the books."""

import csv
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.e2e.test_serve import Served, serving
from tests.local_model import lend

EXAMPLES = Path(__file__).parents[2] / "examples"
MASTER = "the master key of these examples"
SERVICE_KEY = "the service key of these examples"
PERSON = {"email": "caller@example.com", "password": "a secret of the examples"}
PROGRAMS = (
    "feedback_analyzer.py",
    "lead_qualification.py",
    "marketing_posts.py",
    "monthly_bill.py",
    "support_chat.py",
)
NEEDED = {
    "feedback_analyzer.py": ["--user", "u"],
    "lead_qualification.py": ["--job", "j"],
    "marketing_posts.py": [],
    "monthly_bill.py": [],
    "support_chat.py": ["Hello"],
}


class World(NamedTuple):
    """A gateway that serves, and its operator."""

    served: Served
    admin: httpx.Client

    def key(self, name: str) -> str:
        made = self.admin.post("/api/v1/keys", json={"name": name})
        assert made.status_code == 201, made.text
        return str(made.json()["key"])

    def rows(self, service: str, count: int) -> list[dict[str, Any]]:
        """The rows of a service, once there are as many."""
        query = f"/api/v1/usage/export?format=jsonl&days=1&service={service}"
        for _ in range(200):
            found = [json.loads(line) for line in self.admin.get(query).text.splitlines()]
            if len(found) >= count:
                break
            time.sleep(0.05)
        assert len(found) == count, found
        return found

    def run(self, program: str, *args: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        """A program of the examples, with nothing in its environment but these settings."""
        given = {"OPENAI_BASE_URL": self.served.base_url, **settings}
        return run(program, *args, **given)


def run(program: str, *args: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [sys.executable, "-W", "error", str(EXAMPLES / program), *args]
    return subprocess.run(
        command,
        env=kept | {"PYTHONIOENCODING": "utf-8"} | settings,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def worked(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("examples")
    lend(folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TURNOUT_MASTER_KEY", MASTER)
        patch.setenv("TURNOUT_SERVICE_KEY", SERVICE_KEY)
        with serving(folder, "--config", str(EXAMPLES / "config.yaml")) as served:
            headers = {"authorization": f"Bearer {MASTER}"}
            root = served.base_url.removesuffix("/v1")
            with httpx.Client(base_url=root, headers=headers, timeout=20) as admin:
                yield World(served, admin)


def test_feedback_is_summed_up(world: World) -> None:
    said = worked(
        world.run(
            "feedback_analyzer.py",
            *("--user", "user123", "--positive", "Fast", "--negative", "Dear", "Late"),
            *("--max-tokens", "24"),
            OPENAI_API_KEY=world.key("feedback"),
        )
    )
    found = json.loads(said)
    assert found["summary"]
    [row] = world.rows("feedback_analyzer", 1)
    assert found["tokens"] == row["input_tokens"] + row["output_tokens"]
    assert (row["user_id"], row["endpoint"]) == ("user123", "/v1/chat/completions")
    assert (row["provider_name"], row["model"]) == ("local", "smollm2")
    assert row["metadata"] == {"positive_count": 1, "negative_count": 2}


def test_leads_are_scored(world: World, tmp_path: Path) -> None:
    leads = tmp_path / "leads.jsonl"
    leads.write_text('{"name": "Chez Paul", "rating": 4.5}\n{"name": "Garage Roy", "old": true}\n')
    said = worked(
        world.run(
            "lead_qualification.py",
            *("--job", "fair-7", str(leads)),
            OPENAI_API_KEY=world.key("leads"),
        )
    )
    head, *lines = said.splitlines()
    assert head.split() == ["score", "priority", "lead", "what", "hurts"]
    scored = [re.fullmatch(r" *(\d+)  (high|medium|low) +(\S+ \S+)  .*", line) for line in lines]
    assert sorted(match.group(3) for match in scored if match) == ["Chez Paul", "Garage Roy"]
    scores = [int(match.group(1)) for match in scored if match]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 100 for score in scores)
    for row in world.rows("lead_qualification", 2):
        assert (row["task_type"], row["job_id"]) == ("lead_qualification", "fair-7")
        assert (row["provider_name"], row["status_code"]) == ("local", 200)


def test_a_chat_goes_on_where_it_was(world: World) -> None:
    made = world.admin.post("/api/v1/users", json=PERSON)
    assert made.status_code == 201, made.text
    questions = ["Where is my parcel?", "And if nobody is at home?"]
    said = worked(
        world.run(
            "support_chat.py",
            *questions,
            *("--max-tokens", "12"),
            TURNOUT_EMAIL=PERSON["email"],
            TURNOUT_PASSWORD=PERSON["password"],
        )
    )
    assert re.findall(r"^you: (.+)\nsupport: \s*\S", said, re.MULTILINE) == questions
    assert "'Where is my parcel?': 5 messages kept" in said  # how to behave, and two of each
    first, second = world.rows("support_chat", 2)
    assert {first["user_id"], second["user_id"]} == {made.json()["id"]}
    assert second["input_tokens"] > first["input_tokens"], "what was said before came along"
    assert re.search(
        r"^your last 30 days: \d questions, \d+ tokens, [\d.]+ USD$", said, re.MULTILINE
    )


def test_posts_and_the_figures_of_the_week(world: World) -> None:
    key = world.key("posts")
    posts = ("Le Gourmet, restaurant, Québec", "Studio Lune, yoga, Laval")
    said = worked(world.run("marketing_posts.py", *posts, "--max-tokens", "12", OPENAI_API_KEY=key))
    for post in posts:
        assert re.search(rf"^{post} \(local/smollm2, \d+ ms\):\n\S", said, re.MULTILINE), said
    rows = world.rows("marketing_posts", 2)
    assert {row["task_type"] for row in rows} == {"content_generation"}
    again = worked(world.run("marketing_posts.py", OPENAI_API_KEY=key))
    tokens = sum(row["input_tokens"] + row["output_tokens"] for row in rows)
    usd = sum(row["input_tokens"] + 4 * row["output_tokens"] for row in rows) / 1e6
    assert f"2 calls, {tokens} tokens, {1.37 * usd:.6f} CAD" in again
    assert re.search(rf"task +content_generation +2 calls +{1.37 * usd:.6f} CAD", again)
    assert "circuit of local: CLOSED" in again


def test_a_bill_by_customer(world: World, tmp_path: Path) -> None:
    service = {"TURNOUT_SERVICE_KEY": SERVICE_KEY}
    said = worked(
        world.run(
            "monthly_bill.py",
            *("--note", "acme", "--note", "globex", "--max-tokens", "12"),
            **service,
        )
    )
    assert re.search(r"^a note for acme costs 0\.0000\d\d USD at most$", said, re.MULTILINE)
    assert len(re.findall(r"^  it cost 0\.0000\d\d: \S", said, re.MULTILINE)) == 2
    rows = world.rows("monthly_bill", 2)
    assert {row["task_type"] for row in rows} == {"monthly_bill"}
    bill = tmp_path / "bill.csv"
    again = worked(world.run("monthly_bill.py", "--csv", str(bill), **service))
    for row in rows:
        usd = (row["input_tokens"] + 4 * row["output_tokens"]) / 1e6
        assert re.search(rf"^{row['user_id']} +1 +{usd:.6f}$", again, re.MULTILINE), again
    with bill.open(encoding="utf-8", newline="") as file:
        exported = list(csv.DictReader(file))
    assert sorted(row["user_id"] for row in exported) == ["acme", "globex"]
    assert list(tmp_path.iterdir()) == [bill]


def test_what_is_refused_is_said_in_a_line(world: World) -> None:
    wrong = {"TURNOUT_EMAIL": "caller@example.com", "TURNOUT_PASSWORD": "a wrong one"}
    settings = {"OPENAI_API_KEY": "sk-turnout-none", "TURNOUT_SERVICE_KEY": "none", **wrong}
    for program in PROGRAMS:
        done = world.run(program, *NEEDED[program], **settings)
        assert done.returncode == 1, program
        assert "401" in done.stdout + done.stderr, program
        assert "Traceback" not in done.stderr, program


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_not_set_is_named(program: str) -> None:
    done = run(program, *NEEDED[program])
    assert done.returncode == 1
    assert re.search(r"(OPENAI|TURNOUT)_\w+ is not set", done.stdout + done.stderr)
    assert "Traceback" not in done.stderr


def test_a_gateway_that_is_away() -> None:
    settings = {
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "OPENAI_API_KEY": "k",
        "TURNOUT_SERVICE_KEY": "s",
    }
    done = run("monthly_bill.py", **settings)
    assert done.returncode == 1
    assert done.stderr.startswith("no answer from http://127.0.0.1:9: ")


def test_every_program_is_short_and_listed() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    programs = {path.name for path in EXAMPLES.glob("*.py")}
    assert programs == {*PROGRAMS, "connection.py", "llm_wrapper.py"}
    for name in programs:
        assert f"`{name}`" in readme
        assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) < 120
