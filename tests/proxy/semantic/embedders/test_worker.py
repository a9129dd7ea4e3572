"""A model's thread: who waits gets their own answer, in time or not at all, and nobody blocks."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from proxy.semantic.embedders.worker import BATCH, WAITING, Outcome, Worker, missing
from proxy.semantic.meaning import EmbedderUnavailable, Meaning


class FakeModel:
    """Means by a text its number. Stands still while `gate` is down."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.batches: list[list[str]] = []
        self.loads = 0
        self.threads: set[str] = set()
        self.error: Exception | None = None

    def load(self) -> "FakeModel":
        self.loads += 1
        self.threads.add(threading.current_thread().name)
        if self.error is not None:
            raise self.error
        return self

    def __call__(self, texts: Sequence[str]) -> list[Outcome]:
        self.threads.add(threading.current_thread().name)
        self.batches.append(list(texts))
        self.begun.set()
        assert self.gate.wait(10)
        return [f"{text} is bad" if text.startswith("bad") else number(text) for text in texts]


def number(text: str) -> Meaning:
    if text == "lost":
        raise KeyError(text)
    return Meaning(np.array([float(text)], np.float32))


def numbers(meanings: list[Meaning]) -> list[float]:
    return [float(meaning.vector[0]) for meaning in meanings]


@pytest.fixture
def model() -> Iterator[FakeModel]:
    fake = FakeModel()
    yield fake
    fake.gate.set()


async def held(model: FakeModel, worker: Worker) -> "asyncio.Task[list[Meaning]]":
    """Someone whose batch is under way, and stays so while the gate is down."""
    model.gate.clear()
    task = asyncio.create_task(worker.ask(["0"], 10))
    await asyncio.to_thread(model.begun.wait, 10)
    return task


async def test_who_ask_together_get_their_own(model: FakeModel) -> None:
    worker = Worker(model.load, "fake")
    asked = [[str(asker * 10 + text) for text in range(asker % 4 + 1)] for asker in range(60)]
    answers = await asyncio.gather(*(worker.ask(texts, 10) for texts in asked))
    assert [numbers(answer) for answer in answers] == [list(map(float, texts)) for texts in asked]
    assert model.loads == 1
    assert model.threads == {"fake_0"}
    assert max(map(len, model.batches)) == 16
    await worker.close()


async def test_nothing_is_loaded_for_nothing(model: FakeModel) -> None:
    worker = Worker(model.load, "fake")
    assert await worker.ask([], 10) == []
    assert model.loads == 0
    await worker.close()


async def test_what_waits_is_batched_in_its_order(model: FakeModel) -> None:
    worker = Worker(model.load, "fake")
    first = await held(model, worker)
    others = [asyncio.create_task(worker.ask([str(n)], 10)) for n in range(1, 41)]
    await asyncio.sleep(0)
    model.gate.set()
    await asyncio.gather(first, *others)
    assert [len(batch) for batch in model.batches] == [1, 16, 16, 8]
    asked = [text for batch in model.batches for text in batch]
    assert asked == [str(n) for n in range(41)]
    await worker.close()


async def test_long_texts_go_nearly_alone(model: FakeModel) -> None:
    worker = Worker(model.load, "fake")
    first = await held(model, worker)
    sizes = [600, 600, 1, 1200, 2000, 3, 4, 590, 604]
    others = [asyncio.create_task(worker.ask(["1".zfill(size)], 10)) for size in sizes]
    await asyncio.sleep(0)
    model.gate.set()
    await asyncio.gather(first, *others)
    batches = [[len(text) for text in batch] for batch in model.batches]
    assert batches == [[1], [600, 600], [1], [1200], [2000], [3, 4, 590], [604]]
    await worker.close()


class Printed:
    """Notes that it was printed. A vector of 384 numbers takes 1.6 ms of the event loop for it."""

    def __init__(self) -> None:
        self.times = 0

    def __repr__(self) -> str:
        self.times += 1
        return "a vector"


async def test_what_a_text_means_is_never_printed() -> None:
    vector: Any = Printed()
    worker = Worker(lambda: lambda texts: [Meaning(vector) for _ in texts], "fake")
    assert len(await worker.ask(["1", "2"], 10)) == 2
    await worker.close()
    assert vector.times == 0


async def test_one_too_many_is_refused_and_the_others_are_not(model: FakeModel) -> None:
    assert (WAITING, BATCH) == (256, 16)
    worker = Worker(model.load, "fake")
    first = await held(model, worker)  # under way: it does not wait
    many = asyncio.create_task(worker.ask([str(n) for n in range(255)], 10))
    await asyncio.sleep(0)
    with pytest.raises(EmbedderUnavailable, match="too busy: 257 texts would wait, 256 may"):
        await worker.ask(["1", "2"], 10)
    last = asyncio.create_task(worker.ask(["7"], 10))
    await asyncio.sleep(0)
    model.gate.set()
    assert numbers(await many) == list(map(float, range(255)))
    assert numbers(await last) == [7.0]
    await first
    await worker.close()


