"""The command line's own words."""

import pytest

from proxy.__main__ import main


def test_every_command_helps(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["serve"], ["check"], ["keys", "create"], ["usage"], ["models", "pull"]):
        with pytest.raises(SystemExit) as caught:
            main([*command, "--help"])
        assert caught.value.code == 0
    assert "--models" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [[], ["nope"], ["keys"], ["usage", "--by", "moon"]])
def test_what_is_no_command(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err
