"""The Dockerfile without an engine: its steps are walked in a plain folder that stands for `/`.

What it copies is copied (past `.dockerignore`), what it installs is installed by the same commands,
and what it starts is started and found healthy by its own health check. Only steps that need root
and a system of their own (`SYSTEM`) are read and not run.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent
SYSTEM = ("apt-get ", "useradd ")
PYTHON = sys._base_executable  # type: ignore[attr-defined]  # not this test's venv, as in an image
START_SECONDS = 40


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction: `RUN` and what follows it on its lines, joined."""

    name: str
    value: str

    @property
    def words(self) -> list[str]:
        """The value of an instruction in its JSON form."""
        words: list[str] = json.loads(self.value)
        return words


def parse(text: str) -> list[Step]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    steps = [line.partition(" ") for line in joined.splitlines() if line.strip()]
    return [Step(name.upper(), re.sub(r"\s+", " ", value).strip()) for name, _, value in steps]


def is_ignored(path: str, patterns: list[str]) -> bool:
    """The last pattern that matches the path or a folder it lies in decides."""
    folders = [str(folder) for folder in (PurePosixPath(path), *PurePosixPath(path).parents)]
    ignored = False
    for pattern in patterns:
        wanted = pattern.removeprefix("!")
        names = [wanted, wanted.removeprefix("**/")]
        if any(fnmatchcase(folder, name) for folder in folders[:-1] for name in names):
            ignored = not pattern.startswith("!")
    return ignored


