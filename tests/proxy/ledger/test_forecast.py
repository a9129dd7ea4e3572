"""Forecasts: what they must be where that is known, and how often they hold where chance rules."""

import random
from datetime import date, timedelta
from statistics import fmean

import pytest

from proxy.ledger.forecast import (
    MEAN,
    NOTHING,
    SMOOTHED,
    Estimate,
    Path,
    exhaustion,
    forecast,
)
from proxy.types import Period

TENTH = date(2026, 4, 10)  # April has 30 days: 21 are left, this one among them
WEEK = [10.0, 20.0, 30.0, 40.0, 50.0, 6.0, 5.0]


def test_no_history() -> None:
    found = forecast([0.0] * 180, 0.0, TENTH, 3)
    assert (found.method, found.history_days) == (NOTHING, 0)
    assert found.month == Estimate(0, 0, 0)
    assert [(day.day.isoformat(), day.cost) for day in found.days] == [
        ("2026-04-11", (0, 0, 0)),
        ("2026-04-12", (0, 0, 0)),
        ("2026-04-13", (0, 0, 0)),
    ]
    assert forecast([], 2.5, TENTH, 1).month == (2.5, 2.5, 2.5)


def test_a_few_days_go_on_with_their_mean() -> None:
    found = forecast([0.0, 0.0, 4.0, 6.0, 5.0], 1.0, TENTH, 40)
    assert (found.method, found.history_days, len(found.days)) == (MEAN, 3, 40)
    assert {day.cost.expected for day in found.days} == {5.0}
    assert found.month_to_date == 16.0  # of the nine days of the month these are the last five
    assert found.month.expected == 15.0 + 21 * 5.0
    assert 0 < found.month.low < found.month.expected < found.month.high


def test_one_day_is_as_uncertain_as_it_is_large() -> None:
    found = forecast([8.0], 0.0, TENTH, 1)
    assert found.days[0].cost.expected == 8.0
    assert found.days[0].cost.low == 0.0
    assert found.days[0].cost.high > 16.0


def test_a_week_that_repeats_is_foreseen_exactly() -> None:
    found = forecast(WEEK * 10, 0.0, TENTH, 14)
    assert found.method == SMOOTHED
    assert [day.cost.expected for day in found.days] == pytest.approx(WEEK[1:] + WEEK + WEEK[:1])
    assert found.month_to_date == 6 + 5 + 161  # nine days
    assert found.month.expected == pytest.approx(6 + 5 + 161 + 3 * 161)  # and three weeks
    for day in found.days:
        assert day.cost.low == pytest.approx(day.cost.expected)
        assert day.cost.high == pytest.approx(day.cost.expected)


def test_the_month_has_its_days_and_no_others() -> None:
    flat = [7.0] * 60
    first = forecast(flat, 0.0, date(2026, 4, 1), 1)
    assert (first.month_to_date, first.month.expected) == pytest.approx((0.0, 210.0))
    last = forecast(flat, 1.0, date(2026, 4, 30), 1)
    assert (last.month_to_date, last.month.expected) == pytest.approx((204.0, 210.0))
    december = forecast(flat, 0.0, date(2026, 12, 31), 1)
    assert december.month.expected == pytest.approx(217.0)
    leap = forecast(flat, 0.0, date(2028, 2, 10), 1)
    assert leap.month.expected == pytest.approx(203.0)


def test_today_is_no_less_than_it_is_already() -> None:
    found = forecast([7.0] * 60, 500.0, date(2026, 4, 30), 1)
    assert found.month == pytest.approx((703.0, 703.0, 703.0))
    assert found.month_to_date == pytest.approx(703.0)


def test_only_half_a_year_counts() -> None:
    found = forecast([1000.0] * 200 + [0.0] + [1.0] * 180, 0.0, TENTH, 1)
    assert found.history_days == 180
    assert found.days[0].cost.expected == pytest.approx(1.0)


def test_nothing_is_below_zero() -> None:
    chance = random.Random(3)
    costs = [max(0.0, 100 - day + chance.gauss(0, 20)) for day in range(110)]
    found = forecast(costs, 0.0, TENTH, 365)
    assert min(min(day.cost) for day in found.days) >= 0
    assert min(found.month) >= 0


def test_the_interval_grows_with_the_days_ahead() -> None:
    chance = random.Random(5)
    level, costs = 100.0, []
    for _ in range(120):  # a level that wanders
        level += chance.gauss(0, 5)
        costs.append(level + chance.gauss(0, 2))
    widths = [d.cost.high - d.cost.low for d in forecast(costs, 0.0, TENTH, 60).days]
    assert widths == sorted(widths)
    assert widths[-1] > 2 * widths[0]


