"""The page and its files: those of the folder and no others, each with the headers it needs."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from proxy.doors.dashboard import FOLDER, TYPES, DashboardDoor
from proxy.middleware.errors import Errors
from proxy.middleware.request_id import RequestId

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
EVERY = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}


def client_of(door: DashboardDoor) -> httpx.AsyncClient:
    app: Any = RequestId(Errors(Starlette(routes=door.routes()).router))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gate.test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "dashboard"
    (made / "lib").mkdir(parents=True)
    (made / "index.html").write_text("<!doctype html><title>x</title>")
    (made / "app.js").write_text("export {}")
    (made / "lib" / "a.css").write_text("a {}")
    (made / "notes.md").write_text("not for the world")
    (tmp_path / "secret.txt").write_text("secret")
    return made


@pytest.mark.parametrize(
    ("path", "kind", "content"),
    [
        ("/", "text/html; charset=utf-8", b"<!doctype html><title>x</title>"),
        ("/ui/app.js", "text/javascript; charset=utf-8", b"export {}"),
        ("/ui/lib/a.css", "text/css; charset=utf-8", b"a {}"),
    ],
)
async def test_a_file(folder: Path, path: str, kind: str, content: bytes) -> None:
    async with client_of(DashboardDoor(folder)) as client:
        came = await client.get(path)
        assert (came.status_code, came.content) == (200, content)
        assert came.headers["content-type"] == kind
        assert EVERY.items() <= dict(came.headers).items()
        head = await client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(content))
        tag = came.headers["etag"]
        assert tag.startswith('"')
        for said in (tag, f'"x", {tag}', f"W/{tag}", "*"):
            again = await client.get(path, headers={"if-none-match": said})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
            assert EVERY.items() <= dict(again.headers).items()
        other = await client.get(path, headers={"if-none-match": '"x"'})
        assert other.status_code == 200


async def test_a_file_that_changes_has_another_tag(folder: Path) -> None:
    async with client_of(DashboardDoor(folder)) as client:
        before = (await client.get("/ui/app.js")).headers["etag"]
        (folder / "app.js").write_text("export { a }")
        came = await client.get("/ui/app.js", headers={"if-none-match": before})
        assert (came.status_code, came.text) == (200, "export { a }")
        (folder / "app.js").unlink()
        assert (await client.get("/ui/app.js")).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/index.html", "/app.js", "/ui/", "/ui/nothing.js", "/ui/notes.md", "/ui/lib",
        "/ui/../secret.txt", "/ui/..\\secret.txt", "/ui//app.js", "/ui/lib/../app.js",
        "/ui/./app.js", "/ui//etc/passwd", "/ui/app.js\0", "/ui/app.js\0.css", "/ui/lib\\a.css",
        "/ui/APP.JS", "/ui/app.js ", "/ui/%2e%2e/secret.txt",
    ],
)  # fmt: skip
async def test_nothing_else_is_there(folder: Path, path: str) -> None:
    """As the server hands it on: percent-encoding is undone, and nothing else is."""
    status, headers, body = await asked(DashboardDoor(folder), path)
    assert status == 404, body
    assert b"there is no such file" in body or not path.startswith("/ui/")
    if path.startswith("/ui/"):
        assert EVERY.items() <= headers.items()


async def asked(door: DashboardDoor, path: str) -> tuple[int, dict[str, str], bytes]:
    app: Any = RequestId(Errors(Starlette(routes=door.routes()).router))
    said: list[Any] = []
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        said.append(message)

    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in said[0]["headers"]}
    return said[0]["status"], headers, b"".join(each.get("body", b"") for each in said[1:])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_it_is_only_read(folder: Path, method: str) -> None:
    async with client_of(DashboardDoor(folder)) as client:
        for path in ("/", "/ui/app.js"):
            assert (await client.request(method, path)).status_code == 405


async def test_the_packages_own_page() -> None:
    """It is there, and all that it is made of can be served."""
    async with client_of(DashboardDoor()) as client:
        page = await client.get("/")
        assert page.status_code == 200
        assert "<html" in page.text
    unknown = {path.suffix for path in FOLDER.rglob("*") if path.is_file()} - TYPES.keys()
    assert unknown <= {".md", ".LICENSE", ""}  # what nobody fetches
