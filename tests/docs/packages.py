"""The clients' own packages, each kind in an environment of its own and kept in a cache folder:
they are heavy, and want other versions of each other than the tests do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import platformdirs
import pytest

CACHE = Path(os.environ.get("TURNOUT_TEST_CACHE", platformdirs.user_cache_path("turnout-tests")))

PYTHON = {
    "docs-llama-index-0.8.1": ("llama-index-llms-openai-like==0.8.1",),
    "docs-pydantic-ai-2.68.0": ("pydantic-ai-slim[openai]==2.68.0", "llm==0.36"),
}
"""Folder -> requirements. 290 MB in 43 s, and 120 MB in 17 s."""

NODE = (
    "@ai-sdk/openai-compatible@2.0.87",
    "@trpc/client@11.25.2",
    "@trpc/server@11.25.2",
    "ai@6.0.326",
    "openai@6.49.0",
    "typescript@5.9.3",
)
NODE_FOLDER = "docs-node-1"  # another number for other versions

OWNERS = {
    "llama_index": "docs-llama-index-0.8.1",
    "pydantic_ai": "docs-pydantic-ai-2.68.0",
}
"""Module -> the environment it is in."""


class Missing(NamedTuple):
    """What could not be had, and what to type."""

    what: str
    command: tuple[str, ...]
    said: str


def python_environments() -> dict[str, Path]:
    """Folder -> its `bin`; made where it is not there. Skips aloud where pip can't."""
    making: dict[str, subprocess.Popen[str]] = {}
    for name, requirements in PYTHON.items():
        if not (CACHE / name / "complete").exists():
            shutil.rmtree(CACHE / name, ignore_errors=True)
            making[name] = _popen(_python_command(CACHE / name, requirements))
    missing = []
    for name, process in making.items():
        said = process.communicate(timeout=280)[0]
        if process.returncode:
            command = _python_command(CACHE / name, PYTHON[name])
            missing.append(Missing(name, command, said[-300:]))
        else:
            (CACHE / name / "complete").touch()
    _skip(missing)
    return {name: CACHE / name / "bin" for name in PYTHON}


def node_modules() -> Path:
    """The `node_modules` of the JavaScript blocks. Skips aloud without Node or npm."""
    folder = CACHE / NODE_FOLDER
    command = ("npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund")
    command += ("--ignore-scripts", *NODE)
    if shutil.which("node") is None or shutil.which("npm") is None:
        _skip([Missing("Node.js", command, "")])
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = _popen(command)
        said = made.communicate(timeout=280)[0]
        if made.returncode:
            _skip([Missing("packages of npm", command, said[-300:])])
        (folder / "complete").touch()
    return folder / "node_modules"


def _python_command(folder: Path, requirements: tuple[str, ...]) -> tuple[str, ...]:
    pip = f'"{sys.executable}" -m pip --python "{folder}/bin/python" install --quiet --no-compile'
    wanted = " ".join(f"'{each}'" for each in requirements)
    return ("bash", "-c", f'"{sys.executable}" -m venv --without-pip "{folder}" && {pip} {wanted}')


def _popen(command: tuple[str, ...]) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _skip(missing: list[Missing]) -> None:
    for what, command, said in missing:
        pytest.skip(f"{what} could not be had; type: {' '.join(command)}\n{said}")
