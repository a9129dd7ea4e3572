"""What labels certify, and that it holds: streams are replayed whose truth is known."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from proxy.semantic.calibration import GRID, Calibration, Label, Source, curve, threshold

Floats = NDArray[np.float64]


def labels(
    count: int,
    wrong: int = 0,
    score: float = 0.97,
    weight: float = 1.0,
    source: Source = "near_miss",
    scope: str = "",
) -> list[Label]:
    """The wrong ones spread evenly."""
    every = count // wrong if wrong else 0
    return [
        Label(score, not (wrong and at % every == every - 1), weight, source, float(at), scope)
        for at in range(count)
    ]


# One look.


@pytest.mark.parametrize(
    ("count", "wrong", "max_wrong", "found"),
    [
        (367, 0, 0.01, None),  # 0.99 ** 368 is the first below 2.5 %
        (368, 0, 0.01, 0.0),
        (182, 0, 0.02, None),
        (183, 0, 0.02, 0.0),
        (71, 0, 0.05, None),
        (72, 0, 0.05, 0.0),
        (554, 1, 0.01, None),
        (555, 1, 0.01, 0.0),
    ],
)
def test_how_many_labels_certify(
    count: int, wrong: int, max_wrong: float, found: float | None
) -> None:
    assert threshold(labels(count, wrong, score=1.0), max_wrong) == found


def test_more_confidence_takes_more_labels() -> None:
    assert threshold(labels(180), 0.02, confidence=0.9) == 0.0
    assert threshold(labels(180), 0.02) is None


def test_it_goes_down_to_where_it_gets_worse() -> None:
    mixed = labels(400, score=0.95) + labels(400, score=0.9) + labels(400, 40, score=0.7)
    assert threshold(mixed, 0.01) == 0.71
    assert threshold(mixed, 0.05) == 0.0
    assert threshold(labels(400, 40, score=0.95) + labels(400, score=0.5), 0.01) is None


def test_one_wrong_label_at_the_top_does_not_end_it() -> None:
    top = [*labels(368, score=0.999), *labels(20, 1, score=0.999)]
    assert threshold(top + labels(400, score=0.9), 0.01) == 0.0


def test_nothing_certifies_nothing() -> None:
    assert threshold([], 0.05) is None
    assert threshold(labels(5000, source="repeat"), 0.05) is None
    assert curve([]) == []


def test_the_grid_rises() -> None:
    assert list(GRID) == sorted(set(GRID))
    assert (GRID[0], GRID[-1]) == (0.0, 0.9999)


# Weights.


def test_what_is_rarely_labelled_counts_for_more() -> None:
    """2,000 pairs served with 1 % wrong, 5 % of them labelled; 100 near misses, half wrong."""
    served = labels(100, 1, score=0.95, weight=20.0, source="shadow")
    low = labels(100, 50, score=0.6)
    points = {point.threshold: point for point in curve(served + low)}
    assert points[0.95].wrong == pytest.approx(0.01)
    assert points[0.95].share == pytest.approx(2000 / 2100)
    assert points[0.6].wrong == pytest.approx(70 / 2100)  # and not 51 / 200
    assert points[0.6].labels == 200
    assert 0.05 < points[0.6].high < 0.12


def test_weights_keep_an_estimate_unbiased() -> None:
    """Labels of pairs served and not, whatever the threshold was, give the true rate below it."""
    rng = np.random.default_rng(3)
    estimates, truth = [], []
    for _ in range(60):
        score = rng.uniform(0.5, 1, 4000)
        right = rng.random(4000) < score
        seen = np.where(score >= 0.8, rng.random(4000) < 0.05, True)
        found = curve(
            [
                Label(s, bool(r), 20.0 if s >= 0.8 else 1.0, "shadow", 0.0)
                for s, r in zip(score[seen], right[seen], strict=True)
            ]
        )
        estimates.append(next(point.wrong for point in found if point.threshold == 0.6))
        truth.append(float((~right)[score >= 0.6].mean()))
    assert np.mean(estimates) == pytest.approx(np.mean(truth), abs=0.004)  # unweighted: + 0.09


def test_the_first_served_label_outweighs_nothing() -> None:
    """One label of weight 20 among 500 of weight 1 would halve a plain effective size."""
    certified = labels(500, score=0.9)
    assert threshold(certified, 0.01) == 0.0
    more = labels(1, score=0.9, weight=20.0, source="shadow")
    assert threshold(certified + more, 0.01) == 0.0


def test_the_curve() -> None:
    points = curve(labels(60, score=0.9) + labels(40, 4, score=0.5))
    assert points[0] == (0.0, 1.0, pytest.approx(0.04), *points[0][3:])
    assert points[0].low == pytest.approx(0.0110045, rel=1e-4)  # scipy: beta.ppf(0.025, 4, 97)
    assert points[0].high == pytest.approx(0.0992572, rel=1e-4)  # scipy: beta.ppf(0.975, 5, 96)
    assert points[-1] == (0.9, pytest.approx(0.6), 0.0, 0.0, *points[-1][4:])
    assert points[-1].labels == 60


# Many looks.


def certified(*batches: Iterable[Label], prior: Sequence[tuple[float, float]] = ()) -> Calibration:
    calibration = Calibration(tuple(prior))
    for batch in batches:
        calibration.add(batch)
    return calibration


def test_a_decision_stands_until_the_labels_have_grown_by_a_tenth() -> None:
    calibration = certified(labels(1000))
    assert calibration.threshold_for(0.01) == 0.0
    calibration.add(labels(99, 99))
    assert calibration.threshold_for(0.01) == 0.0
    calibration.add(labels(1, 1))
    assert calibration.threshold_for(0.01) is None


def test_the_newest_labels_count() -> None:
    calibration = Calibration(capacity=1000)
    calibration.add(labels(1000, 500, score=0.9, scope="old"))
    assert calibration.threshold_for(0.05) is None
    calibration.add(labels(1000, score=0.9, scope="new"))
    assert calibration.threshold_for(0.05) == 0.0
    assert calibration.threshold_for(0.05, "old") == 0.0
    assert calibration.size == 1000
    assert next(point.labels for point in calibration.curve()) == 1000


def test_each_look_asks_for_more_than_one_look_would() -> None:
    """0.05 / 4 of error in either sequence: 0.99 ** 437 is the first below 1.25 %."""
    assert certified(labels(436)).threshold_for(0.01) is None
    assert certified(labels(437)).threshold_for(0.01) == 0.0


# The prior.

PRIOR = ((0.1, 0.8), (0.05, 0.9), (0.01, 0.99))


@pytest.mark.parametrize(
    ("max_wrong", "at"), [(0.01, None), (0.049, None), (0.05, 0.9), (0.07, 0.9), (0.2, 0.8)]
)
def test_a_prior_serves_from_five_percent_on(max_wrong: float, at: float | None) -> None:
    assert certified(prior=PRIOR).prior(max_wrong) == at
    assert certified(prior=PRIOR).threshold_for(max_wrong) == at
    assert certified().threshold_for(max_wrong) is None


def test_labels_outweigh_a_prior() -> None:
    calibration = certified(labels(20, 1, score=0.95), prior=PRIOR)
    assert calibration.threshold_for(0.05) == 0.9
    calibration.add(labels(30, 10, score=0.7))  # below it: nothing is said against it
    assert calibration.threshold_for(0.05) == 0.9
    calibration.add(labels(50, 10, score=0.95))
    assert calibration.threshold_for(0.05) is None


def test_labels_take_over_from_a_prior() -> None:
    calibration = certified(labels(400, score=0.7), prior=PRIOR)
    assert calibration.threshold_for(0.05) == 0.0


# A drift.


def drifting() -> Calibration:
    """Certified and serving, with 20 newest served pairs of which 10 are wrong."""
    calibration = certified(labels(4000, score=0.95))
    assert calibration.threshold_for(0.05) == 0.0
    calibration.add(labels(20, 10, score=0.95, weight=20.0, source="shadow"))
    return calibration


def test_a_drift_stops_the_serving_at_once() -> None:
    calibration = drifting()
    assert calibration.threshold_for(0.05) is None
    assert calibration.is_stopped(0.05)
    assert not calibration.is_stopped(0.2)


def test_only_labels_that_came_since_certify_again() -> None:
    calibration = drifting()
    assert calibration.threshold_for(0.05) is None
    calibration.add(labels(80, score=0.95))
    assert calibration.threshold_for(0.05) is None
    calibration.add(labels(20, score=0.95))
    assert calibration.threshold_for(0.05) == 0.0
    assert not calibration.is_stopped(0.05)


def test_a_prior_does_not_serve_after_a_drift() -> None:
    calibration = certified(prior=PRIOR)
    assert calibration.threshold_for(0.05) == 0.9
    calibration.add(labels(20, 10, score=0.95, weight=20.0, source="shadow"))
    assert calibration.threshold_for(0.05) is None
    calibration.add(labels(10, score=0.95))
    assert calibration.threshold_for(0.05) is None


def test_what_another_limit_has_served_is_no_drift() -> None:
    """Labels below a threshold come from those who allow more to be wrong."""
    calibration = certified(labels(600, score=0.99) + labels(600, 60, score=0.7))
    assert calibration.threshold_for(0.01) == 0.71
    calibration.add(labels(40, 20, score=0.7, weight=20.0, source="shadow"))
    assert calibration.threshold_for(0.01) == 0.71


def test_a_few_wrong_ones_are_no_drift() -> None:
    calibration = certified(labels(4000, score=0.95))
    for _ in range(10):
        calibration.add(labels(20, 1, score=0.95, weight=20.0, source="shadow"))
        assert calibration.threshold_for(0.05) == 0.0


# Scopes.


def test_a_scope_that_does_worse_is_held_to_more() -> None:
    good = labels(3000, score=0.99) + labels(3000, score=0.9)
    bad = labels(60, score=0.99, scope="t") + labels(60, 20, score=0.9, scope="t")
    calibration = certified(good, bad)
    assert calibration.threshold_for(0.01) == 0.0
    assert calibration.threshold_for(0.01, "t") == 0.91
    assert calibration.threshold_for(0.01, "other") == 0.0


def test_a_scope_that_is_bad_throughout_is_not_served() -> None:
    calibration = certified(labels(6000), labels(60, 20, scope="t"))
    assert calibration.threshold_for(0.01) == 0.0
    assert calibration.threshold_for(0.01, "t") is None


@pytest.mark.parametrize(("count", "wrong"), [(49, 40), (60, 1)])
def test_a_scope_of_which_little_is_known_is_like_all(count: int, wrong: int) -> None:
    calibration = certified(labels(20_000 - count, 40), labels(count, wrong, scope="t"))
    assert calibration.threshold_for(0.01) == 0.0
    assert calibration.threshold_for(0.01, "t") == 0.0


def test_a_scope_certifies_more_only_by_its_own_labels() -> None:
    rest = labels(2000, score=0.99) + labels(2000, 400, score=0.8)
    calibration = certified(rest, labels(100, score=0.8, scope="few"))
    assert calibration.threshold_for(0.01, "few") == calibration.threshold_for(0.01) == 0.81
    assert certified(rest, labels(500, score=0.8, scope="t")).threshold_for(0.01, "t") == 0.0


# Reports.


def test_the_rate_of_what_is_served() -> None:
    assert certified().estimate() == (None, 0.0, 1.0, 0)
    served = labels(100, 4, weight=20.0, source="shadow")
    rate = certified(labels(500, 250), served).estimate()
    assert rate == (pytest.approx(0.04), pytest.approx(0.0110045, rel=1e-4), rate.high, 100)
    assert rate.high == pytest.approx(0.0992572, rel=1e-4)


def test_how_often_a_model_differs_from_itself() -> None:
    calibration = certified(labels(50, 2, source="repeat"))
    assert calibration.disagreement()[0] == pytest.approx(0.04)
    assert calibration.disagreement().labels == 50
    assert calibration.threshold_for(0.5) is None
    assert certified().disagreement() == (None, 0.0, 1.0, 0)


# Streams.


def logistic(values: Floats) -> Floats:
    return 1 / (1 + np.exp(-values))


class Stream(NamedTuple):
    """Pairs as they come: how alike, and how probably right, which the calibration never sees."""

    score: Floats
    truth: Floats


def honest(rng: np.random.Generator, count: int) -> Stream:
    score = logistic(rng.normal(2, 3, count))
    return Stream(score, score)


def boastful(rng: np.random.Generator, count: int) -> Stream:
    odds = rng.normal(2, 3, count)
    return Stream(logistic(odds), logistic(0.6 * odds))


def modest(rng: np.random.Generator, count: int) -> Stream:
    odds = rng.normal(1, 1.5, count)
    return Stream(logistic(odds), logistic(2.5 * odds))


def capped(rng: np.random.Generator, count: int) -> Stream:
    """However alike, 3 % are wrong."""
    score = logistic(rng.normal(2, 3, count))
    return Stream(score, 0.97 * score)


class Replay(NamedTuple):
    """The true share of wrong ones among the served; the share of right ones that were served in
    the last fifth; how often a drift was seen."""

    wrong: float
    served: float
    stops: int


def replay(stream: Stream, max_wrong: float, seed: int, shadow: float = 0.05) -> Replay:
    rng = np.random.default_rng([seed, 1])
    right = rng.random(len(stream.score)) < stream.truth
    drawn = rng.random(len(stream.score)) < shadow
    served = np.zeros(len(right), dtype=bool)
    calibration, stops, was_stopped = Calibration(), 0, False
    for at, score in enumerate(stream.score.tolist()):
        least = calibration.threshold_for(max_wrong)
        is_stopped = least is None and calibration.is_stopped(max_wrong)
        stops, was_stopped = stops + (is_stopped and not was_stopped), is_stopped
        served[at] = least is not None and score >= least
        if not served[at]:
            calibration.add([Label(score, bool(right[at]), 1.0, "near_miss", float(at))])
        elif drawn[at]:
            calibration.add([Label(score, bool(right[at]), 1 / shadow, "shadow", float(at))])
    last = np.arange(len(right)) >= 0.8 * len(right)
    wrong = float((1 - stream.truth[served]).mean()) if served.any() else 0.0
    return Replay(wrong, float(served[right & last].mean()), stops)


@pytest.mark.parametrize("max_wrong", [0.01, 0.02, 0.05])
@pytest.mark.parametrize("mixture", [honest, boastful, modest, capped])
def test_what_is_served_is_right(
    mixture: Callable[[np.random.Generator, int], Stream], max_wrong: float
) -> None:
    replays = [
        replay(mixture(np.random.default_rng(seed), 5000), max_wrong, seed) for seed in range(20)
    ]
    assert np.mean([each.wrong for each in replays]) <= max_wrong
    assert sum(each.wrong > max_wrong for each in replays) <= 3
    assert sum(each.stops for each in replays) <= 1


def test_it_serves() -> None:
    """Scores that tell right from wrong well: most of the right ones are served."""
    replays = [replay(modest(np.random.default_rng(seed), 5000), 0.05, seed) for seed in range(20)]
    assert min(each.served for each in replays) >= 0.6


def test_a_stream_that_turns_bad_is_stopped() -> None:
    for seed in range(5):
        before = modest(np.random.default_rng(seed), 4000)
        after = modest(np.random.default_rng([seed, 2]), 4000)
        turned = Stream(
            np.concatenate([before.score, after.score]),
            np.concatenate([before.truth, 0.4 * after.truth]),
        )
        calm, ended = replay(before, 0.05, seed), replay(turned, 0.05, seed)
        assert calm.served >= 0.6
        assert ended.served <= 0.05
        assert calm.stops == 0
