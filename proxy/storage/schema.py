"""The tables. Times are epoch milliseconds, money nano-dollars, durations milliseconds."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
)

HEAD = "0005"
"""The newest migration."""

metadata = MetaData()


def _tokens() -> list[Column[int]]:
    names = (
        "input_tokens",
        "cached_tokens",
        "cache_write_tokens",
        "output_tokens",
        "reasoning_tokens",
    )
    return [Column(name, BigInteger, nullable=False, default=0) for name in names]


requests = Table(
    "requests",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("user_id", String),
    Column("service_name", String),
    Column("job_id", String),
    Column("task_type", String),
    Column("key_id", String),
    Column("role", String),
    Column("name", String),
    Column("provider_name", String),
    Column("model", String),
    Column("endpoint", String),
    Column("stream", Boolean, nullable=False),
    Column("status_code", Integer, nullable=False),
    Column("outcome", String, nullable=False),
    *_tokens(),
    Column("usage_source", String, nullable=False),
    Column("cost_nanousd", BigInteger),
    Column("saved_nanousd", BigInteger, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("first_token_ms", Integer),
    Column("attempts", Integer, nullable=False),
    Column("cached", Boolean, nullable=False),
    Column("error_code", String),
    Column("error_message", String),
    Column("metadata", JSON),
    Column("images", Integer, nullable=False, server_default="0"),
    Column("usage_type", String),
    Index("requests_by_key", "key_id", "id"),
    Index("requests_by_user", "user_id", "id"),
    sqlite_with_rowid=False,
)
"""Ids begin with the time, so the primary key is the index by time too (`proxy.ids.earliest`)."""

attempts = Table(
    "attempts",
    metadata,
    Column("request_id", String(32), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("id", String(32), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("provider_name", String, nullable=False),
    Column("model", String, nullable=False),
    Column("credential", Integer, nullable=False),
    Column("status_code", Integer),
    Column("outcome", String, nullable=False),
    *_tokens(),
    Column("usage_source", String, nullable=False),
    Column("cost_nanousd", BigInteger),
    Column("duration_ms", Integer, nullable=False),
    Column("first_token_ms", Integer),
    Column("error_code", String),
    Column("error_message", String),
    Column("images", Integer, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

keys = Table(
    "keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String),
    Column("digest", String(64), nullable=False, unique=True),
    Column("digest_version", Integer, nullable=False),
    Column("models", JSON),
    Column("user_id", String),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("limits", JSON),
    Column("tags", JSON),
    Column("cache", JSON),
    Index("keys_by_change", "updated_at"),
)

SUMS = (
    "requests",
    "errors",
    "cached",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "images",
    "cost_nanousd",
    "saved_nanousd",
    "duration_ms",
    "first_token_ms",
    "first_tokens",
)
"""What is added up; `first_tokens` counts the rows that have a `first_token_ms`."""

HISTOGRAM = tuple(f"h{number}" for number in range(32))
"""How many durations fell into each step; `proxy.ledger.rollups` has the steps."""

rollups = Table(
    "rollups",
    metadata,
    Column("grain", String(4), primary_key=True),
    Column("dimension", String(8), primary_key=True),
    Column("bucket", BigInteger, primary_key=True, autoincrement=False),
    Column("value", String, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in (*SUMS, *HISTOGRAM)),
    sqlite_with_rowid=False,
)
"""The sums of requests in an hour or a day (UTC), by each value of each dimension.

`bucket` is when the hour or day began; `value` is '' where a request has none. They stay when
the rows they were made of are deleted.
"""

cache_labels = Table(
    "cache_labels",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("name", String(28), nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("score", Float, nullable=False),
    Column("is_right", Boolean, nullable=False),
    Column("weight", Float, nullable=False),
    Column("source", String(9), nullable=False),
    Column("scope", String(32), nullable=False),
    Column("embedder", String, nullable=False),
    Column("entry_id", String),
)
"""Whether kept answers were right for questions in other words, without either.

`id` grows as labels come, `name` begins with its writer's; `proxy.storage.labels` has the rest.
"""
