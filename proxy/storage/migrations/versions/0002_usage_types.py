"""What kind of use a request was, and the images that it made."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for table in ("requests", "attempts"):
        images = sa.Column("images", sa.Integer, nullable=False, server_default="0")
        op.add_column(table, images)
    op.add_column("requests", sa.Column("usage_type", sa.String))
