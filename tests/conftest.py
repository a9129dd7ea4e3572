"""What every test shares."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Machines that run this are noisy: a slow draw says nothing about the code.
settings.register_profile(
    "turnout", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("turnout")


IMPATIENT = ("tests/chaos/", "tests/e2e/test_deployment.py", "tests/e2e/test_shared.py")
"""What kills servers, or counts milliseconds: one after the other, were there ten processes."""


def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: many tests wait for a clock or a process, so one more than there are cores."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(tryfirst=True)  # before xdist looks for the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `-n` a file's tests stay together, and so do all of those."""
    for item in items:
        name = item.nodeid.partition("::")[0]
        group = "impatient" if name.startswith(IMPATIENT) else name
        item.add_marker(pytest.mark.xdist_group(group))