async def test_who_waits_too_long_is_told_and_leaves_the_queue(model: FakeModel) -> None:
    worker = Worker(model.load, "fake")
    first = await held(model, worker)
    with pytest.raises(EmbedderUnavailable, match=r"^no answer within 0.05 s$"):
        await worker.ask(["1"], 0.05)
    model.gate.set()
    assert numbers(await first) == [0.0]
    assert numbers(await worker.ask(["2"], 10)) == [2.0]
    assert model.batches == [["0"], ["2"]]
    await worker.close()


async def test_a_batch_that_takes_too_long_is_waited_for_by_nobody(model: FakeModel) -> None:
    worker = Worker(model.load, "fake")
    model.gate.clear()
    with pytest.raises(EmbedderUnavailable, match="no answer within"):
        await worker.ask(["1"], 0.05)
    model.gate.set()
    assert numbers(await worker.ask(["2"], 10)) == [2.0]
    await worker.close()


async def test_who_leaves_takes_nothing_from_others(model: FakeModel) -> None:
    worker = Worker(model.load, "fake")
    under_way = await held(model, worker)
    waiting = [asyncio.create_task(worker.ask([str(n)], 10)) for n in range(1, 5)]
    await asyncio.sleep(0)
    for left in (under_way, waiting[1]):
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
    model.gate.set()
    stayed = await asyncio.gather(waiting[0], *waiting[2:])
    assert [numbers(answer) for answer in stayed] == [[1.0], [3.0], [4.0]]
    assert model.batches == [["0"], ["1", "3", "4"]]
    await worker.close()


async def test_a_text_that_is_refused_harms_no_other(model: FakeModel) -> None:
    worker = Worker(model.load, "fake")
    first = await held(model, worker)
    bad = asyncio.create_task(worker.ask(["1", "bad"], 10))
    good = asyncio.create_task(worker.ask(["2", "3"], 10))
    await asyncio.sleep(0)
    model.gate.set()
    with pytest.raises(EmbedderUnavailable, match=r"^bad is bad$"):
        await bad
    assert numbers(await good) == [2.0, 3.0]
    assert model.batches == [["0"], ["1", "bad", "2", "3"]]
    await first
    await worker.close()


async def test_a_model_that_fails_is_told_without_the_text(model: FakeModel) -> None:
    worker = Worker(model.load, "fake")
    with pytest.raises(EmbedderUnavailable, match=r"^the model failed: KeyError$"):
        await worker.ask(["lost"], 10)
    assert numbers(await worker.ask(["1"], 10)) == [1.0]
    await worker.close()


async def test_a_model_that_loses_a_text_gives_nobody_another_s() -> None:
    worker = Worker(lambda: lambda texts: [number(text) for text in texts[1:]], "fake")
    with pytest.raises(EmbedderUnavailable, match="the model lost a text"):
        await worker.ask(["1", "2"], 10)
    await worker.close()


async def test_a_model_that_can_t_be_loaded_is_tried_again_after_a_minute(
    model: FakeModel,
) -> None:
    now = 1000.0
    worker = Worker(model.load, "fake", clock=lambda: now)
    model.error = OSError("the disk is gone")
    for _ in range(3):
        with pytest.raises(EmbedderUnavailable, match="can't be loaded: the disk is gone"):
            await worker.ask(["1"], 10)
    assert model.loads == 1
    now, model.error = 1060.0, missing("semantic")
    for _ in range(2):
        with pytest.raises(EmbedderUnavailable, match=r"type: pip install 'turnout\[semantic\]'$"):
            await worker.ask(["1"], 10)
    assert model.loads == 2
    now, model.error = 1120.0, None
    assert numbers(await worker.ask(["1"], 10)) == [1.0]
    assert model.loads == 3
    await worker.close()


async def test_close_tells_who_waits_and_ends_the_thread(model: FakeModel) -> None:
    worker = Worker(model.load, "ending")
    under_way = await held(model, worker)
    waiting = asyncio.create_task(worker.ask(["1"], 10))
    await asyncio.sleep(0)
    closing = asyncio.create_task(worker.close())
    with pytest.raises(EmbedderUnavailable, match="it is closed"):
        await waiting
    assert "ending_0" in {thread.name for thread in threading.enumerate()}
    model.gate.set()
    assert numbers(await under_way) == [0.0]
    await closing
    assert "ending_0" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(EmbedderUnavailable, match="it is closed"):
        await worker.ask(["2"], 10)
    await worker.close()
    assert model.batches == [["0"]]


async def test_close_passes_over_who_is_just_leaving(model: FakeModel) -> None:
    worker = Worker(model.load, "fake")
    first = await held(model, worker)
    leaving = asyncio.create_task(worker.ask(["1"], 10))
    await asyncio.sleep(0)
    leaving.cancel()  # it has not run since
    closing = asyncio.create_task(worker.close())
    model.gate.set()
    await asyncio.gather(first, closing)
    assert leaving.cancelled()


async def test_one_that_was_never_asked_closes() -> None:
    await Worker(FakeModel().load, "idle").close()
