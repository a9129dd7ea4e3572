"""Roll-ups of the requests by hour and day, filled from the rows there are; rows by key, by user.

Written out here and not taken from the code: a migration must go on doing what it did.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

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

VALUES = {
    "all": "''",
    "provider": "provider_name",
    "model": "model",
    "service": "service_name",
    "user": "user_id",
    "task": "task_type",
    "key": "key_id",
}
LONGEST = 256  # characters of a value
HOUR, DAY = 3_600_000, 86_400_000


def upgrade() -> None:
    op.create_index("requests_by_key", "requests", ["key_id", "id"])
    op.create_index("requests_by_user", "requests", ["user_id", "id"])
    names = [*SUMS, *(f"h{number}" for number in range(STEPS))]
    op.create_table(
        "rollups",
        sa.Column("grain", sa.String(4), primary_key=True),
        sa.Column("dimension", sa.String(8), primary_key=True),
        sa.Column("bucket", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("value", sa.String, primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in names),
        sqlite_with_rowid=False,
    )
    for dimension, value in VALUES.items():
        op.execute(_hours(names, dimension, value))
    op.execute(_days(names))


def _hours(names: list[str], dimension: str, value: str) -> str:
    sums = [*SUMS.values(), *(_step(number) for number in range(STEPS))]
    return f"""
        INSERT INTO rollups (grain, dimension, bucket, value, {", ".join(names)})
        SELECT 'hour', '{dimension}', hour, value, {", ".join(sums)}
        FROM (
            SELECT created_at / {HOUR} * {HOUR} AS hour,
                   substr(coalesce({value}, ''), 1, {LONGEST}) AS value,
                   requests.*
            FROM requests
        ) AS rows_of_hours
        GROUP BY hour, value
    """  # noqa: S608  (names of our own)


def _step(number: int) -> str:
    """How many durations fell into a step: 1.5^number ms and more, less than the next."""
    least = f"duration_ms >= {-(-(3**number) // 2**number)}" if number else "1 = 1"
    most = f"duration_ms < {-(-(3 ** (number + 1)) // 2 ** (number + 1))}"
    condition = least if number == STEPS - 1 else f"{least} AND {most}"
    return f"sum(CASE WHEN {condition} THEN 1 ELSE 0 END)"


def _days(names: list[str]) -> str:
    return f"""
        INSERT INTO rollups (grain, dimension, bucket, value, {", ".join(names)})
        SELECT 'day', dimension, day, value, {", ".join(f"sum({name})" for name in names)}
        FROM (SELECT bucket / {DAY} * {DAY} AS day, rollups.* FROM rollups) AS hours
        GROUP BY dimension, day, value
    """  # noqa: S608  (names of our own)


def downgrade() -> None:
    op.drop_table("rollups")
    op.drop_index("requests_by_user", "requests")
    op.drop_index("requests_by_key", "requests")
