"""How alike two questions have to be: the score threshold that labels have certified.

A label says whether a kept answer was right for a question, and how alike the pair was. A pair
that was not served is always labelled, for its fresh answer is there (near miss); one that was
served is labelled with a probability p, and stands for 1/p pairs (shadow). The pairs at or above
a threshold are then labelled at two rates, and counting labels would give too much to the low
scores. So the scores are cut into the steps of `GRID`. In a step labels count alike, whichever
way they came: what is right does not depend on who looked. The steps count by the sums of their
weights, the pairs that they stand for. That is Kish's effective size (Survey Sampling, 1965) with
the weights averaged within each step, which keeps one shadow label from outweighing hundreds.

Nothing here knows a question or an answer.
"""

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from proxy.semantic.bounds import interval, is_bounded, lower_bound

Source = Literal["near_miss", "shadow", "repeat"]
Prior = tuple[tuple[float, float], ...]
"""Pairs of a `max_wrong` and the threshold that kept to it elsewhere."""

GRID = (
    *(0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45),
    *(round(0.5 + number / 100, 2) for number in range(47)),
    *(0.97, 0.975, 0.98, 0.985, 0.99, 0.9925, 0.995, 0.997, 0.998, 0.999, 0.9995, 0.9999),
)
"""All thresholds there are, loosest first: fixed, so that none is picked to suit the labels."""

CAPACITY = 20_000  # labels that count, the newest
CONFIDENCE = 0.975  # of one look; `Calibration` says what many looks come to
BEGINNINGS = (0.0, 0.25)  # where a sequence of tests begins: `threshold` says what for
GROWTH = 0.1  # labels that are new, as a share of all, before another look
WINDOWS = (20, 60, 180, 500)  # newest served labels that are watched for a drift: quick, and sure
ALARM = 0.998  # confidence of a drift, in one of them: it is looked for at every label
LEAST_OWN = 50  # labels of a scope before it is looked at by itself
STRENGTH = 50.0  # labels that the pool counts for in a scope's rate
PRIOR_FROM = 0.05  # the least `max_wrong` that the shipped prior may serve
PRIOR_STRENGTH = 100.0  # labels that the shipped prior counts for, at half of `max_wrong` wrong
REMEMBERED = 10_000  # decisions of scopes that are kept
REPEATS = 2_000

Floats = NDArray[np.float64]
Counts = NDArray[np.intp]


class Label(NamedTuple):
    """One pair that was judged. `score` is the estimate of P(right); `weight` is 1 over the
    probability that this pair was labelled; `at` epoch seconds; `scope` the pool, or ''.

    The source `repeat` is the same question asked again after its answer had expired.
    """

    score: float
    right: bool
    weight: float
    source: Source
    at: float
    scope: str = ""


class Point(NamedTuple):
    """What a threshold would do: the share of all pairs at or above it, and of those the share
    that is wrong, with its two-sided 95 % interval, from so many labels."""

    threshold: float
    share: float
    wrong: float
    low: float
    high: float
    labels: int


class WrongRate(NamedTuple):
    """The share of wrong ones, None without labels, and its two-sided 95 % interval."""

    rate: float | None
    low: float
    high: float
    labels: int


def threshold(labels: Sequence[Label], max_wrong: float, confidence: float = 0.95) -> float | None:
    """The loosest threshold t with a bound on P(wrong | score >= t) of at most `max_wrong`; None
    where there is none.

    Many thresholds are looked at, and the best of many lucky ones would often be a bad one. So
    they are tested in an order fixed beforehand, the strictest first, and the first that fails
    ends it (fixed-sequence testing: Maurer and others, 1995). If any threshold is passed that
    should not be, then so is the first in that order that should not be, and the probability of
    that is 1 - confidence at most, however many there are. A threshold that has too few labels
    is skipped: that depends on the scores and weights alone, and given these the order is fixed.

    What is too few? One wrong label at the very top would end a sequence that begins where a
    faultless record just passes. So there are two of them, each with half of the error: one
    begins there, the other where a record with a quarter of `max_wrong` passes, and what either
    has passed is certified. By the default confidence 368 faultless labels certify 1 %.

    What is not exact: the effective size takes the steps for equally wrong, and where labels of
    weight 20 and of weight 1 meet, it is the high scores that are labelled rarely. As long as
    these are no worse than the lower ones, this errs to the safe side. And it holds for one look
    at the labels; of many looks, see `Calibration`. Labels of repeats don't count.
    """
    return _certified(_tally_of(labels), max_wrong, confidence)


