"""What `turnout serve` prints; serving itself is in tests/e2e/test_serve.py."""

from pathlib import Path

import pytest

from proxy.__main__ import main
from proxy.commands.serve import _banner, _filled, _first_key
from proxy.config import load
from proxy.home import Home


async def test_the_first_key_is_made_once(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    first = await _first_key(load(None, {}), home)
    assert first is not None
    assert first.startswith("sk-turnout-")
    assert await _first_key(load(None, {}), home) is None


def test_the_banner(tmp_path: Path) -> None:
    config, home = load(None, {}), Home(tmp_path / "home")
    first = _filled(_banner(config, home, "sk-1"), "http://x/v1")
    assert "  web page: http://x/  (the dashboard)" in first.splitlines()
    assert "export OPENAI_BASE_URL=http://x/v1 OPENAI_API_KEY=sk-1" in first.splitlines()
    assert "provider openai is off: OPENAI_API_KEY is not set" in first
    assert "export" not in _banner(config, home, None)


def test_faults_are_told_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("storage: {database: 'postgresql://u:pw@h.invalid/d'}")
    assert main(["serve"]) == 1
    said = capsys.readouterr().err
    assert "cannot open the database" in said
    assert "pw" not in said
    assert "pw" not in said
