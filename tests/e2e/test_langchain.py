"""LangChain's standard tests pass where they need only text."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.e2e.test_serve import serving
from tests.local_model import lend

ROOT = Path(__file__).parents[2]
TEXT = {
    "test_invoke",
    "test_ainvoke",
    "test_stream",
    "test_astream",
    "test_batch",
    "test_abatch",
    "test_conversation",
    "test_double_messages_conversation",
    "test_usage_metadata",
    "test_usage_metadata_streaming",
    "test_stop_sequence",
    "test_message_with_name",
}
"""The suite's tests that need nothing but text."""
LACKS = (
    "tool",
    "structured output",
    "json mode",
    "image",
    "PDF",
    "audio",
    "Anthropic",
    "VCR",
    "model_override_value",
)
"""What the skipped ones say that they need: a word of each."""


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
                "-rA",
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
    assert done.returncode == 0, done.stdout[-4000:]
    passed = set(re.findall(r"^PASSED \S+::(\w+)", done.stdout, re.MULTILINE))
    assert passed >= TEXT, TEXT - passed
    skipped = re.findall(r"^SKIPPED .*: (.+)$", done.stdout, re.MULTILINE)
    assert [reason for reason in skipped if not any(word in reason for word in LACKS)] == []
    print(done.stdout.strip().splitlines()[-1])
