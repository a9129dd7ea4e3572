"""How far a rate may be from the one that was counted: Clopper and Pearson's bounds. Pure.

Counts may be real, as effective sizes are: the bounds are the quantiles of the Beta distribution
that run through those of whole counts. Without scipy, which would be 100 MB for one function.
"""

import math


def upper_bound(wrong: float, total: float, confidence: float = 0.95) -> float:
    """One-sided Clopper-Pearson: a rate above it would have shown more wrong ones than `wrong`
    of `total` with a probability of `confidence` or more.
    """
    if total <= 0 or wrong >= total:
        return 1.0
    return _quantile(confidence, max(wrong, 0.0) + 1, total - max(wrong, 0.0))


def lower_bound(wrong: float, total: float, confidence: float = 0.95) -> float:
    """The other side of `upper_bound`."""
    if total <= 0 or wrong <= 0:
        return 0.0
    return _quantile(1 - confidence, min(wrong, total), total - min(wrong, total) + 1)


def interval(wrong: float, total: float) -> tuple[float, float]:
    """Both sides, at 95 % together."""
    return lower_bound(wrong, total, 0.975), upper_bound(wrong, total, 0.975)


def is_bounded(wrong: float, total: float, most: float, confidence: float) -> bool:
    """Whether `upper_bound` is at most `most`, for the price of one step of it."""
    return wrong < total and _beta(most, wrong + 1, total - wrong) >= confidence


def _quantile(share: float, a: float, b: float) -> float:
    """Where the Beta distribution's share lies, by bisection to the last bit that matters."""
    low, high = 0.0, 1.0
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        if _beta(middle, a, b) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function: its continued fraction, by Lentz's method."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(1 - x, b, a)
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log + a * math.log(x) + b * math.log1p(-x)) / a
    tiny = 1e-300
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or tiny)
    fraction = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / (1 + term * d or tiny)
            c = 1 + term / c or tiny
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * fraction
