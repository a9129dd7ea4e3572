"""What the days to come will cost, from those that were. Pure.

The method is exponential smoothing with a damped trend and a season of seven days, all additive
(Holt and Winters'; the error-correction form of Hyndman, Koehler, Ord and Snyder, *Forecasting
with Exponential Smoothing*, 2008). Of a small grid of parameters those count whose forecasts of one
day ahead were nearest to what came. Before there are 14 days, the mean goes on.

The interval holds 8 of 10 days: it is that of the errors that these forecasts of one day ahead
made, and grows with the days ahead as errors carry over into level, trend and season. For a sum of
days they are added up with their signs, as one error is in all days after it. Nothing is ever
below zero.
"""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from itertools import accumulate, dropwhile, product
from math import sqrt
from statistics import fmean, quantiles, stdev
from typing import NamedTuple

from proxy.types import Period

HISTORY = 180  # days that count
WEEK = 7
LEAST = 2 * WEEK  # days from which on a week has a shape
ENOUGH = 4 * WEEK  # days from which on the first two weeks, which the start is made of, don't count
INTERVAL = 0.8  # of what comes is between low and high
TENTH = 1.2816  # of a normal distribution lies beyond this many deviations

SMOOTHED = "weekly exponential smoothing (Holt-Winters, additive, damped trend)"
MEAN = "mean of the days so far"
NOTHING = "no history"
"""The methods, as answers name them."""

_ALPHAS, _BETAS, _GAMMAS = (0.02, 0.08, 0.2, 0.4, 0.7), (0.0, 0.005, 0.02, 0.08), (0.0, 0.1, 0.3)
_PHIS = (0.9, 0.98)
_FREE = 4  # parameters that are fitted, so that errors look smaller than they are


class Estimate(NamedTuple):
    """What is expected, and between what it is in 8 of 10 cases."""

    expected: float
    low: float
    high: float


class DayAhead(NamedTuple):
    """A whole day to come."""

    day: date
    cost: Estimate


class Path:
    """The days ahead, the first of which is today."""

    def __init__(
        self, expected: Sequence[float], carried: Sequence[float], below: float, above: float
    ):
        """`carried[j]` is how much of an error is still in the forecast j days later, 1 at 0;
        `below` and `above` are the ends of the interval of one day's errors."""
        self._expected = [max(0.0, cost) for cost in expected]
        self._sums = [0.0, *accumulate(carried)]
        self._squares = [0.0, *accumulate(each**2 for each in carried)]
        self._totals = [0.0, *accumulate(self._expected)]
        self._below, self._above = min(0.0, below), max(0.0, above)

    def __len__(self) -> int:
        return len(self._expected)

    def day(self, ahead: int) -> Estimate:
        """Of one day; 0 is today."""
        return self._around(self._expected[ahead], sqrt(self._squares[ahead + 1]))

    def total(self, first: int, last: int) -> Estimate:
        """Of all days from `first` to `last`."""
        weights = (
            self._sums[last - error + 1] - self._sums[max(0, first - error)]
            for error in range(last + 1)
        )
        spread = sqrt(sum(weight**2 for weight in weights))
        return self._around(self._totals[last + 1] - self._totals[first], spread)

    def _around(self, expected: float, spread: float) -> Estimate:
        return Estimate(
            expected,
            max(0.0, expected + self._below * spread),
            expected + self._above * spread,
        )


class Forecast(NamedTuple):
    """Costs in USD. `days` begin tomorrow; `history_days` are those from the first use to
    yesterday. `path` begins today."""

    method: str
    history_days: int
    today: date
    today_so_far: float
    month_to_date: float
    month: Estimate
    days: tuple[DayAhead, ...]
    path: Path


class Exhaustion(NamedTuple):
    """On which day a budget ends: as is expected, and at the earliest that the interval holds.
    None is not within the days that the forecast is for."""

    expected: date | None
    earliest: date | None


def forecast(costs: Sequence[float], so_far: float, today: date, horizon_days: int) -> Forecast:
    """Costs of the days up to yesterday, oldest first, and of today so far -> the days to come."""
    whole = list(dropwhile(lambda cost: not cost, costs[-HISTORY:]))
    left = (_next_month(today) - today).days  # of the month, today among them
    method, path = _path(whole, max(horizon_days + 1, left))
    in_month = sum(costs[-(today.day - 1) :]) if today.day > 1 else 0.0
    rest = path.total(0, left - 1)
    days = tuple(
        DayAhead(today + timedelta(ahead), path.day(ahead)) for ahead in range(1, horizon_days + 1)
    )
    month = Estimate(*(in_month + max(so_far, each) for each in rest))
    return Forecast(method, len(whole), today, so_far, in_month + so_far, month, days, path)


