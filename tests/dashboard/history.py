"""Forty days of a company's requests, made up, and the same each time: for charts, forecasts and
pictures, which have nothing to show of the last minute alone."""

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.books import Books
from proxy.ledger.rows import ATTEMPT_COLUMNS
from tests.proxy.ledger.synthetic import request

DAYS = 40
DAY = 86_400_000
A_DAY = 120  # requests, of a working day

WEEK = (1.0, 1.05, 1.1, 1.0, 0.9, 0.35, 0.3)
"""How much of it each day of the week has, Monday first."""


class Model(NamedTuple):
    """Where requests go: nano-dollars a token in and out, and the median duration in ms."""

    provider: str
    name: str
    input: int
    output: int
    duration: int


MODELS = (
    Model("openai", "gpt-4o-mini", 150, 600, 900),
    Model("anthropic", "claude-sonnet-4-5", 3000, 15_000, 1600),
    Model("groq", "llama-3.1-8b-instant", 50, 80, 350),
)
SERVICES = (("support-bot", "chat"), ("mailer", "marketing"), ("crm", "qualification"))


class Caller(NamedTuple):
    """Who asks: the ids of a user and of a key."""

    user: str | None
    key: str | None


class Made(NamedTuple):
    """A request of the past; `at` in epoch milliseconds, money in nano-dollars."""

    id: str
    at: int
    model: Model
    caller: Caller
    service: str
    task: str
    input: int
    output: int
    cost: int
    saved: int
    duration: int
    outcome: str
    tried: Sequence[Model]

    @property
    def is_hit(self) -> bool:
        return self.outcome == "ok" and not self.tried


def past(callers: Sequence[Caller], now: int, seed: int = 7) -> Iterator[Made]:
    """From `DAYS` days ago to now, oldest first; more by day than by night, less at weekends."""
    chance = random.Random(seed)
    last = [now - 900 + 10 * each for each in range(len(callers))]  # each of them this month
    for number, at in enumerate([*_times(chance, now), *last]):
        model = chance.choices(MODELS, (5, 2, 3))[0]
        service, task = chance.choices(SERVICES, (6, 1, 3))[0]
        drawn = "ok" if at in last else _drawn(chance)
        prompt, said = int(math.exp(chance.gauss(7, 0.7))), int(math.exp(chance.gauss(5.3, 0.6)))
        cost = prompt * model.input + said * model.output
        is_hit, failed = drawn == "hit", drawn == "failed"
        others = [each for each in MODELS if each is not model]
        tried = {"hit": [], "ok": [model], "moved": [others[0], model], "failed": [*others]}[drawn]
        yield Made(
            f"{at << 80 | number:032x}",
            at,
            model,
            callers[last.index(at)] if at in last else chance.choice(callers),
            service,
            task,
            0 if failed else prompt,
            0 if failed else said,
            0 if is_hit or failed else cost,
            cost if is_hit else 0,
            2 if is_hit else int(model.duration * math.exp(chance.gauss(0, 0.5))) * len(tried),
            "failed" if failed else "ok",
            tried,
        )


def _drawn(chance: random.Random) -> str:
    return chance.choices(("ok", "hit", "moved", "failed"), (72, 22, 4, 2))[0]


def _times(chance: random.Random, now: int) -> Iterator[int]:
    first = (now - DAYS * DAY) // DAY * DAY
    for begin in range(first, now, DAY):
        growth = 1 + (begin - first) / DAY / DAYS
        weekday = (begin // DAY + 3) % 7  # the epoch was a Thursday
        many = int(A_DAY * WEEK[weekday] * growth * chance.uniform(0.85, 1.15))
        times = (
            begin + int(DAY * min(0.999, max(0, chance.gauss(0.58, 0.17)))) for _ in range(many)
        )
        yield from (at for at in sorted(times) if at < now - 1000)


async def write(engine: AsyncEngine, made: Sequence[Made]) -> None:
    """Into the books, as requests are written down."""
    books = Books(engine)
    for begin in range(0, len(made), 500):
        part = made[begin : begin + 500]
        await books.write([_request(each) for each in part], [*_attempts(part)])


def _request(made: Made) -> tuple[Any, ...]:
    failed = made.outcome == "failed"
    return request(
        made.id,
        made.at,
        user_id=made.caller.user,
        key_id=made.caller.key,
        role="key",
        service_name=made.service,
        task_type=made.task,
        provider_name=made.model.provider,
        model=made.model.name,
        name="fast",
        outcome=made.outcome,
        status_code=502 if failed else 200,
        error_code="upstream_error" if failed else None,
        error_message="no target answered" if failed else None,
        input_tokens=made.input,
        output_tokens=made.output,
        cost_nanousd=None if failed else made.cost,
        saved_nanousd=made.saved,
        duration_ms=made.duration,
        first_token_ms=None if failed else made.duration // 3,
        attempts=len(made.tried),
        cached=made.is_hit,
        stream=made.service == "support-bot",
    )


def _attempts(made: Sequence[Made]) -> Iterator[tuple[Any, ...]]:
    for each in made:
        took = each.duration // max(1, len(each.tried))
        for number, model in enumerate(each.tried, 1):
            is_good = each.outcome == "ok" and number == len(each.tried)
            row: dict[str, Any] = dict.fromkeys(ATTEMPT_COLUMNS, 0)
            row |= {"request_id": each.id, "number": number, "id": f"{each.id[:-2]}{number:02x}"}
            row |= {"created_at": each.at + took * (number - 1), "provider_name": model.provider}
            row |= {"model": model.name, "status_code": 200 if is_good else 503}
            row |= {"outcome": "ok" if is_good else "failed", "duration_ms": took}
            row |= {"usage_source": "provider" if is_good else "none", "first_token_ms": None}
            row |= {"error_code": None if is_good else "upstream_overloaded"}
            row |= {"error_message": None if is_good else "the model is overloaded"}
            row |= {"cost_nanousd": each.cost if is_good else None}
            if is_good:
                row |= {"input_tokens": each.input, "output_tokens": each.output}
                row |= {"first_token_ms": took // 3}
            yield tuple(row[name] for name in ATTEMPT_COLUMNS)
