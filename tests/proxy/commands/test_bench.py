"""`turnout bench` hands its options on."""

import subprocess
from typing import Any

import pytest

from proxy.__main__ import main
from proxy.commands import bench


def test_options_are_the_benchmarks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **_: Any) -> "subprocess.CompletedProcess[str]":
        ran.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", run)
    assert main(["bench", "--quick", "--rounds", "2"]) == 3
    assert ran[0][2:] == ["--quick", "--rounds", "2"]
    assert ran[0][1].endswith("run.py")


def test_an_installation_without_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "PLACES", ())
    assert main(["bench"]) == 1
    assert "not part of this installation" in capsys.readouterr().err
