"""Users, tokens, secrets, providers, overrides, conversations, alerts and sinks; what owners asked.

Roll-ups of owners are filled from the rows there are. They are written out here and not taken
from the code: a migration must go on doing what it did.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

LIVE = sa.text("deleted_at IS NULL")

SUMS = {
    "requests": "count(*)",
    "errors": "sum(CASE WHEN outcome = 'failed' THEN 1 ELSE 0 END)",
    "cached": "sum(CASE WHEN cached THEN 1 ELSE 0 END)",
    "input_tokens": "sum(input_tokens)",
    "cached_tokens": "sum(cached_tokens)",
    "cache_write_tokens": "sum(cache_write_tokens)",
    "output_tokens": "sum(output_tokens)",
    "reasoning_tokens": "sum(reasoning_tokens)",
    "images": "sum(images)",
    "cost_nanousd": "sum(coalesce(cost_nanousd, 0))",
    "saved_nanousd": "sum(saved_nanousd)",
    "duration_ms": "sum(duration_ms)",
    "first_token_ms": "sum(coalesce(first_token_ms, 0))",
    "first_tokens": "count(first_token_ms)",
}
STEPS = 32
OWNED = {
    "key:model": ("key_id", "provider_name", "model"),
    "key:task": ("key_id", "service_name", "task_type"),
    "key:user": ("key_id", "user_id", "NULL"),
    "user:model": ("user_id", "provider_name", "model"),
    "user:task": ("user_id", "service_name", "task_type"),
    "user:key": ("user_id", "key_id", "NULL"),
}
LONGEST = 256  # characters of a value
DAY = 86_400_000


def _times() -> list[sa.Column[int]]:
    return [
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("deleted_at", sa.BigInteger),
    ]


def upgrade() -> None:
    _people()
    _secrets()
    _routes()
    _conversations()
    _deliveries()
    _sums()


def _by_change(table: str) -> None:
    op.create_index(f"{table}_by_change", table, ["updated_at"])


def _one_live(table: str, column: str) -> None:
    op.create_index(
        f"{table}_by_{column}",
        table,
        [column],
        unique=True,
        sqlite_where=LIVE,
        postgresql_where=LIVE,
    )


def _people() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("name", sa.String),
        sa.Column("role", sa.String(8), nullable=False),
        sa.Column("password_hash", sa.String),
        sa.Column("external_id", sa.String, unique=True),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("limits", sa.JSON),
        sa.Column("tokens_after", sa.BigInteger, nullable=False),
        *_times(),
    )
    _by_change("users")
    _one_live("users", "email")
    op.create_table(
        "revoked_tokens",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    _by_change("revoked_tokens")


def _secrets() -> None:
    op.create_table(
        "vault",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("purpose", sa.String(8), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "user_keys",
        sa.Column("user_id", sa.String, primary_key=True),
        sa.Column("provider_name", sa.String, primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("vault_id", sa.String(40), nullable=False),
        sa.Column("origin", sa.String, nullable=False),
        sa.Column("hint", sa.String(16), nullable=False),
        *_times(),
    )
    _by_change("user_keys")


def _routes() -> None:
    op.create_table(
        "providers",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("display_name", sa.String, nullable=False),
        sa.Column("dialect", sa.String, nullable=False),
        sa.Column("base_url", sa.String),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("vault_id", sa.String(40), nullable=False),
        sa.Column("hint", sa.String(16), nullable=False),
        sa.Column("models", sa.JSON, nullable=False),
        sa.Column("is_enabled", sa.Boolean, nullable=False),
        sa.Column("rate_limit_rpm", sa.Integer),
        sa.Column("rate_limit_tpm", sa.Integer),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("allow_private", sa.Boolean, nullable=False),
        *_times(),
    )
    _by_change("providers")
    _one_live("providers", "name")
    op.create_table(
        "overrides",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("service_name", sa.String),
        sa.Column("provider_name", sa.String, nullable=False),
        sa.Column("model_name", sa.String, nullable=False),
        *_times(),
    )
    _by_change("overrides")


def _conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("title", sa.String),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_index("conversations_by_owner", "conversations", ["owner", "id"])
    op.create_table(
        "messages",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("conversation_id", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("more", sa.Text),
        sa.Column("model", sa.String),
        sa.Column("request_id", sa.String),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("cost_nanousd", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("messages_by_conversation", "messages", ["conversation_id", "id"])


def _deliveries() -> None:
    op.create_table(
        "alerts",
        sa.Column("scope", sa.String, primary_key=True),
        sa.Column("begins", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("threshold", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("spent_nanousd", sa.BigInteger, nullable=False),
        sa.Column("budget_nanousd", sa.BigInteger, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("per", sa.String(5), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("delivered_at", sa.BigInteger),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_try_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "outbox",
        sa.Column("sink", sa.String(16), primary_key=True),
        sa.Column("request_id", sa.String(32), primary_key=True),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("holder", sa.String(32), nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )


def _sums() -> None:
    pairs = [f"p{number}" for number in range(STEPS // 2)]
    op.create_table(
        "owner_rollups",
        sa.Column("dimension", sa.String(16), primary_key=True),
        sa.Column("bucket", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("first", sa.String, primary_key=True),
        sa.Column("second", sa.String, primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in (*SUMS, *pairs)),
        sqlite_with_rowid=False,
    )
    for dimension, columns in OWNED.items():
        op.execute(_filled(dimension, columns, pairs))


def _filled(dimension: str, columns: tuple[str, str, str], pairs: list[str]) -> str:
    owner, first, second = (f"substr(coalesce({name}, ''), 1, {LONGEST})" for name in columns)
    steps = [_step(number) for number in range(STEPS)]
    packed = [
        f"{low} + {high} * 2147483648" for low, high in zip(steps[::2], steps[1::2], strict=True)
    ]
    return f"""
        INSERT INTO owner_rollups
            (dimension, bucket, owner, "first", "second", {", ".join([*SUMS, *pairs])})
        SELECT '{dimension}', day, owner, a, b, {", ".join([*SUMS.values(), *packed])}
        FROM (
            SELECT created_at / {DAY} * {DAY} AS day, {owner} AS owner, {first} AS a,
                   {second} AS b, requests.*
            FROM requests
        ) AS rows_of_days
        WHERE owner <> ''
        GROUP BY day, owner, a, b
    """  # noqa: S608  (names of our own)


def _step(number: int) -> str:
    """How many durations fell into a step: 1.5^number ms and more, less than the next."""
    least = f"duration_ms >= {-(-(3**number) // 2**number)}" if number else "1 = 1"
    most = f"duration_ms < {-(-(3 ** (number + 1)) // 2 ** (number + 1))}"
    condition = least if number == STEPS - 1 else f"{least} AND {most}"
    return f"sum(CASE WHEN {condition} THEN 1 ELSE 0 END)"
