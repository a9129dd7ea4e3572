"""`turnout check`."""

from pathlib import Path

import pytest

from proxy.__main__ import main


def test_a_valid_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("server: {port: 1}")
    assert main(["check", str(tmp_path / "c.yaml")]) == 0
    assert capsys.readouterr().out.startswith("c.yaml is valid: ")


def test_a_faulty_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("server:\n  prot: 1\nretry: {attempts: x}\n")
    assert main(["check", str(tmp_path / "c.yaml")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == 'c.yaml:2: server.prot: unknown field; did you mean "port"?'
    assert lines[1].startswith("c.yaml:3: retry.attempts: ")


def test_none_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "no.yaml")]) == 1
    assert "cannot read" in capsys.readouterr().err
