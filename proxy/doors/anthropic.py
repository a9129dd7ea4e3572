"""Anthropic's own API, for its SDKs and Claude Code: messages and the counting of tokens.

Errors have Anthropic's shape under these paths (`proxy.middleware.errors`).
"""

from starlette.routing import BaseRoute, Route

from adapters.base import Endpoint
from proxy.doors.call import CallDoor, Current
from proxy.pipeline import Pipeline


def routes(current: Current, pipeline: Pipeline) -> list[BaseRoute]:
    """The routes of this door."""
    return [
        Route(f"/v1{endpoint}", CallDoor(endpoint, current, pipeline))
        for endpoint in (Endpoint.MESSAGES, Endpoint.COUNT_TOKENS)
    ]
