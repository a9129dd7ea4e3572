"""Labels of the cache by meaning, and what a key says of the cache itself."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "cache_labels",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("name", sa.String(28), nullable=False, unique=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("is_right", sa.Boolean, nullable=False),
        sa.Column("weight", sa.Float, nullable=False),
        sa.Column("source", sa.String(9), nullable=False),
        sa.Column("scope", sa.String(32), nullable=False),
        sa.Column("embedder", sa.String, nullable=False),
        sa.Column("entry_id", sa.String),
    )
    op.add_column("keys", sa.Column("cache", sa.JSON))
