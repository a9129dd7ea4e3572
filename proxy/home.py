"""`TURNOUT_HOME`: where this machine keeps its database, its secrets and its models."""

import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import platformdirs
from pydantic import SecretStr

_PREFIXES = {"master_key": "sk-turnout-master-"}


class Home:
    """The folder, made with mode 0700 when it is not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @classmethod
    def find(cls, environ: Mapping[str, str]) -> "Home":
        """`$TURNOUT_HOME`, or the platform's folder for a user's data."""
        given = environ.get("TURNOUT_HOME")
        return cls(Path(given).expanduser() if given else platformdirs.user_data_path("turnout"))

    def secret(self, name: str) -> SecretStr:
        """The secret of that name, made at its first use: 256 bits in a file of mode 0600.

        Two processes that make it at once get the same one: the file appears whole or not at all,
        and the first one stays.
        """
        path = self.path / name
        if not path.exists():
            made = _PREFIXES.get(name, "") + secrets.token_urlsafe(32)
            draft = self.path / f".{name}.{os.getpid()}.{secrets.token_hex(4)}"
            with os.fdopen(
                os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w"
            ) as file:
                file.write(made)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)
            except FileExistsError:
                pass  # another process was first: its secret counts
            finally:
                draft.unlink()
        return SecretStr(path.read_text().strip())


def digest_key(encryption_key: SecretStr) -> bytes:
    """The key under which virtual keys are digested; every replica with the same secret has it."""
    return hmac.digest(
        encryption_key.get_secret_value().encode(), b"turnout key digest v1", "sha256"
    )
