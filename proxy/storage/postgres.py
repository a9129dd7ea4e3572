"""What is PostgreSQL's own: its URL, its connections, and their faults as SQLAlchemy's.

asyncpg raises plain `OSError` when a server is away or does not answer in time, and SQLAlchemy
lets that pass. Whoever waits for a database to come back waits for `SQLAlchemyError`, so it is
turned into one here, wherever it comes up.
"""

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import DisconnectionError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

NAMES = frozenset({"postgresql", "postgres"})
DRIVER = "postgresql+asyncpg"

PARAMETERS = {
    "ssl": "ssl",
    "sslmode": "ssl",
    "host": "host",
    "port": "port",
    "prepared_statement_cache_size": "prepared_statement_cache_size",
}
"""What a URL may say after its `?`, and what asyncpg calls it."""

POOL = 4  # connections kept, and as many more while they are needed
WAIT = 10  # seconds for a connection, a lock, or a free one of the pool
STATEMENT = 30  # seconds of one statement, by the server's clock
SILENCE = 40  # seconds after which a server that says nothing counts as gone

SETTINGS = {
    "application_name": "turnout",
    "statement_timeout": f"{STATEMENT}s",
    "lock_timeout": f"{WAIT}s",
    "idle_in_transaction_session_timeout": f"{STATEMENT}s",
    "jit": "off",  # it takes longer to compile our sums than to add them up
}

LOCK = "SELECT pg_advisory_xact_lock(7310021)"
"""Held by whoever makes or changes the schema, until its transaction ends."""

PATIENCE = ("SET LOCAL statement_timeout = 0", "SET LOCAL lock_timeout = 0")
"""Another process may hold `LOCK` for as long as a migration takes."""


def resolved(url: URL) -> URL:
    """The URL for asyncpg. Raises `ValueError` naming a parameter that it can't be told."""
    query: dict[str, Any] = {}
    for name, value in url.query.items():
        if name not in PARAMETERS:
            known = ", ".join(sorted(PARAMETERS))
            raise ValueError(f"the database URL has the parameter {name!r}; known are {known}")
        query[PARAMETERS[name]] = value
    return url.set(drivername=DRIVER, query=query)


def open_engine(url: URL) -> AsyncEngine:
    """An engine whose faults are all `SQLAlchemyError`; nothing is connected yet.

    Raises `ModuleNotFoundError` without asyncpg. Parameters of statements are in no message.
    """
    engine = create_async_engine(
        url,
        pool_size=POOL,
        max_overflow=POOL,
        pool_timeout=WAIT,
        hide_parameters=True,
        connect_args={"timeout": WAIT, "command_timeout": SILENCE, "server_settings": SETTINGS},
    )
    event.listen(engine.sync_engine, "do_connect", _connect)
    event.listen(engine.sync_engine, "handle_error", _translated)
    event.listen(engine.sync_engine.pool, "checkout", _Pinging(engine.dialect))
    return engine


def _connect(dialect: Any, _: Any, args: Any, options: Any) -> Any:
    try:
        return dialect.connect(*args, **options)
    except (OSError, dialect.loaded_dbapi.asyncpg.PostgresError) as error:
        raise dialect.loaded_dbapi.OperationalError(str(error) or type(error).__name__) from error


def _translated(context: ExceptionContext) -> OperationalError | None:
    """The fault of a statement, when the driver has left it an `OSError`."""
    error = context.original_exception
    if isinstance(error, OSError):
        return OperationalError(context.statement, None, error, hide_parameters=True)
    return None


class _Pinging:
    """Asks a pooled connection whether it lives before it is used.

    `pool_pre_ping` would, but an `OSError` of its ping would come out as it is.
    """

    def __init__(self, dialect: Any) -> None:
        self._dialect = dialect

    def __call__(self, connection: Any, record: Any, fairy: Any) -> None:
        try:
            self._dialect.do_ping(connection)
        except (OSError, self._dialect.loaded_dbapi.Error) as error:
            raise DisconnectionError("the connection is gone") from error