@dataclass
class Image:
    """The walk so far: the folder that stands for `/`, and what the steps have set."""

    folder: Path
    python: str = PYTHON
    env: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    said: dict[str, Step] = field(default_factory=dict)
    stages: dict[str, Path] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The same for each stage: an environment names its own place, and is copied to it."""
        return self.folder / "root"

    def at(self, path: str) -> Path:
        """Where an absolute path, or one from the working directory, lies."""
        return (
            self.root / os.path.normpath(f"{self.workdir}/{path}" if path[0] != "/" else path)[1:]
        )

    def mapped(self, command: str) -> str:
        """`command` with the image's paths and Python in the place of the system's."""
        command = re.sub(r"(?<![\w.:/-])/(?=(?:opt|src|data)\b)", f"{self.root}/", command)
        return re.sub(r"(?<![\w./-])python(?= )", self.python, command)

    def walk(self, steps: list[Step]) -> None:
        for step in steps:
            getattr(self, f"_{step.name.lower()}", self._note)(step)

    def _note(self, step: Step) -> None:
        self.said[step.name] = step

    def _from(self, step: Step) -> None:
        if self.root.exists():
            name = self.said["FROM"].value.partition(" AS ")[2]
            self.stages[name] = self.root.rename(self.folder / f"stage-{name}")
        self.root.mkdir()
        self.env, self.workdir, self.said = {}, "/", {"FROM": step}

    def _workdir(self, step: Step) -> None:
        self.workdir = step.value
        self.at(".").mkdir(parents=True, exist_ok=True)

    def _env(self, step: Step) -> None:
        for name, value in re.findall(r"(\w+)=(\S+)", step.value):
            self.env[name] = self.mapped(value).replace("$PATH", os.defpath)

    def _copy(self, step: Step) -> None:
        words = step.value.split()
        source = self.folder / "context"
        if words[0].startswith("--from="):
            source = self.stages[words.pop(0).removeprefix("--from=")]
        *names, to = words
        for name in names:
            found = source / name.lstrip("/")
            place = self.at(to) / found.name if to.endswith("/") else self.at(to)
            if found.is_dir():
                shutil.copytree(found, place, symlinks=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, place)

    def _run(self, step: Step) -> None:
        if step.value.startswith(SYSTEM):
            return
        done = subprocess.run(
            ["/bin/sh", "-c", self.mapped(step.value)],
            cwd=self.at("."),
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"RUN {step.value}\n{done.stdout}{done.stderr}"

    def command(self, words: list[str]) -> list[str]:
        """`words`, its program looked up where the image would."""
        program = shutil.which(words[0], path=self.env["PATH"])
        assert program is not None, f"{words[0]} is not in the image"
        return [program, *words[1:]]


def context(folder: Path) -> None:
    """What would be sent to an engine."""
    patterns = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    names = {pattern.removeprefix("!").partition("/")[0] for pattern in patterns} - {"*", "**"}
    for top in sorted(ROOT / name for name in names if (ROOT / name).exists()):
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            relative = path.relative_to(ROOT)
            if path.is_file() and not is_ignored(relative.as_posix(), patterns):
                (folder / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, folder / relative)


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    return parse((ROOT / "Dockerfile").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def image(steps: list[Step], tmp_path_factory: pytest.TempPathFactory) -> Image:
    image = Image(tmp_path_factory.mktemp("image"))
    context(image.folder / "context")
    image.walk(steps)
    return image


@contextmanager
def started(image: Image, port: int) -> Iterator["subprocess.Popen[str]"]:
    """The image's own command, on the loopback address."""
    words = [*image.said["ENTRYPOINT"].words, *image.said["CMD"].words]
    assert words[-2:] == ["--host", "0.0.0.0"], "a container is reached from outside"
    process = subprocess.Popen(
        [*image.command(words)[:-1], "127.0.0.1", "--port", str(port)],
        cwd=image.at("."),
        env=image.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise


def is_healthy(image: Image, port: int) -> bool:
    value = image.said["HEALTHCHECK"].value
    check = Step("CMD", value[value.index(" CMD ") + 5 :]).words
    exposed = image.said["EXPOSE"].value
    assert exposed in check[-1]
    words = [word.replace(exposed, str(port)) for word in check]
    done = subprocess.run(image.command(words), env=image.env, capture_output=True, check=False)
    return done.returncode == 0


def test_the_image_starts_and_is_found_healthy(image: Image) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert not is_healthy(image, port)
    with started(image, port) as process:
        end = time.monotonic() + START_SECONDS
        while not is_healthy(image, port):
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                pytest.fail(f"the command did not come up:\n{process.communicate()[0]}")
            time.sleep(0.2)
    assert process.returncode in {0, -signal.SIGTERM}, "it did not end by itself"
    assert any(image.at("/data").iterdir()), "what must last is in the volume"


def test_the_image_holds_the_wheel_and_no_build_tools(image: Image) -> None:
    script = "import proxy, adapters; print(proxy.__file__)"
    done = subprocess.run(
        image.command(["python", "-c", script]),
        env=image.env,
        cwd=image.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(image.at("/opt/turnout")))
    programs = {path.name for path in image.at("/opt/turnout/bin").iterdir()}
    assert "turnout" in programs
    assert not programs & {"hatchling", "pytest", "mypy"}


def test_the_image_has_every_file_of_the_packages(image: Image) -> None:
    """Pages, styles and defaults too, not only modules."""
    [installed] = image.at("/opt/turnout/lib").glob("python3.*/site-packages")
    for package in ("adapters", "proxy"):
        sent = [path for path in (image.folder / "context" / package).rglob("*") if path.is_file()]
        assert any(path.suffix == ".py" for path in sent)
        names = [path.relative_to(image.folder / "context") for path in sent]
        assert [name for name in names if not (installed / name).is_file()] == []


def test_the_image_can_do_what_the_deployments_ask_of_it() -> None:
    """compose.yaml and the manifests have PostgreSQL in common."""
    locked = (ROOT / "requirements-image.lock").read_text(encoding="utf-8")
    assert re.findall(r"^(asyncpg|xllamacpp)==", locked, re.MULTILINE) == ["asyncpg", "xllamacpp"]


def test_it_runs_as_nobody_special(steps: list[Step]) -> None:
    last = max(number for number, step in enumerate(steps) if step.name == "FROM")
    final = {step.name: step.value for step in steps[last:]}
    assert final["USER"] not in {"", "root", "0"}
    made = [step.value for step in steps[last:] if step.value.startswith("useradd ")]
    assert [final["USER"]] == [re.findall(r"(\S+) &&", value)[0] for value in made]
    assert final["VOLUME"] == "/data"
    assert final["EXPOSE"] == "8000"
    assert "TURNOUT_HOME=/data" in final["ENV"]


def test_every_installation_is_pinned(steps: list[Step]) -> None:
    installs = [
        part
        for step in steps
        if step.name == "RUN"
        for part in step.value.split("&&")
        if " install " in part and "pip" in part
    ]
    assert installs
    for command in installs:
        assert "--require-hashes" in command or "--no-deps --no-index" in command, command
    assert all(":" in step.value for step in steps if step.name == "FROM")


def test_the_context_leaves_the_rest_behind(tmp_path: Path) -> None:
    patterns = ["*", "!proxy", "!LICENSE", "**/__pycache__"]
    sent = ["proxy/app.py", "proxy/doors/openai.py", "LICENSE"]
    left = [".env", ".git/config", "tests/conftest.py", "proxy/doors/__pycache__/a.pyc"]
    assert [path for path in [*sent, *left] if not is_ignored(path, patterns)] == sent
    context(tmp_path)
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert Path("pyproject.toml") in files
    assert not [path for path in files if path.suffix == ".pyc" or path.parts[0] == "tests"]
