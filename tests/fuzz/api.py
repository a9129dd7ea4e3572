"""Calls of the control plane that a machine makes up from the OpenAPI document, in a long form.

`python -m tests.fuzz.api --examples N [--seed S]` asks each operation N times as each caller, after
all the edge cases that its schema has, on SQLite or (`--database postgresql`) PostgreSQL. The exit
status is 1 when an answer was not what the document says. See docs/fuzzing.md.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis.engine import events, from_schema

from tests.fuzz.stage import Stage, staged
from tests.servers import KINDS, new_url

DOCUMENT = "/api/v1/openapi.json"
CALLERS = ("user", "service", "master")
"""The master key last: it may end what the others have."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
MEANT = frozenset({501, 502, 503, 504})
"""Statuses that say that somebody else failed. They count as errors of ours where they are not
declared; a 500 always does."""

KNOWN = (
    ("allow_header_conformance", "/api/trpc/"),  # its routes take both methods, to refuse one
)
"""What is no finding: the check, and where the path begins."""

ENDS_THE_CALLER = "/api/v1/logout"
"""What would leave a user without a token for the rest of the run."""


@dataclass
class Outcome:
    """What came of a run: `calls` by operation, and a way to see each different finding."""

    calls: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    findings: dict[str, str] = field(default_factory=dict)

    def join(self, other: "Outcome") -> None:
        self.calls += other.calls
        self.statuses += other.statuses
        self.findings = other.findings | self.findings


def document(stage: Stage) -> dict[str, Any]:
    """The OpenAPI document that a gateway gives of itself."""
    with stage.client() as client:
        answer = client.get(DOCUMENT)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def operations(said: dict[str, Any]) -> set[str]:
    """The operations of a document, such as `GET /api/v1/keys`."""
    return {f"{method.upper()} {path}" for path, item in said["paths"].items() for method in item}


def run(
    stage: Stage,
    who: str,
    examples: int,
    seed: int,
    phases: Iterable[str] = ("coverage", "fuzzing"),
    said: dict[str, Any] | None = None,
) -> Outcome:
    """Calls every operation as one caller."""
    said = said or document(stage)
    if who == "user":
        said = said | {"paths": {k: v for k, v in said["paths"].items() if k != ENDS_THE_CALLER}}
    config = schemathesis.Config.from_dict(_settings(stage, who, examples, seed, set(phases)))
    schema = schemathesis.openapi.from_dict(said, config=config)
    outcome = Outcome()
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            _failed(outcome, event)
        elif isinstance(event, events.ScenarioFinished):
            _finished(outcome, event, who)
    return outcome


def _settings(stage: Stage, who: str, examples: int, seed: int, phases: set[str]) -> dict[str, Any]:
    known = ("examples", "coverage", "fuzzing", "stateful")
    return {
        "seed": seed,
        "base-url": stage.url,
        "headers": stage.headers[who],
        "request-timeout": 10,
        "continue-on-failure": True,
        "checks": {"enabled": False} | {name: {"enabled": True} for name in CHECKS},
        "phases": {name: {"enabled": name in phases} for name in known},
        "generation": {
            "max-examples": examples,
            "mode": "all",
            "no-shrink": True,
            "database": "none",
            "with-security-parameters": False,
        },
    }


def _failed(outcome: Outcome, event: Any) -> None:
    """What schemathesis itself could not do is a finding too: nothing may go untested."""
    label = getattr(event, "label", "schemathesis")
    info = event.info if isinstance(event, events.NonFatalError) else event.exception
    message = getattr(info, "full_message", None) or str(info)
    outcome.findings.setdefault(f"{label}: could not be tested", message)


def _finished(outcome: Outcome, event: events.ScenarioFinished, who: str) -> None:
    for case, made in event.recorder.interactions.items():
        operation = event.recorder.cases[case].value.operation
        outcome.calls[f"{operation.method.upper()} {operation.path}"] += 1
        if made.response is not None:
            outcome.statuses[made.response.status_code] += 1
    for case, checks in event.recorder.checks.items():
        for check in checks:
            if check.failure_info is not None:
                _found(outcome, event, case, check, who)


def _found(
    outcome: Outcome, event: events.ScenarioFinished, case: str, check: Any, who: str
) -> None:
    made = event.recorder.interactions.get(case)
    response = None if made is None else made.response
    status = 0 if response is None else response.status_code
    operation = event.recorder.cases[case].value.operation
    path, label = operation.path, f"{operation.method.upper()} {operation.path}"
    if any(check.name == name and path.startswith(start) for name, start in KNOWN):
        return
    if check.name == "not_a_server_error" and status in MEANT:
        return
    failure = check.failure_info.failure
    said = b"" if response is None else (response.content or b"")
    detail = f"{check.failure_info.code_sample}\n{failure.message}\n{said[:500]!r}"
    title = f"{label} as {who}: {failure.title} ({status})"
    outcome.findings.setdefault(title, detail)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.api", description=__doc__)
    parser.add_argument("--examples", type=int, default=100, help="of an operation, by a caller")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=KINDS, default=KINDS[0])
    parser.add_argument("--callers", default=",".join(CALLERS), help="of %(default)s")
    parser.add_argument("--phases", default="coverage,fuzzing", help="and examples, stateful")
    given = parser.parse_args()
    begun, outcome = time.monotonic(), Outcome()
    with tempfile.TemporaryDirectory() as folder:
        database = asyncio.run(new_url(given.database))
        with staged(Path(folder), database) as stage:
            said = document(stage)
            for who in given.callers.split(","):
                phases = given.phases.split(",")
                outcome.join(run(stage, who, given.examples, given.seed, phases))
    summarise(outcome, operations(said), time.monotonic() - begun)
    return 1 if outcome.findings else 0


def summarise(outcome: Outcome, known: set[str], seconds: float) -> None:
    print(f"{outcome.calls.total():,} calls of {len(known)} operations in {seconds:,.0f} s")
    print(*(f"  {status}: {n:,}" for status, n in sorted(outcome.statuses.items())), sep="\n")
    for name in sorted(known - set(outcome.calls)):
        print(f"never called: {name}")
    for title, detail in sorted(outcome.findings.items()):
        print(f"\n{title}\n{detail}")
    print(f"{len(outcome.findings)} findings")


if __name__ == "__main__":
    sys.exit(main())
