"""Fixtures of the end-to-end tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.gateway import Gateway, one_upstream, running
from tests.fakes.upstream import Upstream


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    """A scripted upstream; without a script it answers as OpenAI would."""
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def other() -> AsyncIterator[Upstream]:
    """A second one."""
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def gateway(tmp_path: Path, up: Upstream) -> AsyncIterator[Gateway]:
    """A gateway in front of `up`, short on patience."""
    timeouts = ", timeout: {first_token: 300ms, response: 600ms, idle: 300ms}"
    text = one_upstream(up.base_url, "retry: {attempts: 1}", timeouts)
    async with running(tmp_path, text) as gateway:
        yield gateway
