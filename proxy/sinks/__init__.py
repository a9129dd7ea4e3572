"""Usage is sent to places of the operator's too, from an outbox that is written with the books."""

from proxy.config_types import SinksSection
from proxy.sinks.base import Sink
from proxy.sinks.bigquery import BigQuerySink
from proxy.sinks.firestore import FirestoreSink

__all__ = ["sinks_of"]


def sinks_of(section: SinksSection) -> list[Sink]:
    """The sinks that are configured. Nothing is connected to, or loaded, before there are rows."""
    found: list[Sink] = []
    if section.bigquery is not None:
        found.append(BigQuerySink(section.bigquery))
    if section.firestore is not None:
        found.append(FirestoreSink(section.firestore))
    return found
