"""`turnout check`."""

from pathlib import Path

import pytest

from proxy.__main__ import main


def test_a_valid_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("server: {port: 1}")
    assert main(["check", str(tmp_path / "c.yaml")]) == 0
    assert capsys.readouterr().out.startswith("c.yaml is valid: ")


def test_what_it_counts_and_what_is_as_if_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    (tmp_path / "c.yaml").write_text(
        "providers:\n"
        "  up: {dialect: openai, base_url: 'http://127.0.0.1:9/v1'}\n"
        "  down: {dialect: openai, base_url: 'http://127.0.0.1:9/v1', api_key: '${NOWHERE}'}\n"
        "models: {one: up/m}\n"
        "tasks: {mine: {targets: [up/m]}, simple: {targets: [up/m]}}\n"
        "alerts: {webhook: 'http://127.0.0.1:9/', secret: '${NOWHERE}'}\n"
    )
    assert main(["check", str(tmp_path / "c.yaml")]) == 0
    said, *notes = capsys.readouterr().out.splitlines()
    # 20 are shipped, of which the file says one anew.
    assert said.startswith(
        "c.yaml is valid: 2 providers (1 on), 1 model, 21 tasks (19 built in), version "
    )
    assert notes == [
        "  provider down is off: NOWHERE is not set",
        "  alerts.secret is as if not written: NOWHERE is not set",
    ]


def test_a_faulty_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("server:\n  prot: 1\nretry: {attempts: x}\n")
    assert main(["check", str(tmp_path / "c.yaml")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == 'c.yaml:2: server.prot: unknown field; did you mean "port"?'
    assert lines[1].startswith("c.yaml:3: retry.attempts: ")


def test_none_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "no.yaml")]) == 1
    assert "cannot read" in capsys.readouterr().err
