"""What every test shares."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Machines that run this are noisy: a slow draw says nothing about the code.
settings.register_profile(
    "turnout", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("turnout")


IMPATIENT = ("tests/chaos/", "tests/e2e/test_deployment.py", "tests/e2e/test_shared.py")
"""What kills servers, or counts milliseconds: one after the other, were there ten processes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They come in the middle: at the beginning `.ci/run` makes an environment beside the tests,
    and at the end one worker would have them alone."""
    impatient = [item for item in items if item.nodeid.startswith(IMPATIENT)]
    others = [item for item in items if not item.nodeid.startswith(IMPATIENT)]
    half = len(others) // 2
    while 0 < half < len(others) and others[half].path == others[half - 1].path:
        half += 1
    items[:] = [*others[:half], *impatient, *others[half:]]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n` a file's tests stay together, and so do all of those, in the order of the files.

    xdist's own groups by mark do nothing with pytest 9.2, which made node ids anew.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "impatient" if file.startswith(IMPATIENT) else file

    config.option.loadscopereorder = False
    return ByFile(config, log)
