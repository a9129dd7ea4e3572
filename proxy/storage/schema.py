"""The tables. Times are epoch milliseconds, money nano-dollars, durations milliseconds."""

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    event,
)

HEAD = "0006"
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

PAIRS = tuple(f"p{number}" for number in range(len(HISTOGRAM) // 2))
"""The same, two steps in a column."""

owner_rollups = Table(
    "owner_rollups",
    metadata,
    Column("dimension", String(16), primary_key=True),
    Column("bucket", BigInteger, primary_key=True, autoincrement=False),
    Column("owner", String, primary_key=True),
    Column("first", String, primary_key=True),
    Column("second", String, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in (*SUMS, *PAIRS)),
    sqlite_with_rowid=False,
)
"""The sums of one key's or one user's requests in a day (UTC), by each pair of values of two other
dimensions; `proxy.ledger.rollups` says which. They stay when their rows are deleted."""

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


def _times() -> list[Column[int]]:
    """Rows that processes hold in memory are known anew by `updated_at`; so that others hear of
    it too, what is deleted stays, with `deleted_at`."""
    return [
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Column("deleted_at", BigInteger),
    ]


def _one_live(table: Table, column: str) -> None:
    """No two live rows have the same. In plain SQL, which both databases know: an `Index` with a
    condition would load SQLAlchemy's part for PostgreSQL everywhere, 2 MB and 40 ms."""
    sql = f"CREATE UNIQUE INDEX {table.name}_by_{column} ON {table.name} ({column})"
    index = DDL(f"{sql} WHERE deleted_at IS NULL")  # type: ignore[no-untyped-call]
    event.listen(table, "after_create", index)


users = Table(
    "users",
    metadata,
    Column("id", String, primary_key=True),
    Column("email", String, nullable=False),
    Column("name", String),
    Column("role", String(8), nullable=False),
    Column("password_hash", String),
    Column("external_id", String, unique=True),
    Column("is_active", Boolean, nullable=False),
    Column("limits", JSON),
    Column("tokens_after", BigInteger, nullable=False),
    *_times(),
    Index("users_by_change", "updated_at"),
)
_one_live(users, "email")
"""`email` in lower case; `external_id` is `issuer#subject` of who comes by an identity provider.
Tokens given out before `tokens_after` open nothing."""

revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("expires_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("revoked_tokens_by_change", "updated_at"),
)
"""Tokens that ended before their time, by their `jti`."""

vault = Table(
    "vault",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("purpose", String(8), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
"""The keys that seal and digest, sealed themselves under `auth.encryption_key`."""

user_keys = Table(
    "user_keys",
    metadata,
    Column("user_id", String, primary_key=True),
    Column("provider_name", String, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("vault_id", String(40), nullable=False),
    Column("origin", String, nullable=False),
    Column("hint", String(16), nullable=False),
    *_times(),
    Index("user_keys_by_change", "updated_at"),
)
"""Users' own keys of providers. `hint` is what may be shown of one."""

providers = Table(
    "providers",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("display_name", String, nullable=False),
    Column("dialect", String, nullable=False),
    Column("base_url", String),
    Column("sealed", LargeBinary, nullable=False),
    Column("vault_id", String(40), nullable=False),
    Column("hint", String(16), nullable=False),
    Column("models", JSON, nullable=False),
    Column("is_enabled", Boolean, nullable=False),
    Column("rate_limit_rpm", Integer),
    Column("rate_limit_tpm", Integer),
    Column("priority", Integer, nullable=False),
    Column("allow_private", Boolean, nullable=False),
    *_times(),
    Index("providers_by_change", "updated_at"),
)
_one_live(providers, "name")
"""Providers made through the API."""

overrides = Table(
    "overrides",
    metadata,
    Column("id", String, primary_key=True),
    Column("user_id", String, nullable=False),
    Column("service_name", String),
    Column("provider_name", String, nullable=False),
    Column("model_name", String, nullable=False),
    *_times(),
    Index("overrides_by_change", "updated_at"),
)
"""Where a customer's calls go instead; `service_name` NULL is for all services."""

conversations = Table(
    "conversations",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("model", String, nullable=False),
    Column("title", String),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("conversations_by_owner", "owner", "id"),
)

messages = Table(
    "messages",
    metadata,
    Column("id", String, primary_key=True),
    Column("conversation_id", String, nullable=False),
    Column("role", String, nullable=False),
    Column("content", Text, nullable=False),
    Column("more", Text),
    Column("model", String),
    Column("request_id", String),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cost_nanousd", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Index("messages_by_conversation", "conversation_id", "id"),
)
"""What was said in a conversation. `content` is JSON: a text, or a list of parts; `more` has the
message's other fields, such as `tool_calls`, as a JSON object."""

alerts = Table(
    "alerts",
    metadata,
    Column("scope", String, primary_key=True),
    Column("begins", BigInteger, primary_key=True, autoincrement=False),
    Column("threshold", Integer, primary_key=True, autoincrement=False),
    Column("spent_nanousd", BigInteger, nullable=False),
    Column("budget_nanousd", BigInteger, nullable=False),
    Column("name", String, nullable=False),
    Column("per", String(5), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("delivered_at", BigInteger),
    Column("tries", Integer, nullable=False),
    Column("next_try_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)
"""Budgets of which a share, `threshold` percent, was spent: each once in a day or month. One that
is delivered after no try was never sent: a higher share was spent at the same time."""

outbox = Table(
    "outbox",
    metadata,
    Column("sink", String(16), primary_key=True),
    Column("request_id", String(32), primary_key=True),
)
"""Rows of `requests` that a sink has not taken yet; written with them."""

leases = Table(
    "leases",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("holder", String(32), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)
"""What one process at a time does, and who does it now."""
