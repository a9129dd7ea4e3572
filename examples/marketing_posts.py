"""Posts for small businesses, and the week's figures: the router's tRPC procedures.

    python examples/marketing_posts.py "Le Gourmet, restaurant, Québec" "Studio Lune, yoga, Laval"
    python examples/marketing_posts.py                   # the figures alone

It shows
- a mutation, `llm.batchComplete`: many chats of one task, some at a time, answered in order, each
  with its own error where it failed;
- several queries of `llmAnalytics` in one request, as tRPC's own clients batch them;
- money in Canadian dollars, by the rate of Turnout's configuration.

The task `content_generation` says which models; a virtual key sees its own figures. A call is in
them a moment after it has ended. Needs OPENAI_BASE_URL and OPENAI_API_KEY.
"""

import argparse
import json
import sys
from typing import Any

import httpx
from connection import Trouble, answer_of, gateway, run, setting

TASK = "content_generation"
SERVICE = "marketing_posts"
BEHAVIOUR = "You write LinkedIn posts for small businesses: two sentences and three hashtags."
REPORT = ("llmAnalytics.summary", "llmAnalytics.forecast", "llmAnalytics.circuitBreakerStatus")


def write(client: httpx.Client, businesses: list[str], max_tokens: int) -> list[dict[str, Any]]:
    """An answer for each business, in order; one that failed is `{"error": …}`."""
    requests = [
        {
            "taskType": TASK,
            "messages": [
                {"role": "system", "content": BEHAVIOUR},
                {"role": "user", "content": f"The business: {business}"},
            ],
            "options": {"temperature": 0.8, "maxTokens": max_tokens},
        }
        for business in businesses
    ]
    response = client.post(
        "/api/trpc/llm.batchComplete", json={"requests": requests, "concurrency": 5}
    )
    answers: list[dict[str, Any]] = answer_of(response)["result"]["data"]
    return answers


def figures(client: httpx.Client, days: int) -> list[dict[str, Any]]:
    """The answers of the `REPORT`'s queries, in order. Raises `Trouble` where one failed."""
    given = json.dumps({"0": {"days": days}, "1": {"horizonDays": 30}})
    response = client.get(f"/api/trpc/{','.join(REPORT)}", params={"batch": "1", "input": given})
    answers = response.json()
    if not isinstance(answers, list):
        answer_of(response)
    for name, answer in zip(REPORT, answers, strict=True):
        if "error" in answer:
            error = answer["error"]
            raise Trouble(f"{name} answered {error['data']['httpStatus']}: {error['message']}")
    return [answer["result"]["data"] for answer in answers]


def show(summary: dict[str, Any], forecast: dict[str, Any], circuits: dict[str, Any]) -> None:
    print(
        f"{summary['totalCalls']} calls, {summary['totalTokens']} tokens, "
        f"{summary['totalCostCAD']:.6f} CAD; the cache saved {summary['totalSavingsCAD']:.6f} CAD"
    )
    print(f"this month will come to {forecast['projectedMonthlyCAD']:.6f} CAD")
    for title, by in (("task", summary["taskTypes"]), ("model", summary["models"])):
        for name, sums in sorted(by.items()):
            spent = sums["estimatedCostCAD"]
            print(f"  {title:5}  {name:28}  {sums['calls']:>4} calls  {spent:.6f} CAD")
    for provider, circuit in sorted(circuits.items()):
        print(f"  circuit of {provider}: {circuit['state']}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes posts, and says what they cost.")
    parser.add_argument("businesses", nargs="*")
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--max-tokens", type=int, default=150)
    given = parser.parse_args()
    authorization = "Bearer " + setting("OPENAI_API_KEY")
    failed = 0
    with gateway(authorization=authorization, x_turnout_service=SERVICE) as client:
        if given.businesses:
            answers = write(client, given.businesses, given.max_tokens)
            for business, answer in zip(given.businesses, answers, strict=True):
                if "error" in answer:
                    failed += 1
                    print(f"{business}: {answer['error']['message']}", file=sys.stderr)
                    continue
                meta = answer["metadata"]
                by = f"{answer['provider']}/{answer['model']}, {meta['latencyMs']} ms"
                print(f"{business} ({by}):\n{answer['content'].strip()}\n")
        show(*figures(client, given.days))
    if failed:
        raise Trouble(f"{failed} of {len(given.businesses)} posts were not written")


if __name__ == "__main__":
    run(main)
