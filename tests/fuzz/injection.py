"""Texts that do harm elsewhere, put wherever the control plane takes a text.

`python -m tests.fuzz.injection` puts each of `tests.fuzz.payloads` in each place, on SQLite or
(`--database postgresql`) PostgreSQL; `--each N` only N of them. The exit status is 1 when an answer
was a failure of Turnout's own, came late, was another than an unknown value gets, or when the
database was left changed. See docs/fuzzing.md.
"""

import argparse
import asyncio
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
from sqlalchemy import func, select, text

from proxy.storage.engine import open_database
from proxy.storage.schema import metadata
from tests.fuzz.api import document
from tests.fuzz.payloads import EVERYWHERE, LINES, SQL
from tests.fuzz.stage import PASSWORD, Stage, staged
from tests.servers import KINDS, new_url

HERE = "@@"
"""Where in a request a payload goes."""

UNKNOWN = "zz-nobody-has-this"
LATE = 5.0  # seconds; what tells the time asks for 10
REFUSED = frozenset({400, 401, 403, 404, 405, 413, 422, 429, 431})
CHAT = {"model": "up/m-1", "messages": [{"role": "user", "content": "Hi"}]}
GROWS = frozenset({"requests", "attempts", "rollups", "owner_rollups", "messages", "user_keys"})
"""Tables that calls are booked in, or that a call changes a row of."""

_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


NOTHING: Mapping[str, str] = MappingProxyType({})


class Place(NamedTuple):
    """A request with a place for a payload, and who sends it."""

    method: str
    path: str
    query: Mapping[str, str] = NOTHING
    headers: Mapping[str, str] = NOTHING
    body: Any = None
    who: str = "master"
    is_read: bool = False  # an answer must be the one that an unknown value gets
    makes: str = ""  # the table that has one row more after a 201

    @property
    def name(self) -> str:
        rest = [str(part) for part in (self.query, self.headers, self.body) if part]
        return f"{self.method} {self.path} {' '.join(rest)} as {self.who}"


@dataclass
class Outcome:
    """What came of a run."""

    sent: int = 0
    findings: dict[str, str] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)  # table -> rows

    def find(self, place: Place, what: str, payload: str, said: object) -> None:
        self.findings.setdefault(f"{place.name}: {what}", f"{payload[:200]!r} -> {said}")


def filled(value: Any, payload: str) -> Any:
    """JSON with the payload where it goes, as a value or a member's name."""
    if isinstance(value, str):
        return value.replace(HERE, payload)
    if isinstance(value, list):
        return [filled(each, payload) for each in value]
    if isinstance(value, Mapping):
        return {filled(name, payload): filled(each, payload) for name, each in value.items()}
    return value


def send(client: httpx.Client, place: Place, payload: str) -> httpx.Response | None:
    """The answer; None where HTTP has no way to send it."""
    if place.headers and (_UNSENDABLE.search(payload) or payload != payload.strip()):
        return None
    return client.request(
        place.method,
        place.path.replace(HERE, quote(payload, safe="")),
        params=filled(place.query, payload) or None,
        headers={name: filled(each, payload).encode() for name, each in place.headers.items()},
        json=None if place.body is None else filled(place.body, payload),
    )


def probe(stage: Stage, places: Sequence[Place], each: int, payloads: Sequence[str]) -> Outcome:
    """Puts `each` of the payloads in each place, dealt in turn, and what goes everywhere."""
    outcome = Outcome()
    clients = {who: stage.client(who) for who in stage.headers}
    turn = 0
    for place in places:
        usual = send(clients[place.who], place, UNKNOWN) if place.is_read else None
        dealt = [payloads[(turn + n) % len(payloads)] for n in range(min(each, len(payloads)))]
        for payload in dict.fromkeys((*EVERYWHERE, *dealt)):
            begun = time.monotonic()
            try:
                came = send(clients[place.who], place, payload)
            except httpx.TransportError as error:
                outcome.find(place, "was not answered", payload, error)
                continue
            if came is not None:
                outcome.sent += 1
                _judge(outcome, place, payload, came, usual, time.monotonic() - begun)
        turn += each
    for client in clients.values():
        client.close()
    return outcome


