"""The migrations lead where the tables say, and their newest is the one that is stamped."""

import sqlite3
from pathlib import Path

from alembic.script import ScriptDirectory

from proxy.storage.engine import open_database
from proxy.storage.migrate import configuration, migrate
from proxy.storage.schema import HEAD


def shape(path: Path) -> dict[str, object]:
    """Columns, keys and indexes of each table, and the stamp."""
    with sqlite3.connect(path) as connection:
        tables = [
            r[0] for r in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        found: dict[str, object] = {
            name: (
                [row[1:] for row in connection.execute(f"PRAGMA table_info({name})")],
                sorted(row[1] for row in connection.execute(f"PRAGMA index_list({name})")),
                "WITHOUT ROWID"
                in connection.execute(
                    "SELECT sql FROM sqlite_master WHERE name = ?", [name]
                ).fetchone()[0],
            )
            for name in tables
            if name != "alembic_version"
        }
        found["stamp"] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    connection.close()
    return found


def test_the_newest_is_the_one_that_is_stamped() -> None:
    script = ScriptDirectory.from_config(configuration("sqlite://"))
    assert script.get_current_head() == HEAD


async def test_migrations_and_tables_are_the_same(tmp_path: Path) -> None:
    engine = await open_database("sqlite:///made.db", tmp_path)
    await engine.dispose()
    migrate(f"sqlite:///{tmp_path}/migrated.db")
    assert shape(tmp_path / "migrated.db") == shape(tmp_path / "made.db")


async def test_an_older_one_is_upgraded_in_a_process_of_its_own(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "t.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
        connection.execute("INSERT INTO alembic_version VALUES ('')")
    connection.close()
    with sqlite3.connect(tmp_path / "t.db") as connection:
        connection.execute("DELETE FROM alembic_version")
    connection.close()
    engine = await open_database("sqlite:///t.db", tmp_path)
    await engine.dispose()
    assert shape(tmp_path / "t.db")["stamp"] == [(HEAD,)]
