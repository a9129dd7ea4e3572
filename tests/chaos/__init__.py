"""What breaks from outside: kills, a database that is away, a full disk, hours of bad weather.

Each experiment is a function that returns a `Report`; `test_chaos.py` has the short forms, and
`python -m tests.chaos` the long ones. See docs/chaos.md.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    """What an experiment measured, for people, and what was wrong; it went well without faults."""

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def demand(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.faults.append(otherwise)

    def __str__(self) -> str:
        lines = [f"{self.name}: {'FAILED' if self.faults else 'well'}"]
        lines += [f"  {name:<34} {value}" for name, value in self.facts.items()]
        lines += [f"  ! {fault}" for fault in self.faults[:40]]
        if len(self.faults) > 40:
            lines.append(f"  ! and {len(self.faults) - 40} more")
        return "\n".join(lines)
