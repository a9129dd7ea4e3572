"""What the cache has done so far."""

import pytest

from proxy.cache.counts import STEPS_MS, Counts, Durations
from proxy.cache.types import Tier
from tests.proxy.cache.entries import entry


def test_hits_by_tier_and_what_they_saved() -> None:
    counts = Counts()
    counts.hit(Tier.EXACT, entry())
    counts.hit(Tier.EXACT, entry(cost_nanousd=None))
    counts.hit(Tier.SEMANTIC, entry())
    assert counts.hits == {"exact": 2, "semantic": 1}
    assert counts.saved_nanousd == 2 * 39_000
    assert counts.saved_tokens == 3 * 12


def test_durations_by_stage() -> None:
    counts = Counts()
    counts.took("exact", 0.0001)
    counts.took("exact", 0.004)
    counts.took("wait", 1.0)
    assert sorted(counts.stages) == ["exact", "wait"]
    assert counts.stages["exact"].count == 2
    assert counts.stages["exact"].total_ms == pytest.approx(4.1)


@pytest.mark.parametrize(
    ("millis", "step"),
    [(0, 0), (0.04, 0), (0.06, 1), (1, 4), (1.01, 5), (499, 11), (501, 12), (10_000, 12)],
)
def test_a_duration_falls_into_its_step(millis: float, step: int) -> None:
    durations = Durations()
    durations.add(millis / 1000)
    assert [place for place, count in enumerate(durations.steps) if count] == [step]
    assert len(durations.steps) == len(STEPS_MS) + 1


def test_quantiles_are_the_upper_ends_of_steps() -> None:
    durations = Durations()
    assert durations.quantile_ms(0.5) is None
    for millis in [0.3] * 98 + [7, 900]:
        durations.add(millis / 1000)
    assert durations.quantile_ms(0.5) == 0.5
    assert durations.quantile_ms(0.98) == 0.5
    assert durations.quantile_ms(0.99) == 10.0
    assert durations.quantile_ms(1.0) == float("inf")