def test_errors_add_up_over_days() -> None:
    """Carried whole, as in a random walk: one error is in every day after it."""
    path = Path([10.0] * 3, [1.0, 1.0, 1.0], -1.0, 2.0)
    assert path.day(0) == (10.0, 9.0, 12.0)
    assert path.day(2) == pytest.approx((10.0, 10 - 3**0.5, 10 + 2 * 3**0.5))
    spread = (3**2 + 2**2 + 1) ** 0.5
    assert path.total(0, 2) == pytest.approx((30.0, 30 - spread, 30 + 2 * spread))
    spread = (2**2 + 2**2 + 1) ** 0.5
    assert path.total(1, 2) == pytest.approx((20.0, 20 - spread, 20 + 2 * spread))
    alone = Path([10.0] * 3, [1.0, 0.0, 0.0], -1.0, 1.0)
    assert alone.total(0, 2).high == pytest.approx(30 + 3**0.5)


def weekly(chance: random.Random, days: int) -> list[float]:
    """Days of a made-up customer: a shape of the week, a level that hardly moves, chance."""
    level = chance.uniform(50, 500)
    shape = [chance.uniform(0.3, 1.7) for _ in range(7)]
    return [max(0.0, level * (shape[day % 7] + chance.gauss(0, 0.12))) for day in range(days)]


@pytest.mark.parametrize("history", [21, 45, 90, 180])
def test_backtest(history: int) -> None:
    """Of days that it has not seen 8 of 10 are in the interval, and it is nearer than the mean."""
    chance = random.Random(11)
    held = count = months = 0
    ours = naive = 0.0
    for _ in range(60):
        costs = weekly(chance, history + 28)
        path = forecast(costs[:history], 0.0, date(2026, 3, 1), 28).path
        mean = fmean(costs[:history])
        for ahead, cost in enumerate(costs[history:]):
            day = path.day(ahead)
            held += day.low <= cost <= day.high
            ours += abs(day.expected - cost)
            naive += abs(mean - cost)
            count += 1
        total = path.total(0, 27)
        months += total.low <= sum(costs[history:]) <= total.high
    assert 0.72 <= held / count <= 0.9
    assert months / 60 >= 0.7
    assert ours < 0.5 * naive


def test_backtest_of_a_rising_level() -> None:
    chance = random.Random(12)
    ours = naive = 0.0
    for _ in range(20):
        costs = [cost * (1 + day / 60) for day, cost in enumerate(weekly(chance, 104))]
        path = forecast(costs[:90], 0.0, date(2026, 3, 1), 14).path
        ours += sum(abs(path.day(a).expected - cost) for a, cost in enumerate(costs[90:]))
        naive += sum(abs(fmean(costs[:90]) - cost) for cost in costs[90:])
    assert ours < 0.5 * naive


@pytest.mark.parametrize(
    ("amount", "per", "ends"),
    [
        (63.0 - 0.5, Period.MONTH, date(2026, 4, 10)),  # 63 are spent before today's end
        (70.5, Period.MONTH, date(2026, 4, 11)),
        (210.0, Period.MONTH, date(2026, 4, 30)),
        (210.5, Period.MONTH, date(2026, 5, 31)),  # May has a day more
        (217.5, Period.MONTH, None),
        (6.5, Period.DAY, date(2026, 4, 10)),
        (7.5, Period.DAY, None),
    ],
)
def test_when_a_budget_ends(amount: float, per: Period, ends: date | None) -> None:
    found = forecast([7.0] * 60, 0.0, TENTH, 60)
    assert exhaustion(found, amount - 0.001, per) == (ends, ends)


def test_a_budget_that_is_spent_ends_today() -> None:
    found = forecast([7.0] * 60, 9.0, TENTH, 60)
    assert exhaustion(found, 9.0, Period.DAY) == (TENTH, TENTH)
    assert exhaustion(found, 72.0, Period.MONTH) == (TENTH, TENTH)
    assert exhaustion(found, 72.5, Period.MONTH).expected == TENTH + timedelta(1)


def test_a_budget_may_end_earlier_than_is_expected() -> None:
    chance = random.Random(2)
    costs = [10 + chance.gauss(0, 2) for _ in range(90)]
    found = forecast(costs, 0.0, date(2026, 4, 1), 29)
    ends = exhaustion(found, 250.0, Period.MONTH)
    assert ends.expected is not None
    assert ends.earliest is not None
    assert date(2026, 4, 20) < ends.earliest < ends.expected <= date(2026, 4, 27)


def test_estimates_are_in_order() -> None:
    path = Path([-3.0, 5.0], [1.0, 0.5], 2.0, -1.0)  # errors that all lie on one side
    assert path.day(0) == Estimate(0.0, 0.0, 0.0)
    assert path.day(1) == (5.0, 5.0, 5.0)
