"""`turnout models`."""

import pytest

from proxy.__main__ import main


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    assert "smollm2" in capsys.readouterr().out


def test_a_misspelt_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "smolm2"]) == 1
    assert "did you mean 'smollm2'" in capsys.readouterr().err
