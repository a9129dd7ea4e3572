"""What the cache has done since this process began, for the report, the API and Prometheus."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from proxy.cache.types import Entry, Tier

STEPS_MS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0)
"""Upper ends of the steps that durations are counted in, in milliseconds; one more has the rest."""


class Durations:
    """How many durations fell into each step."""

    def __init__(self) -> None:
        self.steps = [0] * (len(STEPS_MS) + 1)
        self.count = 0
        self.total_ms = 0.0

    def add(self, seconds: float) -> None:
        millis = 1000 * seconds
        self.steps[bisect_left(STEPS_MS, millis)] += 1
        self.count += 1
        self.total_ms += millis

    def quantile_ms(self, share: float) -> float | None:
        """The upper end of the step that holds it, None without any; the last step has no end."""
        before = 0
        for end, count in zip((*STEPS_MS, float("inf")), self.steps, strict=True):
            before += count
            if self.count and before >= share * self.count:
                return end
        return None


@dataclass(slots=True)
class Counts:
    """Sums. Reasons are the words that `x-turnout-cache` has too."""

    hits: Counter[str] = field(default_factory=Counter)  # by tier
    misses: Counter[str] = field(default_factory=Counter)  # by reason
    bypasses: Counter[str] = field(default_factory=Counter)  # by reason
    stored: int = 0
    not_stored: Counter[str] = field(default_factory=Counter)  # by reason
    joined: int = 0  # requests that waited for another one's answer and had it
    saved_nanousd: int = 0
    saved_tokens: int = 0
    purged: int = 0
    stages: dict[str, Durations] = field(default_factory=dict)

    def hit(self, tier: Tier, entry: Entry) -> None:
        self.hits[tier.value] += 1
        self.saved_nanousd += entry.cost_nanousd or 0
        self.saved_tokens += entry.usage.total

    def took(self, stage: str, seconds: float) -> None:
        """A stage's duration: exact, wait, embed, search, pair …"""
        durations = self.stages.get(stage)
        if durations is None:
            durations = self.stages[stage] = Durations()
        durations.add(seconds)