def _judge(
    outcome: Outcome,
    place: Place,
    payload: str,
    came: httpx.Response,
    usual: httpx.Response | None,
    seconds: float,
) -> None:
    if came.status_code >= 500 and came.status_code != 501:
        outcome.find(place, f"answered {came.status_code}", payload, came.text[:300])
    if seconds > LATE:
        outcome.find(place, "came late", payload, f"{seconds:.1f} s")
    if "x-injected" in came.headers:
        outcome.find(place, "has a header of the payload's", payload, dict(came.headers))
    if came.status_code == 201 and place.makes:
        outcome.made[place.makes] = outcome.made.get(place.makes, 0) + 1
    if usual is None or came.status_code in REFUSED:
        return
    if (came.status_code, came.content) != (usual.status_code, usual.content):
        outcome.find(place, "is not what an unknown value gets", payload, came.text[:300])


# The database.


class State(NamedTuple):
    """What a database holds: its schema, how many rows a table has, and who may do what."""

    schema: tuple[str, ...]
    counts: dict[str, int]
    accounts: frozenset[tuple[Any, ...]]


_SCHEMA = {
    "sqlite": "SELECT name || coalesce(sql, '') FROM sqlite_master ORDER BY name",
    "postgresql": "SELECT table_schema || '.' || table_name || '.' || column_name || data_type"
    " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1",
}


async def state_of(database: str, home: Path) -> State:
    engine = await open_database(database, home)
    tables = metadata.tables
    try:
        async with engine.connect() as connection:
            schema = await connection.execute(text(_SCHEMA[engine.dialect.name]))
            counts = {
                name: (await connection.execute(select(func.count()).select_from(table))).scalar()
                for name, table in tables.items()
            }
            users, keys = tables["users"], tables["keys"]
            who = await connection.execute(
                select(users.c.id, users.c.email, users.c.role, users.c.password_hash)
            )
            what = await connection.execute(select(keys.c.id, keys.c.digest, keys.c.revoked_at))
            accounts = frozenset(map(tuple, [*who, *what]))
            return State(tuple(schema.scalars()), {n: c or 0 for n, c in counts.items()}, accounts)
    finally:
        await engine.dispose()


def changes(before: State, after: State, made: dict[str, int]) -> list[str]:
    """What is otherwise than the answers say."""
    found = [] if before.schema == after.schema else ["the schema is another"]
    if not before.accounts <= after.accounts:
        found.append(f"accounts are not as they were: {before.accounts - after.accounts}")
    for name, count in before.counts.items():
        grown = after.counts[name] - count
        if grown < 0 or (name not in GROWS and grown != made.get(name, 0)):
            found.append(f"{name} has {grown} rows more, not {made.get(name, 0)}")
    return found


# The places.


def read_places(said: dict[str, Any]) -> Iterator[Place]:
    """Every parameter of what only reads, or ends what is named, by the API's own document."""
    for path, item in said["paths"].items():
        for method, operation in item.items():
            parameters = operation["parameters"]
            in_path = {each["name"]: UNKNOWN for each in parameters if each["in"] == "path"}
            if "requestBody" not in operation and path != "/api/v1/logout":
                yield from _of(method.upper(), path, parameters, in_path)


def _of(
    method: str, path: str, parameters: list[dict[str, Any]], in_path: dict[str, str]
) -> Iterator[Place]:
    for each in parameters:
        name = each["name"]
        if each["in"] == "path":
            yield Place(method, path.format_map(in_path | {name: HERE}), is_read=True)
        elif method in ("GET", "DELETE"):
            for who in ("master", "user"):
                is_text = "string" in str(each["schema"]) and "boolean" not in str(each["schema"])
                filled_in = path.format_map(in_path)
                yield Place(method, filled_in, {name: HERE}, who=who, is_read=is_text)


