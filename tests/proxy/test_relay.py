"""The way back: what an in-band error looks like, and money as text. The rest needs sockets:
tests/e2e/test_faults.py, test_data_plane.py."""

import pytest

from adapters.base import Endpoint
from proxy.errors import Upstream
from proxy.relay import _usd, error_event


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, b"0.0"), (1, b"0.000000001"), (280_000, b"0.00028"), (12 * 10**9, b"12.0")],
)
def test_money_loses_nothing(nano: int, text: bytes) -> None:
    assert _usd(nano) == text


def test_an_error_event_is_one_event() -> None:
    error = Upstream("a\nb", status=502, type="upstream_error", code="c")
    event = error_event(error, Endpoint.CHAT)
    assert event is not None
    assert event.startswith(b'data: {"error":')
    assert event.count(b"\n") == 2
