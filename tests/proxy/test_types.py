"""The values that go from step to step."""

import pytest

from proxy.types import Principal, Record, Role


@pytest.mark.parametrize(
    ("models", "name", "may"),
    [
        (None, "anything", True),
        ((), "anything", False),
        (("a",), "a", True),
        (("a",), "ab", False),
        (("up/*",), "up/x/y", True),
        (("task/*",), "task/t", True),
        (("*",), "x", True),
    ],
)
def test_what_a_caller_may_use(models: tuple[str, ...] | None, name: str, may: bool) -> None:
    assert Principal(Role.KEY, models=models).may_use(name) is may


def test_records_share_nothing() -> None:
    one, two = Record("1"), Record("2")
    one.attempts.append(None)  # type: ignore[arg-type]
    assert two.attempts == []
