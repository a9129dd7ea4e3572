"""Alembic's entry: runs the migrations on the database that `proxy.storage.migrate` names."""

from alembic import context
from sqlalchemy import create_engine

from proxy.storage.schema import metadata

engine = create_engine(context.config.attributes["url"])
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
