"""`turnout providers`."""

from pathlib import Path

import orjson
import pytest

from proxy.__main__ import main

CANARY = "sk-canary-0123456789"
CONFIG = """\
providers:
  quick: {preset: groq}
  mine: {dialect: openai, base_url: "http://mine.test/v1", api_key: "${MINE_KEY}"}
  local: {dialect: llamacpp, model: smollm2}
"""


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    monkeypatch.setenv("MINE_KEY", CANARY)


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG)
    assert main(["providers", "--config", "c.yaml"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "name   preset  dialect   base URL                        state",
        "─────  ──────  ────────  ──────────────────────────────  ────────────────────────────",
        "quick  groq    openai    https://api.groq.com/openai/v1  off: GROQ_API_KEY is not set",
        "mine           openai    http://mine.test/v1             on",
        "local          llamacpp                                  on",
    ]


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    assert main(["providers", "--json"]) == 0
    said = capsys.readouterr().out
    assert CANARY not in said
    first, second, _ = orjson.loads(said)
    assert first == {
        "name": "quick",
        "preset": "groq",
        "dialect": "openai",
        "base_url": "https://api.groq.com/openai/v1",
        "off": "GROQ_API_KEY is not set",
    }
    assert (second["name"], second["preset"], second["off"]) == ("mine", None, None)


def test_the_presets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["providers", "--presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith("mistral ")]
    assert line.split()[:4] == [
        "mistral",
        "openai",
        "https://api.mistral.ai/v1",
        "MISTRAL_API_KEY",
    ]
    assert main(["providers", "--presets", "--json"]) == 0
    rows = {row["preset"]: row for row in orjson.loads(capsys.readouterr().out)}
    assert rows["ollama"]["key"] is None
    assert rows["google"]["dialect"] == "gemini"


def test_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("providers: {quick: {preset: grok}}")
    assert main(["providers", "--config", "c.yaml"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("c.yaml:1: providers.quick.preset: there is no preset 'grok'")
    assert main(["providers", "--config", "no.yaml"]) == 1
    assert "cannot read" in capsys.readouterr().err
