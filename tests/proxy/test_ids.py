"""Ids sort by time and are never the same."""

import time
import uuid

from proxy.ids import earliest, request_name, uuid7


def test_they_are_uuids_of_version_7() -> None:
    parsed = uuid.UUID(uuid7())
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert abs((parsed.int >> 80) / 1000 - time.time()) < 5


def test_they_are_all_different() -> None:
    assert len({uuid7() for _ in range(10_000)}) == 10_000


def test_they_come_after_the_earliest_of_their_time() -> None:
    now = time.time()
    assert earliest(now - 1) < uuid7() < earliest(now + 10)


def test_a_request_is_named_once() -> None:
    assert request_name("0199") == "req_0199"
    assert request_name("req_0199") == "req_0199"
