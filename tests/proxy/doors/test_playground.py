"""The playground's routes; they are tried over sockets in tests/e2e/test_dashboard_api.py."""

from typing import Any

from starlette.routing import Route

from proxy.doors.call import CallDoor
from proxy.doors.playground import _who_changes, _who_reads, routes


def test_what_can_be_called() -> None:
    nobody: Any = None
    found = [route for route in routes(lambda: nobody, nobody) if isinstance(route, Route)]
    assert [(route.path, route.methods) for route in found] == [
        ("/api/v1/playground/chat/completions", None),
        ("/api/v1/playground/models", {"GET", "HEAD"}),
    ]
    assert isinstance(found[0].endpoint, CallDoor)


async def test_a_chat_changes_something_and_a_list_does_not() -> None:
    """So a cookie needs its protection for the one."""
    asked: list[str] = []

    class Auth:
        async def identify_at(self, method: str, headers: Any) -> None:
            asked.append(method)

    auth: Any = Auth()
    await _who_changes(auth, {})
    await _who_reads(auth, {})
    assert asked == ["POST", "GET"]
