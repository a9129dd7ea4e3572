"""Clopper and Pearson's bounds, against scipy 1.16's `beta.ppf`."""

import math

import pytest

from proxy.semantic.bounds import interval, is_bounded, lower_bound, upper_bound

SCIPY = [
    (0, 300, 0.95, 0.009936081944457708, 0.0),
    (3, 100, 0.95, 0.07571079374983004, 0.00822582910765269),
    (10, 1000, 0.95, 0.016903175120562504, 0.005435140144706775),
    (2.5, 61.7, 0.975, 0.1240914556971755, 0.006796050065305045),
    (0, 59, 0.95, 0.04950760988822693, 0.0),
    (150, 20000, 0.975, 0.00879512596290582, 0.006351314344783236),
    (0.3, 12.4, 0.95, 0.2519600626669157, 2.5178686636757222e-06),
    (49, 50, 0.95, 0.9989746601327679, 0.9086018692803026),
    (1, 1, 0.95, 1.0, 0.05),
]


@pytest.mark.parametrize(("wrong", "total", "confidence", "upper", "lower"), SCIPY)
def test_bounds(wrong: float, total: float, confidence: float, upper: float, lower: float) -> None:
    assert upper_bound(wrong, total, confidence) == pytest.approx(upper, rel=1e-8)
    assert lower_bound(wrong, total, confidence) == pytest.approx(lower, rel=1e-8)


@pytest.mark.parametrize(("wrong", "total", "confidence", "upper", "lower"), SCIPY)
def test_a_step_without_the_bound(
    wrong: float, total: float, confidence: float, upper: float, lower: float
) -> None:
    assert is_bounded(wrong, total, upper + 1e-7, confidence) is (upper < 1)
    assert not is_bounded(wrong, total, upper - 1e-7, confidence)


@pytest.mark.parametrize(
    ("wrong", "total", "low", "high"), [(0, 0, 0.0, 1.0), (0, -1, 0.0, 1.0), (7, 5, 0.478176, 1.0)]
)
def test_edges(wrong: float, total: float, low: float, high: float) -> None:
    assert interval(wrong, total) == pytest.approx((low, high), abs=1e-6)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("total", [20, 100, 400])
def test_it_covers(rate: float, total: int) -> None:
    """Summed over all counts that there can be, the bound is below the rate in 5 % at most."""
    missed = sum(
        math.comb(total, wrong) * rate**wrong * (1 - rate) ** (total - wrong)
        for wrong in range(total + 1)
        if upper_bound(wrong, total) < rate
    )
    assert missed <= 0.05
