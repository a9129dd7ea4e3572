"""The tables are what the books need, whatever database they are in."""

from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from proxy.ledger.rows import ATTEMPT_COLUMNS, REQUEST_COLUMNS
from proxy.storage.schema import attempts, metadata, requests


def test_rows_fill_every_column() -> None:
    assert set(REQUEST_COLUMNS) == set(requests.columns.keys())
    assert set(ATTEMPT_COLUMNS) == set(attempts.columns.keys())


def test_the_tables_can_be_made_elsewhere_too() -> None:
    for table in metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))