PEOPLE = (
    Place("POST", "/api/v1/users", body={"email": f"{HERE}@example.com"}, makes="users"),
    Place("POST", "/api/v1/users", body={"email": HERE}, makes="users"),
    Place("POST", "/api/v1/login", body={"email": HERE, "password": PASSWORD}),
    Place("POST", "/api/v1/login", body={"email": "someone@example.com", "password": HERE}),
    Place("POST", "/v2/login/access-token", body={"username": HERE, "password": HERE}),
    Place("POST", "/api/v1/users/me/password", body={"old": HERE, "new": HERE}, who="user"),
    Place("PATCH", f"/api/v1/users/{HERE}", body={"name": "x"}),
    Place("PATCH", "/api/v1/users/me/api-keys", body={"keys": {HERE: HERE}}, who="user"),
    Place("PATCH", "/api/v1/users/me/api-keys", body={"keys": {"up": HERE}}, who="user"),
    Place("PATCH", "/v2/users/me/api-key", body={f"{HERE}_api_key": "sk-x"}, who="user"),
    Place("PATCH", "/v2/users/me/api-key", body={"openai_api_key": HERE}, who="user"),
    Place("PUT", f"/v2/admin/llm-keys/{HERE}", body={"api_key": "sk-x"}),
    Place("POST", "/api/v1/keys", body={"name": HERE}, makes="keys"),
    Place("POST", "/api/v1/keys", body={"user_id": HERE}, makes="keys"),
    Place("POST", "/api/v1/keys", body={"models": [HERE], "tags": [HERE]}, makes="keys"),
    Place("POST", "/api/v1/keys", body={"expires": HERE}, makes="keys"),
    Place("POST", "/api/v1/keys", body={"limits": {HERE: 1}, "cache": {HERE: 1}}, makes="keys"),
    Place("POST", "/api/v1/keys", body={HERE: HERE}, makes="keys"),
    Place("PATCH", f"/api/v1/keys/{HERE}", body={"name": HERE}),
)

_PROVIDER = {"name": UNKNOWN, "display_name": "x", "api_key": "sk-x", "models": ["m"]}
_OVERRIDE = {"user_id": "u", "provider_name": "up", "model_name": "m-1"}
_GENERATE = {"user_id": "u", "service": "s", "task_type": "echo", "prompt": "Hi"}

