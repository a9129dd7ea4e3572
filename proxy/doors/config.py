"""`GET /api/v1/config`: the configuration in force as YAML, without its secrets.

What is a secret by its type is masked, and what may hold one: every header, what stands in a URL
before the host and after the path, a value whose name sounds like a secret. Whatever is still
somewhere else in the file word for word is masked there too.
"""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel, SecretStr
from starlette.responses import Response
from starlette.routing import BaseRoute

from proxy.config import Config, built_in
from proxy.doors.api import ADMIN, Api, Asked, Operation, answer
from proxy.live import Live

MASK = "***"
LEAST = 8  # characters of a secret that is looked for in other values: a shorter one is a word
SHIPPED = frozenset({"tasks", "pipelines", "actions"})
"""Sections that have entries of their own beside the file's, for `/api/llm`."""

_USERINFO = re.compile(r"(?<=://)\S*@")
_QUERY = re.compile(r"(?<=\?)\S+")
_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_WHOLE_USERINFO = re.compile(r"(?<=://).*@", re.DOTALL)
_WHOLE_QUERY = re.compile(r"(?<=[?#]).+", re.DOTALL)
_LOUD = re.compile(
    r"headers|secret|passw(or)?d|credential(?!s_file)|authorization|cookie"
    r"|(^|(?<!first)[_-])(key|keys|token)$|^apikey$",
    re.IGNORECASE,
)
"""Names whose values are secrets, wherever they stand."""


class ConfigAnswer(BaseModel):
    """The configuration in force: `text` is YAML with `***` for every secret. `loaded_at` in epoch
    seconds; `error` says why a newer file is not in force; `path` is null for the built-in one."""

    version: str
    loaded_at: int
    error: str | None
    path: str | None
    text: str


class ConfigDoor:
    """Shows what is in force."""

    def __init__(self, api: Api, live: Live) -> None:
        self._api = api
        self._live = live

    def routes(self) -> list[BaseRoute]:
        operation = Operation(
            "GET",
            "/api/v1/config",
            self.show,
            ADMIN,
            "The configuration in force, without secrets",
            answer=ConfigAnswer,
        )
        return [self._api.route(operation)]

    async def show(self, _: Asked) -> Response:
        live = self._live
        file, config = live.file, live.current.config
        text = await asyncio.to_thread(masked, config)  # some tens of milliseconds
        said = ConfigAnswer(
            version=file.version,
            loaded_at=int(live.loaded_at),
            error=live.error,
            path=None if file.path is None else str(file.path),
            text=text,
        )
        response = answer(said)
        response.headers["cache-control"] = "no-store"
        return response


def masked(config: Config) -> str:
    """A configuration as YAML, without its secrets and without what is as by default."""
    secrets = sorted(_secrets(config), key=len, reverse=True)
    plain = config.model_dump(by_alias=True, exclude_defaults=True)
    for section in SHIPPED & plain.keys():
        shipped, said = getattr(built_in(), section), getattr(config, section)
        own = {n: entry for n, entry in plain.pop(section).items() if said[n] != shipped.get(n)}
        plain |= {section: own} if own else {}
    return yaml.safe_dump(_shown(plain, secrets), sort_keys=False, allow_unicode=True, width=100)


def _shown(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, dict):
        return {
            _without(str(name), secrets): _hidden(inner, secrets)
            if _LOUD.search(str(name))
            else _shown(inner, secrets)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_shown(inner, secrets) for inner in value]
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, str):
        return _without(_text(value), secrets)
    return value


def _hidden(value: Any, secrets: list[str]) -> Any:
    """Every text in what is a secret by its name; how it is built may be seen."""
    if isinstance(value, dict):
        return {_without(str(k), secrets): _hidden(inner, secrets) for k, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(inner, secrets) for inner in value]
    return value if value is None or isinstance(value, bool) else MASK


def _text(text: str) -> str:
    """Without what a URL has before its host and after its path."""
    if _URL.match(text):
        return _WHOLE_QUERY.sub(MASK, _WHOLE_USERINFO.sub(MASK + "@", text))
    if "://" in text:
        return _QUERY.sub(MASK, _USERINFO.sub(MASK + "@", text))
    return text


def _without(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _secrets(value: Any) -> Iterator[str]:
    """Every secret of a value that is long enough to be looked for, as it is written."""
    if isinstance(value, SecretStr):
        text = value.get_secret_value()
        if len(text) >= LEAST:
            yield text
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _secrets(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secrets(inner)
