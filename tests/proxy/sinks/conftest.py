"""The databases that these tests run on."""

from tests.servers import database, engine

__all__ = ["database", "engine"]
