"""`python -m proxy.storage.migrate URL`: brings a database's schema to the newest revision.

A process of its own, and the only importer of Alembic; `proxy.storage.engine` says why.
"""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import make_url


def configuration(url: str) -> Config:
    """Alembic's configuration for a database URL, without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = make_url(url).set(drivername="sqlite")
    return config


def migrate(url: str, revision: str = "head") -> None:
    """Upgrades the database to a revision."""
    command.upgrade(configuration(url), revision)


if __name__ == "__main__":
    migrate(sys.argv[1])
