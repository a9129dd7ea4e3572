"""`/path/` is `/path`."""

import pytest

from proxy.middleware.slash import TrailingSlash
from tests.proxy.middleware.calls import call, ok


@pytest.mark.parametrize(
    ("path", "seen"), [("/a/", b"/a"), ("/a", b"/a"), ("/", b"/"), ("//", b"/")]
)
async def test_paths(path: str, seen: bytes) -> None:
    assert (await call(TrailingSlash(ok), path=path))[1]["body"] == seen
