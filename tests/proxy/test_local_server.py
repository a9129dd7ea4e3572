"""The process of the embedded model: it ends with its standard input."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxy.local_server import KEY, serve
from proxy.models import known, path_of
from tests.local_model import lend


def test_it_ends_when_the_gateway_does(tmp_path: Path) -> None:
    lend(tmp_path)
    model = known("smollm2")
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy.local_server", str(path_of(tmp_path, model)), "m", "512"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {KEY: "k"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"http://127.0.0.1:")
    began = time.monotonic()
    process.stdin.close()
    assert process.wait(5) == 0
    assert time.monotonic() - began < 2
    process.stdout.close()


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"nothing")
    with pytest.raises(RuntimeError):
        serve(tmp_path / "x.gguf", "x", 512, "k")
