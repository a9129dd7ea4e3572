"""The short forms, named after the rows of the fault table; docs/chaos.md has the long ones."""

from pathlib import Path
from typing import Literal

import pytest

from tests.chaos import Report
from tests.chaos.away import locked, postgres_away
from tests.chaos.disk import full, namespace
from tests.chaos.drain import drain
from tests.chaos.kills import kills
from tests.chaos.soak import soak

needs_namespace = pytest.mark.skipif(
    namespace() is None, reason="a small disk of one's own needs root or user namespaces"
)


def well(report: Report) -> None:
    assert not report.faults, str(report)


async def test_row_36_and_38_bad_weather_leaves_nothing_behind(tmp_path: Path) -> None:
    well(await soak(tmp_path, 19.0))


async def test_row_38_kill_9(tmp_path: Path) -> None:
    well(await kills(tmp_path, 6))


async def test_row_38_kill_9_of_workers_and_of_their_parent(tmp_path: Path) -> None:
    well(await kills(tmp_path, 4, workers=2, seed=2))


async def test_row_38_without_the_spool_the_oracle_finds_what_is_lost(tmp_path: Path) -> None:
    report = await kills(tmp_path, 1, module="tests.chaos.unspooled", patience=1)
    assert any("and no row" in fault for fault in report.faults), str(report)


async def test_row_38_sigterm_under_load(tmp_path: Path) -> None:
    well(await drain(tmp_path, 1))


async def test_row_39_sqlite_is_locked(tmp_path: Path) -> None:
    well(await locked(tmp_path, 15.0, rate=60))


async def test_row_39_postgresql_stands_still_and_is_killed(tmp_path: Path) -> None:
    well(await postgres_away(tmp_path, 2.0, 1.0, rate=60))


@needs_namespace
@pytest.mark.parametrize("on_full", ["serve", "reject"])
async def test_row_40_the_disk_of_the_spool_is_full(
    tmp_path: Path, on_full: Literal["serve", "reject"]
) -> None:
    well(await full(tmp_path, on_full))