def curve(labels: Sequence[Label]) -> list[Point]:
    """What each threshold would do, loosest first; without those that no label reaches.

    It takes a tenth of a second for 20,000 labels.
    """
    return _points(_tally_of(labels))


class _Tally(NamedTuple):
    """Labels, wrong ones and weight of each step of the grid, the first below all of it."""

    labels: Counts
    wrong: Counts
    weight: Floats


class _Evidence(NamedTuple):
    """For each threshold: labels, weight, effective size, and how many of it are wrong."""

    labels: Counts
    weight: Floats
    total: Floats
    wrong: Floats


def _tally(steps: Counts, wrong: NDArray[np.bool_], weight: Floats) -> _Tally:
    size = len(GRID) + 1
    return _Tally(
        np.bincount(steps, minlength=size),
        np.bincount(steps[wrong], minlength=size),
        np.bincount(steps, weight, minlength=size).astype(np.float64),
    )


def _tally_of(labels: Sequence[Label]) -> _Tally:
    pairs = [label for label in labels if label.source != "repeat"]
    return _tally(
        _steps([label.score for label in pairs]),
        np.array([not label.right for label in pairs], dtype=bool),
        np.array([label.weight for label in pairs], dtype=float),
    )


def _steps(scores: Sequence[float]) -> Counts:
    """How many thresholds each score reaches."""
    return np.searchsorted(GRID, np.asarray(scores, dtype=float), side="right")


def _evidence(tally: _Tally) -> _Evidence:
    """Of weight W_b in step b, of n_b labels with k_b wrong: size (sum W_b)^2 / sum(W_b^2 / n_b),
    rate sum(W_b k_b / n_b) / sum W_b."""
    count = np.maximum(tally.labels, 1)
    weight = _from_above(tally.weight)
    spread = _from_above(tally.weight**2 / count)
    wrong = _from_above(tally.weight * tally.wrong / count)
    total = np.divide(weight**2, spread, out=np.zeros_like(weight), where=spread > 0)
    rate = np.divide(wrong, weight, out=np.zeros_like(weight), where=weight > 0)
    return _Evidence(_from_above(tally.labels).astype(np.intp), weight, total, rate * total)


def _from_above(values: NDArray[np.float64 | np.intp]) -> Floats:
    """The sum of all steps at or above each threshold."""
    return np.cumsum(values[::-1], dtype=np.float64)[::-1][1:]


def _certified(tally: _Tally, max_wrong: float, confidence: float) -> float | None:
    evidence = _evidence(tally)
    each = 1 - (1 - confidence) / len(BEGINNINGS)
    passed = [_sequence(evidence, max_wrong, each, share) for share in BEGINNINGS]
    return min((at for at in passed if at is not None), default=None)


def _sequence(evidence: _Evidence, most: float, confidence: float, share: float) -> float | None:
    """The last threshold that is passed before one fails, from where `share` of `most` passes."""
    found = None
    for number in range(len(GRID) - 1, -1, -1):
        total, wrong = float(evidence.total[number]), float(evidence.wrong[number])
        if not is_bounded(share * most * total, total, most, confidence):
            continue
        if not is_bounded(wrong, total, most, confidence):
            break
        found = GRID[number]
    return found


def _points(tally: _Tally) -> list[Point]:
    evidence = _evidence(tally)
    everything = float(tally.weight.sum())
    points = []
    for number, at in enumerate(GRID):
        total, wrong = float(evidence.total[number]), float(evidence.wrong[number])
        if total > 0:
            low, high = interval(wrong, total)
            share = float(evidence.weight[number]) / everything
            points.append(Point(at, share, wrong / total, low, high, int(evidence.labels[number])))
    return points


class _Look(NamedTuple):
    """What a look at the labels found, and how many labels there had ever been."""

    threshold: float | None
    added: int


class _OwnLook(NamedTuple):
    """The same for a scope: how many labels it had then, and what was found for all."""

    threshold: float | None
    labels: int
    pool: _Look


