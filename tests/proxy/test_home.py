"""The home folder: modes, and one secret for all who ask at once."""

import stat
import subprocess
import sys
from pathlib import Path

from pydantic import SecretStr

from proxy.home import Home, digest_key

ASK = "import sys; from pathlib import Path; from proxy.home import Home; "
ASK += "print(Home(Path(sys.argv[1])).secret('master_key').get_secret_value())"


def test_modes_and_the_same_secret_again(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    secret = home.secret("master_key").get_secret_value()
    assert secret.startswith("sk-turnout-master-")
    assert Home(home.path).secret("master_key").get_secret_value() == secret
    assert home.secret("encryption_key").get_secret_value() != secret
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((home.path / "master_key").stat().st_mode) == 0o600
    assert sorted(p.name for p in home.path.iterdir()) == ["encryption_key", "master_key"]


def test_processes_that_ask_at_once_get_one_secret(tmp_path: Path) -> None:
    asking = [
        subprocess.Popen([sys.executable, "-c", ASK, str(tmp_path / "h")], stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    assert len({process.communicate()[0] for process in asking}) == 1


def test_where_it_is(tmp_path: Path) -> None:
    assert Home.find({"TURNOUT_HOME": str(tmp_path / "x")}).path == tmp_path / "x"


def test_the_digest_key_depends_on_the_secret() -> None:
    assert digest_key(SecretStr("a")) != digest_key(SecretStr("b"))
