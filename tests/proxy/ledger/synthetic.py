"""Rows of requests, many and made up, the same for the same seed."""

import math
import random
from collections.abc import Iterator
from typing import Any

from proxy.ledger.rows import REQUEST_COLUMNS

MODELS, SERVICES, CUSTOMERS, KEYS = 20, 50, 1000, 40


def request(id: str, created_at: int, **over: Any) -> tuple[Any, ...]:
    """One row, in the order of the table."""
    row: dict[str, Any] = dict.fromkeys(REQUEST_COLUMNS)
    row |= {"id": id, "created_at": created_at, "stream": False, "status_code": 200}
    row |= {"outcome": "ok", "usage_source": "provider", "saved_nanousd": 0, "duration_ms": 0}
    row |= {"attempts": 1, "cached": False, "images": 0, "usage_type": "text"}
    for name in ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens"):
        row[name] = 0
    row |= {"reasoning_tokens": 0, "endpoint": "/v1/chat/completions"} | over
    return tuple(row[name] for name in REQUEST_COLUMNS)


def many(count: int, start: int, end: int, seed: int = 1) -> Iterator[tuple[Any, ...]]:
    """Rows from `start` to `end`, in epoch milliseconds, evenly and oldest first.

    20 models of 5 providers, 50 services, 1,000 customers, 40 keys; a few customers and keys ask
    much: `customer-0` and `key_0` a tenth each.
    """
    chance = random.Random(seed)
    names = [f"customer-{number}" for number in range(CUSTOMERS)]
    for number in range(count):
        at = start + (end - start) * number // count
        model = chance.randrange(MODELS)
        duration = int(math.exp(chance.gauss(6.5, 1.2)))
        prompt, cost = chance.randrange(10, 4000), chance.randrange(10_000_000)
        failed = chance.random() < 0.02
        yield request(
            f"{at << 80 | number:032x}",
            at,
            user_id=names[int(CUSTOMERS * chance.random() ** 3)],
            service_name=f"service-{chance.randrange(SERVICES)}",
            task_type=("chat", "summary", "search", None)[number % 4],
            key_id=f"key_{int(KEYS * chance.random() ** 1.6)}",
            role="key",
            provider_name=f"provider-{model % 5}",
            model=f"model-{model}",
            name=f"model-{model}",
            outcome="failed" if failed else "ok",
            status_code=502 if failed else 200,
            input_tokens=prompt,
            cached_tokens=prompt // 3,
            output_tokens=chance.randrange(1, 1000),
            cost_nanousd=None if failed else cost,
            duration_ms=duration,
            first_token_ms=duration // 4 if number % 2 else None,
            stream=bool(number % 2),
        )
