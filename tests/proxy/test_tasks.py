"""Background tasks are kept and heard."""

import asyncio
import logging

import pytest

from proxy.tasks import spawn


async def test_a_failure_is_logged_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError("oops")

    with caplog.at_level(logging.ERROR):
        task = spawn(fail(), "the job")
        await asyncio.sleep(0.01)
    assert task.done()
    assert "the job" in caplog.text


async def test_a_cancel_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    task = spawn(asyncio.sleep(9), "sleeper")
    task.cancel()
    await asyncio.sleep(0.01)
    assert caplog.text == ""