def exhaustion(found: Forecast, amount: float, per: Period) -> Exhaustion:
    """When a budget of so much a day or month ends, if it is spent as forecast."""
    if per is Period.DAY and found.today_so_far >= amount:
        return Exhaustion(found.today, found.today)
    if per is Period.MONTH and found.month_to_date >= amount:
        return Exhaustion(found.today, found.today)
    expected = earliest = None
    for day, spent in _running(found, per):
        if earliest is None and spent.high >= amount:
            earliest = day
        if spent.expected >= amount:
            expected = day
            break
    return Exhaustion(expected, earliest)


def _running(found: Forecast, per: Period) -> Iterator[tuple[date, Estimate]]:
    """What will be spent of a budget by the end of each day."""
    first, before = 0, found.month_to_date - found.today_so_far
    daily = per is Period.DAY
    for ahead in range(len(found.path)):
        day = found.today + timedelta(ahead)
        if ahead and (daily or day.day == 1):
            first, before = ahead, 0.0
        spent = found.path.day(ahead) if daily else found.path.total(first, ahead)
        least = found.today_so_far if first == 0 else 0.0
        base = 0.0 if daily else before
        yield day, Estimate(*(base + max(least, each) for each in spent))


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(32)).replace(day=1)


def _path(costs: Sequence[float], length: int) -> tuple[str, Path]:
    if not costs:
        return NOTHING, Path([0.0] * length, [0.0] * length, 0.0, 0.0)
    if len(costs) < LEAST:
        mean = fmean(costs)
        spread = TENTH * stdev(costs) if len(costs) > 1 else mean
        carried = [1.0, *[1 / len(costs)] * (length - 1)]  # the mean itself is uncertain
        return MEAN, Path([mean] * length, carried, -spread, spread)
    return SMOOTHED, _smoothed(costs, length)


class _Parameters(NamedTuple):
    """How much of an error goes into level, trend and season, and what stays of a trend a day."""

    alpha: float
    beta: float
    gamma: float
    phi: float


class _State(NamedTuple):
    """Where the smoothing has come to; `season[0]` is that of the next day."""

    level: float
    trend: float
    season: list[float]


def _smoothed(costs: Sequence[float], length: int) -> Path:
    counted = LEAST if len(costs) >= ENOUGH else 0
    best: tuple[float, _Parameters, _State, list[float]] | None = None
    for values in product(_ALPHAS, _BETAS, _GAMMAS, _PHIS):
        parameters = _Parameters(*values)
        state, errors = _run(costs, parameters)
        score = sum(error * error for error in errors[counted:])
        if best is None or score < best[0]:
            best = score, parameters, state, errors[counted:]
    assert best is not None
    _, parameters, state, errors = best
    fitted = _FREE if counted else _FREE + WEEK  # without the rest the season's start is too
    wider = sqrt(len(errors) / (len(errors) - fitted))
    if counted:
        tenths = quantiles(errors, n=10)
        below, above = wider * tenths[0], wider * tenths[-1]
    else:  # too few to see their shape
        above = wider * TENTH * sqrt(fmean(error * error for error in errors))
        below = -above
    expected, carried = _ahead(state, parameters, length)
    return Path(expected, carried, below, above)


def _run(costs: Sequence[float], parameters: _Parameters) -> tuple[_State, list[float]]:
    """The smoothing over all days, and the errors of its forecasts of one day ahead."""
    alpha, beta, gamma, phi = parameters
    level, trend = fmean(costs[:LEAST]), 0.0
    season = [(costs[day] + costs[day + WEEK]) / 2 - level for day in range(WEEK)]
    errors = []
    for day, cost in enumerate(costs):
        trend *= phi
        place = day % WEEK
        error = cost - level - trend - season[place]
        level += trend + alpha * error
        trend += beta * error
        season[place] += gamma * error
        errors.append(error)
    turn = len(costs) % WEEK
    return _State(level, trend, season[turn:] + season[:turn]), errors


def _ahead(state: _State, parameters: _Parameters, length: int) -> tuple[list[float], list[float]]:
    """What is expected of the days ahead, and what is carried of an error."""
    expected, carried, damped = [], [1.0], 0.0
    for ahead in range(1, length + 1):
        damped += parameters.phi**ahead
        expected.append(state.level + damped * state.trend + state.season[(ahead - 1) % WEEK])
        weekly = 0.0 if ahead % WEEK else parameters.gamma
        carried.append(parameters.alpha + parameters.beta * damped + weekly)
    return expected, carried[:length]
