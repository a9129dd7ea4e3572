"""The dashboard's playground: chat and the list of models, for whoever has logged in to it.

The same as under `/v1`, but a session's cookie counts here, with the protection that it needs.
"""

from collections.abc import Mapping

from starlette.routing import BaseRoute, Route

from adapters.base import Endpoint
from proxy.auth import Authenticator
from proxy.doors.call import CallDoor, Current
from proxy.doors.openai import Models
from proxy.pipeline import Pipeline
from proxy.types import Principal

PATH = "/api/v1/playground"


def routes(current: Current, pipeline: Pipeline) -> list[BaseRoute]:
    """The routes of this door."""
    chat = CallDoor(Endpoint.CHAT, current, pipeline, _who_changes)
    return [
        Route(f"{PATH}/chat/completions", chat),
        Route(f"{PATH}/models", Models(current, _who_reads).list, methods=["GET"]),
    ]


async def _who_changes(auth: Authenticator, headers: Mapping[bytes, bytes]) -> Principal:
    return await auth.identify_at("POST", headers)


async def _who_reads(auth: Authenticator, headers: Mapping[bytes, bytes]) -> Principal:
    return await auth.identify_at("GET", headers)
