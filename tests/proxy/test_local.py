"""The embedded server: loaded once, off the loop, or an error that says what to type."""

import asyncio
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from proxy.local import LocalModels, LocalModelUnavailable
from tests.local_model import lend


async def test_loaded_once_and_off_the_loop(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lend(tmp_path)
    local = LocalModels(tmp_path)
    loop = asyncio.get_running_loop()
    ticks = [loop.time()]

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.01)
            ticks.append(loop.time())

    ticking = asyncio.ensure_future(tick())
    first, second = await asyncio.gather(local.ready("smollm2"), local.ready("smollm2"))
    ticking.cancel()
    assert first == second
    assert first.base_url.startswith("http://127.0.0.1:")
    gaps = [b - a for a, b in pairwise(ticks)]
    assert max(gaps) < 0.3, "loading takes a second, which the loop must not feel"
    assert await local.ready("smollm2") == first
    local._starting["smollm2"].result().process.kill()
    await local._starting["smollm2"].result().process.wait()
    assert await local.ready("smollm2") != first, "one that crashed is started again"
    await local.close()
    said = capfd.readouterr()
    assert said.err.count("loading smollm2") == 2
    assert said.out == ""


async def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lend(tmp_path)
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(LocalModelUnavailable, match=r"pip install 'turnout\[local\]'"):
        await LocalModels(tmp_path).ready("smollm2")


async def test_an_unknown_model(tmp_path: Path) -> None:
    with pytest.raises(LocalModelUnavailable, match="did you mean 'smollm2'"):
        await LocalModels(tmp_path).ready("smollm")
