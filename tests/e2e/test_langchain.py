"""LangChain's standard tests pass where they need only text."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.e2e.test_serve import serving
from tests.local_model import lend

ROOT = Path(__file__).parents[2]
TEXT = 12  # of the suite's tests need nothing but text; that many pass at least


def test_langchains_own_suite(tmp_path: Path) -> None:
    lend(tmp_path / "home")
    with serving(tmp_path) as gateway:
        base_url, key = gateway.export.groups()
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "tests/suites/langchain_chat.py",
                "-q",
                "-W",
                "ignore",
                *("-o", "asyncio_default_test_loop_scope=session"),  # its client outlives a test
                *("-o", "asyncio_default_fixture_loop_scope=session"),
            ],
            cwd=ROOT,
            env=os.environ
            | {
                "OPENAI_BASE_URL": base_url,
                "OPENAI_API_KEY": key,
                "PYTEST_ADDOPTS": "-p no:cacheprovider",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    closing = done.stdout.strip().splitlines()[-1]
    found = re.search(r"(\d+) passed", closing)
    assert done.returncode == 0, done.stdout[-4000:]
    assert found, closing
    assert "failed" not in closing
    assert int(found.group(1)) >= TEXT, closing
    print(closing)
