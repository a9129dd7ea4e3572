"""What each customer is billed: /api/v1 with a service key, from the estimate to the CSV.

    python examples/monthly_bill.py --note acme --note globex    # writes two notes, then the bill
    python examples/monthly_bill.py --days 30 --csv bill.csv     # the bill alone, and its rows

It shows
- `POST /estimate`, what a call would cost, before it is made, and a ceiling held to it;
- `POST /generate` for a customer whom the service names; the gateway chooses provider and model;
- `GET /usage/summary`, `/by-customer` and `/forecast`;
- `GET /usage/export`, streamed to a file, a row a request.

A call is on the bill a moment after it has ended. Needs OPENAI_BASE_URL and TURNOUT_SERVICE_KEY,
one of the configuration's `auth.service_keys`.
"""

import argparse
from pathlib import Path
from typing import Any

import httpx
from connection import Trouble, answer_of, gateway, run, setting

SERVICE = TASK = "monthly_bill"
CEILING = 0.01  # US dollars that a note may cost at most


def note(client: httpx.Client, customer: str, max_tokens: int) -> dict[str, Any]:
    """The answer of `generate`. Raises `Trouble` where it could cost more than the ceiling."""
    text = {
        "user_id": customer,
        "service": SERVICE,
        "task_type": TASK,
        "prompt": f"Thank the customer {customer} for this month, in one sentence.",
        "max_tokens": max_tokens,
    }
    estimate = answer_of(client.post("/api/v1/estimate", json=text))
    most = estimate["max_cost_usd"]
    if most is None or most > CEILING:
        raise Trouble(f"a note could cost {most} USD, which is more than {CEILING}")
    print(f"a note for {customer} costs {most:.6f} USD at most")
    answer: dict[str, Any] = answer_of(client.post("/api/v1/generate", json=text))
    return answer


def bill(client: httpx.Client, days: int) -> None:
    """Prints the sums of all services."""
    period = {"days": days}
    total = answer_of(client.get("/api/v1/usage/summary", params=period))
    customers = answer_of(client.get("/api/v1/usage/by-customer", params=period))
    forecast = answer_of(client.get("/api/v1/usage/forecast"))
    print(f"{'customer':24} {'requests':>8} {'USD':>12}")
    for row in customers:
        name = row["user_id"] or "(nobody named)"
        print(f"{name:24} {row['request_count']:>8} {row['total_cost_usd']:>12.6f}")
    print(f"{'all':24} {total['total_requests']:>8} {total['total_cost_usd']:>12.6f}")
    month = forecast["usd"]["projected_month"]
    print(f"this month will come to {month['expected']:.6f} USD")


def export(client: httpx.Client, days: int, path: Path) -> int:
    """Writes the rows of this service as CSV; how many bytes. Raises `Trouble`.

    Written beside and moved when whole: an export that breaks off leaves no bill behind.
    """
    chosen = {"format": "csv", "days": days, "service": SERVICE}
    partial = path.with_name(path.name + ".partial")
    with client.stream("GET", "/api/v1/usage/export", params=chosen) as response:
        if not response.is_success:
            response.read()
            answer_of(response)
        with partial.open("wb") as file:
            for part in response.iter_bytes():
                file.write(part)
    return partial.replace(path).stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description="What each customer is billed.")
    parser.add_argument("--note", action="append", default=[], metavar="CUSTOMER")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--csv", type=Path, metavar="FILE")
    parser.add_argument("--max-tokens", type=int, default=60)
    given = parser.parse_args()
    with gateway(x_service_key=setting("TURNOUT_SERVICE_KEY")) as client:
        for customer in given.note:
            answer = note(client, customer, given.max_tokens)
            print(f"  it cost {answer['cost_usd']:.6f}: {answer['content'].strip()}\n")
        bill(client, given.days)
        if given.csv is not None:
            print(f"{given.csv}: {export(client, given.days, given.csv)} bytes")


if __name__ == "__main__":
    run(main)
