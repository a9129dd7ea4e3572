"""What the books must say, worked out from what was asked and from the upstreams' own logs alone.

A prompt carries what the fake answers: `[[id in out kept fail]]`, tokens in and out, tokens of the
prompt that the provider had kept, and which providers fail it. What a request cost is known from
the log entry that was answered; one without any entry was served by the cache.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.fakes import upstream as fake
from tests.fakes.upstream import Received, Script, Upstream

MARK = re.compile(r"\[\[(\S+) (\d+) (\d+) (\d+) (\S+)\]\]")

PRICES = {"one": (1000, 500, 2000), "two": (3000, 1500, 5000)}
"""Nano-dollars a token: of the prompt, of what the provider had kept of it, of the answer."""

MODELS = {"one": "m-1", "two": "m-2"}


class Mark(NamedTuple):
    """What a prompt asks of the fakes."""

    id: str
    input: int
    output: int
    kept: int = 0
    fail: str = "-"

    @property
    def text(self) -> str:
        return f"[[{self.id} {self.input} {self.output} {self.kept} {self.fail}]]"


@dataclass(frozen=True)
class Sent:
    """A request as it was made: in whose name, and with what. `owner` is whose the cache is."""

    mark: Mark
    owner: str
    user: str | None = None
    key: str | None = None
    service: str | None = None
    task: str | None = None


@dataclass(frozen=True)
class Row:
    """What the books must have of a request; money in nano-dollars."""

    sent: Sent = field(repr=False)
    provider: str | None
    input: int = 0
    kept: int = 0
    output: int = 0
    cost: int = 0
    saved: int = 0
    hit: bool = False
    failed: bool = False
    attempts: int = 0

    @property
    def model(self) -> str | None:
        return self.provider and MODELS[self.provider]


class Sums(NamedTuple):
    """Rows added up."""

    requests: int = 0
    errors: int = 0
    hits: int = 0
    input: int = 0
    kept: int = 0
    output: int = 0
    cost: int = 0
    saved: int = 0


def mark_of(received: Received) -> Mark:
    """The last mark of a prompt."""
    found = MARK.findall(received.body.decode())[-1]
    return Mark(found[0], int(found[1]), int(found[2]), int(found[3]), found[4])


def answering(provider: str) -> Callable[[Received], Script | None]:
    """How a provider answers a marked prompt, as OpenAI would."""

    def answer(received: Received) -> Script | None:
        if not received.path.endswith("/chat/completions"):
            return None
        mark = mark_of(received)
        if mark.fail in (provider, "all"):
            return fake.error_reply(500, "it broke")
        usage = fake.count(mark.input, mark.output) | {
            "prompt_tokens_details": {"cached_tokens": mark.kept}
        }
        if not received.json.get("stream"):
            return fake.chat_reply(f"answer {mark.id}", usage=usage)
        told = (received.json.get("stream_options") or {}).get("include_usage")
        return fake.sse(*fake.chat_chunks(["answer ", mark.id], usage=usage if told else None))

    return answer


def cost(provider: str, mark: Mark) -> int:
    """Nano-dollars of an answer."""
    fresh, kept, output = PRICES[provider]
    return (mark.input - mark.kept) * fresh + mark.kept * kept + mark.output * output


def booked(
    sent: Sequence[Sent], logs: dict[str, Upstream], owner_of: Callable[[Received], str | None]
) -> list[Row]:
    """The row of each request. `owner_of` knows whose an entry of a log is, where its credential
    tells that."""
    entries = [
        (entry.at, name, mark_of(entry), owner_of(entry))
        for name, upstream in logs.items()
        for entry in upstream.log
        if entry.path.endswith("/chat/completions")
    ]
    entries.sort(key=lambda entry: entry[0])
    rows = []
    answered: dict[tuple[str, str], str] = {}
    for each in sent:
        mine = [e for e in entries if e[2].id == each.mark.id and e[3] in (None, each.owner)]
        rows.append(_row(each, mine, answered))
    return rows


def _row(
    sent: Sent, mine: Iterable[tuple[float, str, Mark, str | None]], answered: dict[Any, str]
) -> Row:
    mark, names = sent.mark, [name for _, name, _, _ in mine]
    before = answered.get((sent.owner, mark.id))
    if before is not None:
        tokens = mark.input, mark.kept, mark.output
        return Row(sent, before, *tokens, saved=cost(before, mark), hit=True)
    if not names:
        return Row(sent, None, failed=True)
    good = [name for name in names if mark.fail not in (name, "all")]
    if not good:
        return Row(sent, names[-1], failed=True, attempts=len(names))
    [name] = good
    answered[sent.owner, mark.id] = name
    return Row(
        sent,
        name,
        mark.input,
        mark.kept,
        mark.output,
        cost(name, mark),
        attempts=len(names),
    )


def together(rows: Iterable[Row]) -> Sums:
    found = list(rows)
    return Sums(
        len(found),
        sum(row.failed for row in found),
        sum(row.hit for row in found),
        sum(row.input for row in found),
        sum(row.kept for row in found),
        sum(row.output for row in found),
        sum(row.cost for row in found),
        sum(row.saved for row in found),
    )


def grouped(rows: Iterable[Row], by: Callable[[Row], str | None]) -> dict[str | None, Sums]:
    found: dict[str | None, list[Row]] = {}
    for row in rows:
        found.setdefault(by(row), []).append(row)
    return {name: together(group) for name, group in found.items()}


def nano(usd: float) -> int:
    """Dollars as nano-dollars; what is no whole number of them is a fault."""
    found = round(usd * 1e9)
    assert abs(usd * 1e9 - found) < 1e-3, usd
    return found


def sums_of(said: dict[str, Any]) -> Sums:
    """A summary, a group or a day of the usage API."""
    count = said["total_requests"] if "total_requests" in said else said["request_count"]
    assert said["total_tokens"] == said["input_tokens"] + said["output_tokens"]
    assert (said["images"], said["reasoning_tokens"], said["cache_write_tokens"]) == (0, 0, 0)
    return Sums(
        count,
        said["error_requests"],
        said["cached_requests"],
        said["input_tokens"],
        said["cached_tokens"],
        said["output_tokens"],
        nano(said["total_cost_usd"]),
        nano(said["saved_usd"]),
    )


def sums_of_rows(rows: Iterable[dict[str, Any]]) -> Sums:
    """Rows of the usage API, or of an export."""
    found = list(rows)
    return Sums(
        len(found),
        sum(int(row["status_code"]) >= 400 for row in found),
        sum(row["cached"] in (True, "true") for row in found),
        sum(int(row["input_tokens"]) for row in found),
        sum(int(row["cached_tokens"]) for row in found),
        sum(int(row["output_tokens"]) for row in found),
        sum(nano(float(row["cost_usd"] or 0)) for row in found),
        sum(nano(float(row["saved_usd"])) for row in found),
    )
