"""Turns and latencies."""

import pytest

from proxy import signals
from proxy.signals import Signals


def test_turns_count_by_name() -> None:
    seen = Signals()
    assert [seen.turn("a"), seen.turn("a"), seen.turn("b")] == [0, 1, 0]


def test_latency_is_smoothed() -> None:
    seen = Signals()
    assert seen.latency("x") is None
    seen.note_latency("x", 1.0)
    seen.note_latency("x", 2.0)
    assert seen.latency("x") == pytest.approx(1.3)


def test_a_stale_latency_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Signals()
    seen.note_latency("x", 1.0)
    monkeypatch.setattr(signals, "STALE_AFTER", -1.0)
    assert seen.latency("x") is None
