"""What Redis is to be told: summed, bounded, forgotten when no window remembers it."""

import pytest

from proxy.counters import Kind, Want
from proxy.shared import backlog as module
from proxy.shared.backlog import Backlog, Debt

MONTH = Want("budget", Kind.FIXED, 1000, 10, 31 * 86400.0, 1.79e9)
MINUTE = Want("rpm", Kind.SLIDING, 100, 1, 60.0)
HELD = Want("concurrency", Kind.GAUGE, 5, 1, 600.0)


def test_amounts_of_a_term_are_summed() -> None:
    backlog = Backlog(1)
    for at in (1.0, 2.0, 500.0):
        backlog.owe(MONTH, 7, at)
    assert [(owed.want, owed.used, owed.at) for owed in backlog.take(1e9)] == [(MONTH, 21, 500.0)]
    assert not backlog


def test_amounts_of_a_sliding_window_keep_their_time_to_ten_seconds() -> None:
    backlog = Backlog(1)
    for at in (0.0, 9.0, 12.0, 119.0):
        backlog.owe(MINUTE, 1, at)
    assert [(owed.used, owed.at) for owed in backlog.take(119.5)] == [
        (2, 9.0),
        (1, 12.0),
        (1, 119.0),
    ]
    backlog.owe(MINUTE, 1, 0.0)
    assert backlog.take(120.0) == []


def test_of_a_gauge_and_of_nothing_there_is_nothing_to_tell() -> None:
    backlog = Backlog(1)
    backlog.owe(HELD, 1, 0.0)
    backlog.owe(MONTH, 0, 0.0)
    assert not backlog


def test_room_is_a_share_of_what_redis_had_left_less_what_was_lent_since() -> None:
    backlog = Backlog(4)
    assert backlog.room(MONTH) == 250
    backlog.saw(MONTH, 400)
    assert backlog.room(MONTH) == 100
    backlog.lend(MONTH, 70)
    assert backlog.room(MONTH) == 30
    backlog.lend(MONTH, -20)  # settled for less
    assert backlog.room(MONTH) == 50
    backlog.owe(MONTH, 50, 0.0)
    backlog.paid(backlog.take(0.0))
    assert backlog.room(MONTH) == 350 // 4
    assert backlog.room(MONTH._replace(begins=0.0)) == 250  # another month


def test_room_is_never_less_than_none() -> None:
    backlog = Backlog(2)
    backlog.saw(MONTH, 10)
    backlog.lend(MONTH, 100)
    assert backlog.room(MONTH) == 0


def test_everything_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 100)
    backlog = Backlog(1)
    for number in range(1000):
        want = MONTH._replace(key=f"budget {number}")
        backlog.saw(want, 5)
        backlog.lend(want, 5)
        backlog.owe(want, 5, 0.0)
        backlog.defer(Debt(f"holder {number}", (want,), (5,)))
    sizes = [len(backlog._left), len(backlog._lent), len(backlog._owed), len(backlog.debts)]
    assert sizes == [100] * 4
    assert backlog.lost == 1800
    assert backlog.debts[0].holder == "holder 900"
    assert backlog.take(0.0)[0].want.key == "budget 900"


def test_batches_are_bounded() -> None:
    backlog = Backlog(1)
    for number in range(250):
        backlog.owe(MONTH._replace(key=str(number)), 1, 0.0)
    assert [len(backlog.take(0.0)) for _ in range(4)] == [100, 100, 50, 0]
