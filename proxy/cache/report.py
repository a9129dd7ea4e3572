"""What the cache says of itself, to whoever asks by `/api/v1/cache/metrics` or `turnout cache
report`."""

from typing import NamedTuple


class Point(NamedTuple):
    """One threshold of the curve: were answers served from `score` up, what would come of it.

    `served` is the share of candidates at or above it; `wrong` the estimated P(wrong | served)
    with its two-sided 95 % interval; `labels` is what that rests on.
    """

    score: float
    served: float
    wrong: float
    low: float
    high: float
    labels: int


class WrongRate(NamedTuple):
    """P(wrong | served by meaning), with its two-sided 95 % interval; None without labels."""

    rate: float | None
    low: float | None
    high: float | None
    labels: int


class MeaningReport(NamedTuple):
    """The tier by meaning. `state` is `on`, `shadow` (it only reports), `off`, or what is wrong
    with its embedder; `thresholds` is what is served from, by max_wrong, None where nothing is."""

    state: str
    embedder: str
    entries: int
    labels: int
    quarantined: int
    wrong: WrongRate
    thresholds: dict[str, float | None]
    curve: list[Point]
    shadow_requests: int
    shadow_nanousd: int
    certified: bool
