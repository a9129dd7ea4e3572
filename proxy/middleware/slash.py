"""`/path/` is `/path`: the route answers, instead of a redirect that a POST would not survive."""

from starlette.types import ASGIApp, Receive, Scope, Send


class TrailingSlash:
    """Drops trailing slashes from the path that the router sees."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/") and scope["path"] != "/":
            scope["path"] = scope["path"].rstrip("/") or "/"
        await self._app(scope, receive, send)
