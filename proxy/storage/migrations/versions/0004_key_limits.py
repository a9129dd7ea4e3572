"""What a key says of its limits itself, and its tags."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    for name in ("limits", "tags"):
        op.add_column("keys", sa.Column(name, sa.JSON))
