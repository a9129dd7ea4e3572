"""Requests, attempts and keys: the books of the first release."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TOKENS = (
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
)


def _tokens() -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in TOKENS]


def upgrade() -> None:
    _requests()
    _attempts()
    _keys()


def _requests() -> None:
    op.create_table(
        "requests",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("user_id", sa.String),
        sa.Column("service_name", sa.String),
        sa.Column("job_id", sa.String),
        sa.Column("task_type", sa.String),
        sa.Column("key_id", sa.String),
        sa.Column("role", sa.String),
        sa.Column("name", sa.String),
        sa.Column("provider_name", sa.String),
        sa.Column("model", sa.String),
        sa.Column("endpoint", sa.String),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("status_code", sa.Integer, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        *_tokens(),
        sa.Column("usage_source", sa.String, nullable=False),
        sa.Column("cost_nanousd", sa.BigInteger),
        sa.Column("saved_nanousd", sa.BigInteger, nullable=False),
        sa.Column("duration_ms", sa.Integer, nullable=False),
        sa.Column("first_token_ms", sa.Integer),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("cached", sa.Boolean, nullable=False),
        sa.Column("error_code", sa.String),
        sa.Column("error_message", sa.String),
        sa.Column("metadata", sa.JSON),
        sqlite_with_rowid=False,
    )


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("request_id", sa.String(32), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("provider_name", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("credential", sa.Integer, nullable=False),
        sa.Column("status_code", sa.Integer),
        sa.Column("outcome", sa.String, nullable=False),
        *_tokens(),
        sa.Column("usage_source", sa.String, nullable=False),
        sa.Column("cost_nanousd", sa.BigInteger),
        sa.Column("duration_ms", sa.Integer, nullable=False),
        sa.Column("first_token_ms", sa.Integer),
        sa.Column("error_code", sa.String),
        sa.Column("error_message", sa.String),
        sqlite_with_rowid=False,
    )


def _keys() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("digest_version", sa.Integer, nullable=False),
        sa.Column("models", sa.JSON),
        sa.Column("user_id", sa.String),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
    )
    op.create_index("keys_by_change", "keys", ["updated_at"])


def downgrade() -> None:
    for name in ("keys", "attempts", "requests"):
        op.drop_table(name)
