"""Where and when a failed attempt is made again."""

from dataclasses import replace

from adapters.base import Failure, FailureKind, Retry, Target
from proxy.retry import BUDGET_FLOOR, Budget, Policy, Step, next_step
from tests.adapters.asks import target

A, B = target("a"), target("b")
POLICY = Policy(attempts=4, backoff=(0.5, 8.0), budget=0.2)


def failed(
    retry: Retry, after: float | None = None, kind: FailureKind = FailureKind.SERVER
) -> Failure:
    return Failure(kind, "x", retry, retry_after=after)


BUSY = failed(Retry.SAME_TARGET)
ELSEWHERE = failed(Retry.NEXT_TARGET)
FINAL = failed(Retry.NEVER)


def step(targets: list[Target], tried: list[tuple[Target, Failure]]) -> Step | None:
    return next_step(targets, tried, POLICY, Budget())


def test_the_first_target_comes_first_and_at_once() -> None:
    assert step([A, B], []) == Step(A)


def test_another_target_before_the_same_one_again() -> None:
    assert step([A, B], [(A, BUSY)]) == Step(B)


def test_what_is_final_stands() -> None:
    assert step([A, B], [(A, FINAL)]) is None


def test_what_helps_elsewhere_only_is_not_repeated() -> None:
    assert step([A], [(A, ELSEWHERE)]) is None
    assert step([A, B], [(A, ELSEWHERE)]) == Step(B)
    assert step([A, B], [(A, ELSEWHERE), (B, ELSEWHERE)]) is None


def test_a_busy_target_is_tried_again_after_a_jittered_delay() -> None:
    again = step([A], [(A, BUSY)])
    assert again is not None
    assert (again.target, again.again) == (A, True)
    assert 0 <= again.delay <= 0.5


def test_the_bound_of_the_delay_doubles() -> None:
    longest = max(
        s.delay for _ in range(300) if (s := step([A], [(A, BUSY), (A, BUSY), (A, BUSY)]))
    )
    assert 1.0 < longest <= 2.0


def test_the_least_tried_target_is_next() -> None:
    third = step([A, B], [(A, BUSY), (B, BUSY)])
    assert third is not None
    assert third.target is A
    fourth = step([A, B], [(A, BUSY), (B, BUSY), (A, BUSY)])
    assert fourth is not None
    assert fourth.target is B


def test_attempts_are_bounded() -> None:
    assert step([A], [(A, BUSY)] * 4) is None


def test_a_short_retry_after_is_waited_for() -> None:
    again = step([A], [(A, failed(Retry.SAME_TARGET, 4.0))])
    assert again is not None
    assert again.delay >= 4.0


def test_a_long_retry_after_is_not() -> None:
    assert step([A], [(A, failed(Retry.SAME_TARGET, 30.0))]) is None
    assert step([A, B], [(A, failed(Retry.SAME_TARGET, 30.0))]) == Step(B)


def test_keys_of_one_provider_are_targets_of_their_own() -> None:
    second = replace(A, credential=1)
    assert step([A, second], [(A, ELSEWHERE)]) == Step(second)


def test_stream_options_refused_are_left_out_at_once() -> None:
    refused = failed(Retry.NEVER, kind=FailureKind.STREAM_OPTIONS)
    again = step([A], [(A, refused)])
    assert again is not None
    assert not again.target.takes_stream_options
    assert step([A], [(A, refused), (again.target, refused)]) is None


class TestBudget:
    def test_a_few_retries_are_always_allowed(self) -> None:
        assert Budget().allows(0.2)

    def test_retries_stay_a_share_of_requests(self) -> None:
        budget = Budget()
        budget.requests, budget.retries = 120, 19  # a request that retries is one of them
        assert budget.allows(0.2)
        budget.retries = 20
        assert not budget.allows(0.2)

    def test_no_budget_no_retry(self) -> None:
        budget = Budget()
        budget.retries = BUDGET_FLOOR
        assert next_step([A], [(A, BUSY)], POLICY, budget) is None
        assert next_step([A, B], [(A, BUSY)], POLICY, budget) == Step(B)
