"""The dashboard's page: `GET /`, and its files under `GET /ui/{path}`.

The files are those of the package and no others: a name is looked up among them, so that no path
leads out of the folder. They are open to all, and say nothing that is not in the package; what
the page shows it asks the API for, as whoever has logged in.
"""

import asyncio
import hashlib
from functools import cached_property
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from proxy.errors import NotFound

FOLDER = Path(__file__).parent.parent / "dashboard"
PAGE = "index.html"

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}
"""The media type of each kind of file; other files of the folder are not served."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}
"""Of every answer."""


class DashboardDoor:
    """Serves the files of a folder. They are read when they are asked for, and not kept."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/", self.page, methods=["GET"]),
            Route("/ui/{name:path}", self.file, methods=["GET"]),
        ]

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Each file by its path below the folder, as it was at the first request."""
        return {
            path.relative_to(self._folder).as_posix(): path
            for path in self._folder.rglob("*")
            if path.suffix in TYPES and path.is_file()
        }

    async def page(self, request: Request) -> Response:
        return await self._served(PAGE, request)

    async def file(self, request: Request) -> Response:
        return await self._served(request.path_params["name"], request)

    async def _served(self, name: str, request: Request) -> Response:
        path = self._files.get(name)
        if path is None:
            raise NotFound("there is no such file", headers=HEADERS)
        try:
            content = await asyncio.to_thread(path.read_bytes)
        except OSError:  # the package was changed under us
            raise NotFound("there is no such file", headers=HEADERS) from None
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = {**HEADERS, "etag": tag}
        if _is_known(tag, request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=TYPES[path.suffix], headers=headers)


def _is_known(tag: str, said: str) -> bool:
    """Whether If-None-Match names it (RFC 9110, 13.1.2): compared weakly."""
    known = {each.strip().removeprefix("W/") for each in said.split(",")}
    return tag in known or "*" in known
