"""`turnout migrate`."""

from pathlib import Path

import pytest

from proxy.__main__ import main

LITELLM = """
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: sk-in-clear-of-a-test, seed: 7}
general_settings: {master_key: os.environ/LITELLM_MASTER_KEY}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "litellm.yaml"
    path.write_text(LITELLM)
    return path


def test_to_a_file(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.yaml"
    assert main(["migrate", "litellm", str(source), "-o", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        (
            "litellm.yaml:4: model_list[0].litellm_params.api_key: a secret in clear; "
            "set OPENAI_API_KEY to it, in the environment or in .env"
        ),
        (
            "litellm.yaml:4: model_list[0].litellm_params.seed: 7 as a default of requests; "
            "make the name a task: tasks.NAME.defaults, asked for as task/NAME"
        ),
        "litellm.yaml: 2 things to look at, above",
        "out.yaml is valid: 1 providers (0 on), 1 models",
    ]
    assert "sk-in-clear" not in out.read_text()
    assert main(["check", str(out)]) == 0


def test_to_the_screen(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.write_text(LITELLM.replace("sk-in-clear-of-a-test, seed: 7", "os.environ/KEY"))
    assert main(["migrate", "litellm", str(source)]) == 0
    printed = capsys.readouterr()
    assert "  gpt-4o: [openai/gpt-4o]\n" in printed.out
    assert printed.err.splitlines() == [
        "litellm.yaml: everything was carried over",
        "config.yaml is valid: 1 providers (0 on), 1 models",
    ]


def test_a_source_that_can_not_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "litellm", str(tmp_path / "gone.yaml")]) == 1
    assert "cannot read" in capsys.readouterr().err
    bad = tmp_path / "bad.yaml"
    bad.write_text("model_list:\n  - model_name: a\n model_name: b\n")
    assert main(["migrate", "litellm", str(bad)]) == 1
    assert capsys.readouterr().err.startswith("bad.yaml:3: not valid YAML")


def test_the_source_is_never_overwritten(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "litellm", str(source), "-o", str(source)]) == 1
    assert "would be overwritten" in capsys.readouterr().err
    assert source.read_text() == LITELLM


def test_a_place_that_can_not_be_written(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate", "litellm", str(source), "-o", str(tmp_path / "no" / "f")]) == 1
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["migrate"], ["migrate", "nobody", "f"], ["migrate", "litellm"]])
def test_what_is_no_command(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
