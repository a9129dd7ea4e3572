"""The tier by meaning in the words of `proxy.cache.report`."""

from collections.abc import Sequence
from typing import Protocol

from proxy.cache.report import MeaningReport, Point, WrongRate
from proxy.semantic.calibration import Calibration
from proxy.semantic.meaning import Embedder


class Reported(Protocol):
    """What a report is made of."""

    embedder: Embedder
    calibration: Calibration
    failure: str | None
    entries: int
    shadow_requests: int
    shadow_nanousd: int
    serves: bool

    @property
    def quarantined(self) -> int: ...


def report_of(tier: Reported, asked: Sequence[float]) -> MeaningReport:
    """`asked` is every `max_wrong` that a request had so far."""
    calibration = tier.calibration
    rate = calibration.estimate()
    wrong = WrongRate(rate.rate, None, None, 0)
    if rate.rate is not None:
        wrong = WrongRate(rate.rate, rate.low, rate.high, rate.labels)
    curve = [
        Point(point.threshold, point.share, point.wrong, point.low, point.high, point.labels)
        for point in calibration.curve()
    ]
    thresholds = {f"{most:g}": calibration.threshold_for(most) for most in asked}
    return MeaningReport(
        state=_state_of(tier),
        embedder=tier.embedder.id,
        entries=tier.entries,
        labels=calibration.size,
        quarantined=tier.quarantined,
        wrong=wrong,
        thresholds=thresholds,
        curve=curve,
        shadow_requests=tier.shadow_requests,
        shadow_nanousd=tier.shadow_nanousd,
        certified=any(
            calibration.threshold_for(most) not in (None, calibration.prior(most)) for most in asked
        ),
    )


def _state_of(tier: Reported) -> str:
    if tier.failure is not None:
        return f"embedder: {tier.failure}"
    return "on" if tier.serves else "shadow"
