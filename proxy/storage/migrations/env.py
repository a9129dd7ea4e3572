"""Alembic's entry: runs the migrations on the database that `proxy.storage.migrate` names.

All in one transaction that no other process can have at the same time: what fails leaves nothing
behind, and whoever comes second finds the work done.
"""

import asyncio

from alembic import context
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from proxy.storage import postgres
from proxy.storage.schema import metadata

PATIENCE = 3600  # seconds that SQLite waits for another process's migration

LOCKS = {"sqlite": "BEGIN IMMEDIATE", "postgresql": postgres.LOCK}


def run(connection: Connection) -> None:
    """Upgrades under the lock; the caller commits."""
    connection.exec_driver_sql(LOCKS[connection.dialect.name])
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def main() -> None:
    url = context.config.attributes["url"]
    given = {"timeout": PATIENCE} if url.get_backend_name() == "sqlite" else {}
    engine = create_async_engine(url, poolclass=pool.NullPool, connect_args=given)
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


asyncio.run(main())