PLACES = (
    *PEOPLE,
    Place("POST", "/api/v1/users", body={"email": "someone@example.com", "name": HERE}),
    *(
        Place("POST", "/api/v1/providers", body=_PROVIDER | changed, makes="providers")
        for changed in (
            {"name": HERE}, {"base_url": HERE}, {"base_url": f"https://x.example/{HERE}"},
            {"dialect": HERE}, {"name": "up", "display_name": HERE, "api_key": HERE},
            {"name": "up", "models": [HERE]},
        )
    ),
    Place("PATCH", f"/api/v1/providers/{HERE}", body={"display_name": HERE}),
    *(
        Place("POST", "/api/v1/overrides", body=_OVERRIDE | {name: HERE}, makes="overrides")
        for name in ("user_id", "service_name", "provider_name", "model_name")
    ),
    Place("POST", "/api/v1/breakers/reset", body={"provider": HERE}),
    *(
        Place("POST", "/api/v1/cache/invalidate", body={name: HERE})
        for name in ("pattern", "model", "task", "tag", "epoch", "id")
    ),
    *(
        Place("POST", "/api/v1/generate", body=_GENERATE | {name: HERE}, who=who)
        for name in ("user_id", "service", "task_type", "prompt", "system")
        for who in ("master", "service")
    ),
    *(
        Place("POST", "/api/v1/estimate", body=_GENERATE | {name: HERE})
        for name in ("user_id", "service", "task_type", "prompt", "model")
    ),
    Place("POST", "/api/v1/batch", body={"requests": [_GENERATE | {"prompt": HERE}]}),
    Place("POST", "/api/llm", body={"taskType": HERE}),
    Place("POST", "/api/llm", body={"taskType": "echo", "context": {HERE: HERE}, "user": HERE}),
    Place("POST", "/api/llm", body={"taskType": "suggest", "context": {"jobId": HERE}}),
    Place("POST", "/api/llm", body={"taskType": "video_render", "context": {"id": HERE}}),
    *(
        Place("POST", "/v2/llm/chat/completions", body=CHAT | changed, who=who)
        for changed in (
            {"model": HERE}, {"model_id": HERE}, {"conversation_id": HERE}, {"title": HERE},
            {"messages": [{"role": HERE, "content": "x"}]}, {"user": HERE},
            {"metadata": {HERE: HERE, "task": HERE}},
        )
        for who in ("user", "service")
    ),
    Place("POST", "/api/trpc/llm.complete", body={"prompt": HERE, "taskType": HERE}),
    Place("POST", "/api/trpc/llm.complete", body={"json": {"prompt": HERE, "userId": HERE}}),
    Place("POST", "/api/trpc/llmAnalytics.cacheInvalidate", body={"pattern": HERE}),
    Place("POST", "/api/trpc/llmAnalytics.circuitBreakerReset", body={"provider": HERE}),
    Place("GET", "/api/trpc/llmAnalytics.summary", {"input": HERE}),
    Place("GET", f"/api/trpc/{HERE}", {"batch": "1", "input": "{}"}),
    *(
        Place("POST", "/v1/chat/completions", headers={f"x-turnout-{name}": HERE}, body=CHAT)
        for name in (
            "task", "provider", "user", "service", "job", "metadata", "cache", "timeout",
            "fallback", "anything",
        )
    ),
    Place("POST", "/v1/chat/completions", body=CHAT | {"model": HERE}),
    Place(
        "POST",
        "/v1/chat/completions",
        body=CHAT | {"user": HERE, "metadata": {"service_name": HERE, "job_id": HERE, HERE: HERE}},
    ),
    Place("GET", f"/v1/models/{HERE}"),
    *(
        Place("GET", "/api/v1/keys", headers=header, who="nobody")
        for header in (
            {"authorization": f"Bearer {HERE}"}, {"authorization": HERE}, {"x-api-key": HERE},
            {"x-service-key": HERE}, {"cookie": f"session={HERE}"}, {"cookie": HERE},
        )
    ),
    Place("GET", "/api/v1/models", headers={"x-request-id": HERE}),
)  # fmt: skip


def run(
    folder: Path, database: str, each: int, payloads: Sequence[str] = (*SQL, *LINES)
) -> Outcome:
    """All of it on a new gateway, with its database looked at before and after."""
    with staged(folder, database) as stage:
        stage.headers["nobody"] = {}
        seed(stage)
        places = [*read_places(document(stage)), *PLACES]
        before = asyncio.run(state_of(database, folder / "home"))
        outcome = probe(stage, places, each, payloads)
        after = asyncio.run(state_of(database, folder / "home"))
    # Chats of /v2 are kept in conversations; each is one that a 200 made.
    made = outcome.made | {
        "conversations": after.counts["conversations"] - before.counts["conversations"]
    }
    for change in changes(before, after, made):
        outcome.findings[f"the database: {change}"] = ""
    return outcome


def seed(stage: Stage) -> None:
    """Rows for a query that was led astray to find."""
    with stage.client() as client:
        client.post("/api/v1/overrides", json=_OVERRIDE).raise_for_status()
    for who in ("user", "key", "service"):
        with stage.client(who) as client:
            client.post("/v1/chat/completions", json=CHAT).raise_for_status()
            client.post("/v2/llm/chat/completions", json=CHAT).raise_for_status()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.injection", description=__doc__)
    parser.add_argument("--each", type=int, default=len(SQL) + len(LINES), help="by place")
    parser.add_argument("--database", choices=KINDS, default=KINDS[0])
    given = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        database = asyncio.run(new_url(given.database))
        outcome = run(Path(folder), database, given.each)
    for title, detail in sorted(outcome.findings.items()):
        print(title, detail, sep="\n    ")
    seconds = time.monotonic() - begun
    print(f"{outcome.sent:,} requests in {seconds:,.0f} s, {len(outcome.findings)} findings")
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
