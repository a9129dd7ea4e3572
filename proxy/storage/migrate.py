"""`python -m proxy.storage.migrate`: brings a database's schema to the newest revision.

A process of its own, and the only importer of Alembic; `proxy.storage.engine` says why. The URL
comes on standard input: anybody may read a command line, and the URL may have a password in it.
"""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import make_url

from proxy.storage import postgres


def configuration(url: str) -> Config:
    """Alembic's configuration for a database URL, without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        config.attributes["url"] = parsed.set(drivername="sqlite+aiosqlite")
    else:
        config.attributes["url"] = postgres.resolved(parsed)
    return config


def migrate(url: str, revision: str = "head") -> None:
    """Upgrades the database to a revision. It runs a loop of its own."""
    command.upgrade(configuration(url), revision)


if __name__ == "__main__":
    migrate(sys.stdin.read().strip())
