"""The words of limits."""

from proxy.counters import Grant, Kind, Want


def test_a_want_and_its_grant() -> None:
    want = Want("key:a:rpm", Kind.SLIDING, 5, 1, 60.0)
    assert (want.begins, want.kind) == (0.0, "sliding")
    assert Grant(None, (4,), (60.0,)).blocked is None
