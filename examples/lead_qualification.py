"""A worker that scores leads, a few at a time: POST /api/llm with a task that has a JSON schema.

    python examples/lead_qualification.py --job spring-fair            # three leads made up here
    python examples/lead_qualification.py --job spring-fair leads.jsonl

It shows that
- the prompt, the model and the form of the answer are the task's, in Turnout's configuration
  (`lead_qualification` in examples/config.yaml): the worker sends data and gets data;
- `result` is the JSON of the task's schema, ready to be used;
- who is told to slow down is told for how long (`retry-after`);
- each call is a row of the ledger with its service, task and job.

A file has a lead a line, a JSON object with a `name`. Needs OPENAI_BASE_URL, OPENAI_API_KEY.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from connection import Trouble, answer_of, gateway, run, setting

TASK = SERVICE = "lead_qualification"
AT_ONCE = 4
TRIES = 5
PATIENCE = 60.0  # seconds to wait at most when told to; longer is no pause but a limit of the day

LEADS: list[dict[str, Any]] = [
    {"name": "Le Gourmet", "kind": "restaurant", "rating": 4.5, "reviews": 200, "website": None},
    {"name": "Garage Roy", "kind": "car repair", "rating": 3.1, "reviews": 12, "website": "old"},
    {"name": "Studio Lune", "kind": "yoga studio", "rating": 4.9, "reviews": 85, "website": "new"},
]


def qualify(client: httpx.Client, lead: dict[str, Any], job: str) -> dict[str, Any]:
    """`{name, score, priority, pain_point}`. Raises `Trouble`."""
    task = {"taskType": TASK, "context": {"jobId": job, "lead": lead}}
    for _ in range(TRIES):
        response = client.post("/api/llm", json=task)
        wait = float(response.headers.get("retry-after", "0"))
        if response.status_code not in (429, 503) or wait > PATIENCE:
            break
        time.sleep(wait)
    return {"name": lead["name"], **answer_of(response)["result"]}


def read(path: Path | None) -> list[dict[str, Any]]:
    """The leads of a file, or those of this module. Raises `Trouble` with the line at fault."""
    if path is None:
        return LEADS
    leads = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        try:
            if line.strip():
                leads.append(json.loads(line))
                leads[-1]["name"]
        except (ValueError, KeyError, TypeError):
            raise Trouble(f"{path}:{number} is no JSON object with a name") from None
    return leads


def main() -> None:
    parser = argparse.ArgumentParser(description="Scores leads.")
    parser.add_argument("file", nargs="?", type=Path, help="a lead a line, as JSON")
    parser.add_argument("--job", required=True, help="what the leads came from, for the books")
    given = parser.parse_args()
    leads = read(given.file)
    authorization = "Bearer " + setting("OPENAI_API_KEY")
    scored, failed = [], 0
    with (
        gateway(authorization=authorization, x_turnout_service=SERVICE) as client,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        for under_way in [pool.submit(qualify, client, lead, given.job) for lead in leads]:
            try:
                scored.append(under_way.result())
            except Trouble as error:  # the others are worth having all the same
                print(error, file=sys.stderr)
                failed += 1
    print(f"{'score':>5}  {'priority':8}  {'lead':20}  what hurts")
    for lead in sorted(scored, key=lambda each: -each["score"]):
        score, priority = lead["score"], lead["priority"]
        print(f"{score:>5}  {priority:8}  {lead['name']:20}  {lead['pain_point']}")
    if failed:
        raise Trouble(f"{failed} of {len(leads)} leads were not scored")


if __name__ == "__main__":
    run(main)
