"""Runs `racer` in several processes at once."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def race(
    url: str, mode: str, count: int = 2, meanwhile: Callable[[], None] | None = None
) -> list[dict[str, Any]]:
    """What each of `count` processes got; they begin together."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.proxy.shared.racer", url, mode, f"racer{number}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    if meanwhile is not None:
        meanwhile()
    ends = [racer.communicate(timeout=60)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * count
    return [json.loads(end) for end in ends]
