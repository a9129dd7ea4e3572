"""The configuration in force is swapped whole or not at all. The watching itself:
tests/e2e/test_data_plane.py, TestReload."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.config import Config, Route, load
from proxy.live import Live


def live(path: Path) -> Live:
    def build(config: Any) -> Any:
        return SimpleNamespace(config=config)

    made = Live(lambda: load(path, {}), build)
    made.put(load(path, {}))
    return made


def test_reload(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("server: {port: 1}")
    holder = live(path)
    first = holder.current
    holder.reload()
    assert holder.current is first, "nothing changed"
    path.write_text("server: {port: 2}")
    holder.reload()
    assert holder.current.config.server.port == 2
    second = holder.current
    path.write_text("server: {prot: 3}")
    holder.reload()
    assert holder.current is second
    assert "prot" in (holder.error or "")
    path.unlink()
    holder.reload()
    assert "cannot read" in (holder.error or "")
    path.write_text("server: {port: 2}")
    holder.reload()
    assert holder.error is None


def test_what_is_as_if_not_written_is_told_at_a_reload(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("server: {port: 1}")
    holder = live(path)
    path.write_text("alerts: {secret: '${NOWHERE}'}")
    with caplog.at_level("INFO", "turnout.config"):
        holder.reload()
    assert "alerts.secret is as if not written: NOWHERE is not set" in caplog.messages


def test_each_fault_is_a_line_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("server: {port: 1}")
    holder = live(path)
    path.write_text("server: {prot: 3}\nlimits: {rpx: 1}")
    holder.reload()
    said = [each.getMessage() for each in caplog.records if each.name.startswith("turnout")]
    assert len(said) >= 2
    assert not any("\n" in line for line in said)
    assert "prot" in "".join(said)
    assert "rpx" in "".join(said)


async def test_a_mounted_config_map_is_swapped(tmp_path: Path) -> None:
    """Kubernetes turns the link `..data` to a new folder; `config.yaml` is a link into it."""
    for number in (1, 2):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "config.yaml").write_text(f"server: {{port: {number}}}")
    (tmp_path / "..data").symlink_to("..1")
    path = tmp_path / "config.yaml"
    path.symlink_to("..data/config.yaml")
    holder = doubled(path, {"a": "up/a"})
    holder.put(load(path, {}))
    watching = asyncio.ensure_future(holder.watch(path))
    await asyncio.sleep(0.5)
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    async with asyncio.timeout(10):
        while holder.file.server.port != 2:
            await asyncio.sleep(0.05)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def doubled(path: Path, found: dict[str, str]) -> Live:
    """What is built has beside the file what is in `found`; "bad" can't be built."""

    def build(config: Config) -> Any:
        if "bad" in found:
            raise ValueError("sk-never-in-a-log")
        routes = {**config.models, **{name: Route.model_validate(to) for name, to in found.items()}}
        return SimpleNamespace(config=config.model_copy(update={"models": routes}))

    return Live(lambda: load(path, {}), build)


def test_rebuild_takes_over_what_is_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("server: {port: 1}")
    found = {"a": "up/a"}
    holder = doubled(path, found)
    holder.rebuild()
    assert not holder.is_on, "there is nothing to build anew yet"
    holder.put(load(path, {}))
    assert "a" in holder.current.config.models
    assert "a" not in holder.file.models
    assert holder.current.config.version == holder.file.version != ""
    at, first = holder.loaded_at, holder.current
    found["b"] = "up/b"
    holder.rebuild()
    assert holder.current is not first
    assert {"a", "b"} <= holder.current.config.models.keys()
    assert "b" not in holder.file.models
    assert holder.loaded_at == at, "the file was not read again"


def test_a_file_that_has_not_changed_is_not_taken_for_another(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("server: {port: 1}")
    holder = doubled(path, {"a": "up/a"})
    holder.put(load(path, {}))
    first = holder.current
    holder.reload()
    assert holder.current is first
    path.write_text("server: {port: 2}")
    holder.reload()
    assert (holder.file.server.port, holder.current.config.server.port) == (2, 2)
    assert "a" in holder.current.config.models, "what is beside the file is there after a reload"


def test_a_rebuild_that_fails_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("server: {port: 1}")
    found: dict[str, str] = {}
    holder = doubled(path, found)
    holder.put(load(path, {}))
    first, error = holder.current, holder.error
    found["bad"] = ""
    holder.rebuild()
    assert (holder.current, holder.error) == (first, error)
    assert "not in force: ValueError" in caplog.text
    assert "sk-never" not in caplog.text
