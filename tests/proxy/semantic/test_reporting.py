"""What the tier by meaning says of itself."""

from dataclasses import dataclass, field

import pytest

from proxy.cache.report import Point, WrongRate
from proxy.semantic.calibration import Calibration, Label, Source
from proxy.semantic.reporting import report_of
from tests.proxy.semantic.tiers import Embedder


@dataclass
class Tier:
    """What a report is made of, with numbers that are all different."""

    calibration: Calibration = field(default_factory=lambda: Calibration(((0.05, 0.9),)))
    embedder: Embedder = field(default_factory=lambda: Embedder({}))
    failure: str | None = None
    entries: int = 7
    shadow_requests: int = 3
    shadow_nanousd: int = 117_000
    serves: bool = True
    quarantined: int = 2


def labels(count: int, score: float, source: Source, *, right: bool = True) -> list[Label]:
    return [Label(score, right, 1.0, source, float(at)) for at in range(count)]


def test_a_tier_that_has_seen_nothing() -> None:
    report = report_of(Tier(), [])
    assert (report.state, report.embedder) == ("on", "a-model/1")
    assert (report.entries, report.labels, report.quarantined) == (7, 0, 2)
    assert report.wrong == WrongRate(None, None, None, 0)
    assert (report.thresholds, report.curve, report.certified) == ({}, [], False)
    assert (report.shadow_requests, report.shadow_nanousd) == (3, 117_000)


@pytest.mark.parametrize(
    ("failure", "serves", "state"),
    [
        (None, True, "on"),
        (None, False, "shadow"),
        ("no file", True, "embedder: no file"),
        ("no file", False, "embedder: no file"),
    ],
)
def test_its_state(failure: str | None, serves: bool, state: str) -> None:
    assert report_of(Tier(failure=failure, serves=serves), []).state == state


def test_thresholds_are_those_that_were_asked_for() -> None:
    report = report_of(Tier(), [0.01, 0.05, 0.125])
    assert report.thresholds == {"0.01": None, "0.05": 0.9, "0.125": 0.9}
    assert not report.certified  # it is the prior's


def test_labels_that_certify() -> None:
    tier = Tier()
    tier.calibration.add(labels(500, 0.96, "near_miss"))
    report = report_of(tier, [0.01])
    assert report.labels == 500
    assert report.certified
    assert report.thresholds == {"0.01": 0.0}


def test_the_wrong_rate_is_of_what_was_served() -> None:
    tier = Tier()
    tier.calibration.add(labels(30, 0.5, "near_miss", right=False))
    assert report_of(tier, []).wrong == WrongRate(None, None, None, 0)
    tier.calibration.add(labels(19, 0.96, "shadow"))
    tier.calibration.add(labels(1, 0.96, "shadow", right=False))
    wrong = report_of(tier, []).wrong
    # Clopper and Pearson for 1 of 20: 0.13 % to 24.87 % (R: binom.test(1, 20)).
    assert (wrong.rate, wrong.labels) == (0.05, 20)
    assert wrong.low == pytest.approx(0.00127, abs=1e-5)
    assert wrong.high == pytest.approx(0.24873, abs=1e-5)


def test_the_curve_is_the_calibrations() -> None:
    tier = Tier()
    tier.calibration.add(labels(6, 0.5, "near_miss", right=False))
    tier.calibration.add(labels(4, 0.96, "near_miss"))
    curve = report_of(tier, []).curve
    assert all(isinstance(point, Point) for point in curve)
    first, last = curve[0], curve[-1]
    assert (first.score, first.served, first.wrong, first.labels) == (0.0, 1.0, 0.6, 10)
    assert (last.score, last.served, last.wrong, last.labels) == (0.96, 0.4, 0.0, 4)
    assert (last.low, last.high) == (0.0, pytest.approx(0.6024, abs=1e-4))  # 1 - 0.025 ** (1 / 4)
