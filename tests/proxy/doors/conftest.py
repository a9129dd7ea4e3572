"""The databases that some of these tests run on."""

from tests.servers import database, engine

__all__ = ["database", "engine"]