class Calibration:
    """The newest labels of all scopes, and the thresholds that they certify.

    The decision is made again and again as labels come, and who looks often enough will see
    something lucky once. Against that a decision stands until the labels have grown by a tenth,
    and each look asks for a confidence of 97.5 %. Of simulated streams whose pairs are all as
    often wrong as is just allowed, whatever their score, 14 to 19 % were served at some time in
    their first 10,000 pairs; at one and a half times that, 1 to 2 %. Where scores mean something
    the rate served is on the mean three quarters of what is allowed at most.

    `prior` serves where nothing is certified yet and `max_wrong` is 5 % or more.
    """

    def __init__(self, prior: Prior = (), capacity: int = CAPACITY) -> None:
        self._prior = tuple(sorted(prior))
        self._capacity = capacity
        self._step = np.zeros(capacity, dtype=np.intp)
        self._wrong = np.zeros(capacity, dtype=bool)
        self._weight = np.zeros(capacity, dtype=np.float64)
        self._served = np.zeros(capacity, dtype=bool)
        self._scope = np.full(capacity, "", dtype=object)
        self._owned: Counter[str] = Counter()  # labels in the ring, by scope
        self._added = 0
        self._added_served = 0
        self._repeats: deque[bool] = deque(maxlen=REPEATS)
        self._looks: dict[float, _Look] = {}
        self._own_looks: dict[tuple[float, str], _OwnLook] = {}
        self._watched: dict[float, int] = {}  # served labels that there were at the last watch
        self._stopped: dict[float, int] = {}  # labels that no longer count since a drift

    @property
    def size(self) -> int:
        """Labels that count, of all sources but repeats."""
        return min(self._added, self._capacity)

    def add(self, labels: Iterable[Label]) -> None:
        """Takes labels in the order in which they were made."""
        for label in labels:
            if label.source == "repeat":
                self._repeats.append(not label.right)
                continue
            at = self._added % self._capacity
            if self._added >= self._capacity:
                self._disown(self._scope[at])
            self._step[at] = bisect_right(GRID, label.score)
            self._wrong[at] = not label.right
            self._weight[at] = label.weight
            self._served[at] = label.source == "shadow"
            self._scope[at] = label.scope
            self._owned[label.scope] += 1
            self._added += 1
            self._added_served += label.source == "shadow"

    def _disown(self, scope: str) -> None:
        self._owned[scope] -= 1
        if not self._owned[scope]:
            del self._owned[scope]

    def threshold_for(self, max_wrong: float, scope: str = "") -> float | None:
        """The least score that may serve; None where none may.

        A scope with labels enough of its own is held to a stricter one where it does clearly
        worse than all together, and to a looser one only where its own labels certify that.

        Where the newest served pairs are worse than `max_wrong` beyond doubt nothing is served,
        until labels that came after certify it anew.
        """
        look = self._look(max_wrong)
        if self._owned[scope] < LEAST_OWN:
            return look.threshold
        known = self._own_looks.get((max_wrong, scope))
        owned = self._owned[scope]
        if known is None or known.pool != look or owned >= (1 + GROWTH) * known.labels:
            if len(self._own_looks) >= REMEMBERED:
                self._own_looks.clear()
            found = self._look_at(max_wrong, scope, look.threshold)
            known = self._own_looks[max_wrong, scope] = _OwnLook(found, owned, look)
        return known.threshold

    def prior(self, max_wrong: float) -> float | None:
        """What the shipped prior says of `max_wrong`; None where it may not serve."""
        allowed = [at for most, at in self._prior if most <= max_wrong]
        return allowed[-1] if allowed and max_wrong >= PRIOR_FROM else None

    def is_stopped(self, max_wrong: float) -> bool:
        """Whether a drift has stopped the serving, and nothing is certified since."""
        return max_wrong in self._stopped and self._look(max_wrong).threshold is None

    def estimate(self) -> WrongRate:
        """Of what is being served: from the newest served pairs that were checked."""
        return self._rate_of(self._served_since(0))

    def disagreement(self) -> WrongRate:
        """How often a model's answer differs from its own earlier one to the same question."""
        wrong, total = sum(self._repeats), len(self._repeats)
        return WrongRate(wrong / total if total else None, *interval(wrong, total), total)

    def curve(self) -> list[Point]:
        """What each threshold would do; see `curve`."""
        return _points(self._tally(self._newest(0)))

    def _newest(self, since: int) -> Counts:
        """Where the labels are that still count, oldest first."""
        first = max(since, self._added - self._capacity)
        return np.arange(first, self._added) % self._capacity

    def _tally(self, at: Counts) -> _Tally:
        return _tally(self._step[at], self._wrong[at], self._weight[at])

    def _served_since(self, since: int) -> Counts:
        at = self._newest(since)
        return at[self._served[at]]

    def _rate_of(self, at: Counts) -> WrongRate:
        """With Kish's size: shadow labels may have come at several rates."""
        weight, wrong = self._weight[at], self._wrong[at]
        if not len(at):
            return WrongRate(None, 0.0, 1.0, 0)
        rate = float(weight[wrong].sum() / weight.sum())
        total = float(weight.sum() ** 2 / (weight**2).sum())
        return WrongRate(rate, *interval(rate * total, total), len(at))

    # All scopes together.

    def _look(self, max_wrong: float) -> _Look:
        look = self._looks.get(max_wrong)
        since = self._stopped.get(max_wrong, 0)
        if look is None or self._has_grown(look, since):
            tally = self._tally(self._newest(since))
            found = _certified(tally, max_wrong, CONFIDENCE)
            if found is None and max_wrong not in self._stopped:
                found = self._from_prior(max_wrong, tally)
            look = self._looks[max_wrong] = _Look(found, self._added)
        if self._has_drifted(max_wrong, look):
            self._stopped[max_wrong] = self._added
            look = self._looks[max_wrong] = _Look(None, self._added)
        return look

    def _has_grown(self, look: _Look, since: int) -> bool:
        before = min(look.added - since, self._capacity)
        return self._added - look.added >= max(GROWTH * before, 1)

    def _from_prior(self, max_wrong: float, tally: _Tally) -> float | None:
        """The prior's threshold, as long as the labels don't outweigh it."""
        at = self.prior(max_wrong)
        if at is None:
            return None
        total, wrong = _at_or_above(tally, at)
        rate = (wrong + PRIOR_STRENGTH * max_wrong / 2) / (total + PRIOR_STRENGTH)
        return at if rate <= max_wrong else None

    def _has_drifted(self, max_wrong: float, look: _Look) -> bool:
        """Looks at the served pairs that this threshold would serve, when there are new ones."""
        if look.threshold is None or self._watched.get(max_wrong) == self._added_served:
            return False
        self._watched[max_wrong] = self._added_served
        at = self._served_since(self._stopped.get(max_wrong, 0))
        step = np.searchsorted(GRID, look.threshold, side="right")
        wrong = self._wrong[at[self._step[at] >= step]]
        return any(
            lower_bound(int(newest.sum()), len(newest), ALARM) > max_wrong
            for newest in (wrong[-window:] for window in WINDOWS)
        )

    # One scope.

    def _look_at(self, max_wrong: float, scope: str, pool: float | None) -> float | None:
        at = self._newest(self._stopped.get(max_wrong, 0))
        tally = self._tally(at[self._scope[at] == scope])
        own = _certified(tally, max_wrong, CONFIDENCE)
        if own is not None and (pool is None or own < pool):
            return own
        return None if pool is None else _stricter(tally, self._tally(at), max_wrong, pool)


