"""The OpenAI SDK's own tests, against Turnout, with strict response validation.

They ship in its source distribution, which is fetched with pip (and kept in a cache folder), for
the version that is installed.
"""

import asyncio
import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import platformdirs
import pytest

from tests.e2e.gateway import running
from tests.fakes.upstream import Upstream

CACHE = Path(os.environ.get("TURNOUT_TEST_CACHE", platformdirs.user_cache_path("turnout-tests")))
CONFIG = """
auth: {{anonymous: true, master_key: "${{TURNOUT_MASTER_KEY}}"}}
cache: {{enabled: false}}
providers: {{up: {{dialect: openai, base_url: "{base_url}"}}}}
models: {{"*": up}}
"""


def suite() -> Path:
    """The unpacked source distribution, or a skip that says what to type."""
    wanted = f"openai=={version('openai')}"
    folder = CACHE / wanted.replace("==", "-")
    if not (folder / "tests").is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", "openai", "--dest", str(CACHE), wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archives = list(CACHE.glob(f"openai-{version('openai')}*.tar.gz"))
        if done.returncode or not archives:
            pytest.skip(
                f"the SDK's sources are missing; type: {' '.join(command)}\n{done.stderr[-300:]}"
            )
        with tarfile.open(archives[0]) as archive:
            archive.extractall(CACHE, filter="data")
    return folder


@pytest.mark.parametrize(
    ("tests", "count"),
    [
        (["tests/api_resources/chat/test_completions.py", "-k", "create"], 40),
        (["tests/api_resources/test_embeddings.py"], 20),
        (["tests/api_resources/test_models.py", "-k", "retrieve or list"], 35),
    ],
)
async def test_the_sdks_own_suite(tmp_path: Path, tests: list[str], count: int) -> None:
    folder = suite()
    async with Upstream() as up, running(tmp_path, CONFIG.format(base_url=up.base_url)) as gateway:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "pytest",
            *tests,
            *("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts="),
            cwd=folder,
            env=os.environ | {"TEST_API_BASE_URL": gateway.base_url, "PYTEST_ADDOPTS": ""},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
    closing = said.decode().strip().splitlines()[-1]
    found = re.search(r"(\d+) passed", closing)
    assert process.returncode == 0, said.decode()[-3000:]
    assert found, closing
    assert "failed" not in closing
    assert int(found.group(1)) >= count, closing
    print(closing)
