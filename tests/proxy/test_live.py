"""The configuration in force is swapped whole or not at all. The watching itself:
tests/e2e/test_data_plane.py, TestReload."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from proxy.config import load
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