def _first(at: float) -> int:
    """The first of `GRID` that is not below a threshold; the last where all are."""
    return min(int(np.searchsorted(GRID, at, side="left")), len(GRID) - 1)


def _at_or_above(tally: _Tally, at: float) -> tuple[float, float]:
    """Effective size, and how many of it are wrong, for a threshold that need not be of `GRID`."""
    first = _first(at)
    evidence = _evidence(tally)
    return float(evidence.total[first]), float(evidence.wrong[first])


def _stricter(own: _Tally, pool: _Tally, max_wrong: float, at: float) -> float | None:
    """The loosest threshold from `at` on that suits a scope; None where none does.

    Its rate is shrunk to the pool's, as if the pool were `STRENGTH` labels of its own: the mean
    of a Beta posterior. A scope that is not clearly worse than the pool keeps `at`; one that is
    has to show `LEAST_OWN` labels wherever it is to be served.
    """
    mine, all_ = _evidence(own), _evidence(pool)
    first = _first(at)
    rate = np.divide(all_.wrong, all_.total, out=np.zeros_like(all_.total), where=all_.total > 0)
    worse = lower_bound(float(mine.wrong[first]), float(mine.total[first])) > rate[first]
    if not worse:
        return at
    shrunk = (mine.wrong + STRENGTH * rate) / (mine.total + STRENGTH)
    allowed = np.flatnonzero((shrunk <= max_wrong)[first:] & (mine.total >= LEAST_OWN)[first:])
    return max(at, GRID[first + int(allowed[0])]) if len(allowed) else None
