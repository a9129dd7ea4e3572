"""Limits as they are written, read and shown."""

import pytest

from proxy.allowance import LimitsError, effective, of_section, over, own_limits, shown
from proxy.config_types import LimitsSection
from proxy.types import Budget, Limits, OwnLimits, Period


def test_a_keys_own_limits() -> None:
    own = own_limits({"rpm": 5, "tpd": None, "budget": {"amount": 0.25, "per": "day"}})
    assert own.limits == Limits(rpm=5, budget=Budget(250_000_000, Period.DAY))
    assert own.fields == {"rpm", "tpd", "budget"}


@pytest.mark.parametrize(
    ("budget", "nanousd"),
    [(5, 5_000_000_000), (0.1, 100_000_000), (1e-9, 1), ({"amount": 7}, 7_000_000_000)],
)
def test_a_budget_that_is_a_number_is_of_a_month(budget: object, nanousd: int) -> None:
    assert own_limits({"budget": budget}).limits.budget == Budget(nanousd, Period.MONTH)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ([], "limits"),
        ({"rpx": 1}, "limits.rpx"),
        ({"rpm": 0}, "limits.rpm"),
        ({"rpm": "5"}, "limits.rpm"),
        ({"tpm": 1.5}, "limits.tpm"),
        ({"concurrency": True}, "limits.concurrency"),
        ({"tpd": 10**16}, "limits.tpd"),
        ({"budget": 0}, "limits.budget"),
        ({"budget": True}, "limits.budget"),
        ({"budget": float("nan")}, "limits.budget"),
        ({"budget": float("inf")}, "limits.budget"),
        ({"budget": {"per": "day"}}, "limits.budget"),
        ({"budget": {"amount": 1, "x": 1}}, "limits.budget"),
        ({"budget": {"amount": 1, "per": "week"}}, "limits.budget.per"),
        ({"budget": {"amount": 1, "per": ["day"]}}, "limits.budget.per"),
    ],
)
def test_what_is_at_fault_is_named(given: object, field: str) -> None:
    with pytest.raises(LimitsError, match=f"'{field}'") as caught:
        own_limits(given)
    assert caught.value.field == field


def test_shown_is_what_is_read_again() -> None:
    own = own_limits({"rpm": 5, "tpm": None, "budget": 0.1})
    assert shown(own) == {"rpm": 5, "tpm": None, "budget": {"amount": 0.1, "per": "month"}}
    assert own_limits(shown(own)) == own
    assert shown(None) is None


def test_the_configurations_limits() -> None:
    assert of_section(LimitsSection()) == Limits()
    assert of_section(LimitsSection(rpm=60, budget=12.5)) == Limits(
        rpm=60, budget=Budget(12_500_000_000)
    )
    assert of_section(LimitsSection(tpd=10**30, budget=float("inf"))) == Limits(
        tpd=10**15, budget=Budget(10**15)
    )


def test_absent_is_the_default_and_null_is_none() -> None:
    default = Limits(rpm=60, tpm=1000, budget=Budget(5))
    own = own_limits({"rpm": 5, "tpm": None, "rpd": 9})
    assert effective(default, own) == Limits(rpm=5, rpd=9, budget=Budget(5))
    assert effective(default, OwnLimits()) == default


def test_a_change_keeps_the_other_fields() -> None:
    stored = own_limits({"rpm": 5, "tpm": 7})
    changed = over(stored, own_limits({"rpm": None, "rpd": 9}))
    assert shown(changed) == {"rpm": None, "tpm": 7, "rpd": 9}
    assert over(stored, None) is None
    assert over(None, stored) == stored
