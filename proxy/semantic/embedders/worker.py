"""One thread in which a model is loaded at its first use, and asked a batch at a time.

The event loop only queues texts and hands out what came of them. One batch is under way at a
time; texts that come meanwhile wait, and the next batch is made of them.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from proxy.semantic.meaning import EmbedderUnavailable, Meaning

WAITING = 256  # texts that may wait at once
BATCH = 16  # texts that are handed to the thread at once, if they are short
CHARACTERS = 1200  # of the texts handed over at once: who is first is not to wait for long ones
RETRY = 60.0  # seconds after which a model that could not be loaded is tried again

Outcome = Meaning | str
"""What a text means, or why nobody knows."""

Model = Callable[[Sequence[str]], Sequence[Outcome]]
"""A loaded model, called in the thread alone: an outcome for each text, in their order."""


def missing(extra: str) -> EmbedderUnavailable:
    """What to say when the libraries of `extra` are not installed."""
    return EmbedderUnavailable(f"it needs an extra; type: pip install 'turnout[{extra}]'")


@dataclass(slots=True, eq=False, repr=False)
class _Item:
    text: str
    outcome: asyncio.Future[Outcome]


class Worker:
    """Owner of the thread. Used from one event loop.

    `load` runs in the thread; it raises `EmbedderUnavailable` with what to do, and then is not
    called again for `RETRY` seconds.
    """

    def __init__(
        self, load: Callable[[], Model], name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._load = load
        self._clock = clock
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting: OrderedDict[_Item, None] = OrderedDict()  # in the order they came
        self._running: asyncio.Future[list[Outcome]] | None = None
        self._closed = False
        # These two are the thread's own.
        self._model: Model | None = None
        self._broken: tuple[float, str] | None = None  # when, and why

    async def ask(self, texts: Sequence[str], seconds: float) -> list[Meaning]:
        """The meanings of `texts`, in their order, within `seconds`.

        Raises `EmbedderUnavailable`, also when more than `WAITING` texts would wait. A caller
        that leaves takes its texts out of the queue.
        """
        if self._closed:
            raise EmbedderUnavailable("it is closed")
        waiting = len(self._waiting) + len(texts)
        if waiting > WAITING:
            raise EmbedderUnavailable(f"too busy: {waiting} texts would wait, {WAITING} may")
        loop = asyncio.get_running_loop()
        items = [_Item(text, loop.create_future()) for text in texts]
        self._waiting.update(dict.fromkeys(items))
        self._turn()
        try:
            async with asyncio.timeout(seconds):
                return [_meaning(await item.outcome) for item in items]
        except TimeoutError:
            raise EmbedderUnavailable(f"no answer within {seconds:g} s") from None
        finally:
            self._forget(items)

    async def close(self) -> None:
        """Ends the thread, after the batch that it is at. Who waits is told at once."""
        self._closed = True
        for item in self._waiting:
            _tell(item, "it is closed")
        self._waiting.clear()
        shutdown = partial(self._executor.shutdown, wait=True, cancel_futures=True)
        await asyncio.to_thread(shutdown)
        self._model = None

    def _turn(self) -> None:
        """Hands the thread its next batch, if it is free and someone waits."""
        if self._running is not None or not self._waiting:
            return
        batch = self._next()
        texts = [item.text for item in batch]
        loop = asyncio.get_running_loop()
        self._running = loop.run_in_executor(self._executor, self._work, texts)
        self._running.add_done_callback(partial(self._give, batch))

    def _next(self) -> list[_Item]:
        """Takes the next batch out of the queue: one text at least."""
        batch: list[_Item] = []
        characters = 0
        for item in self._waiting:
            characters += len(item.text)
            if batch and (len(batch) == BATCH or characters > CHARACTERS):
                break
            batch.append(item)
        for item in batch:
            del self._waiting[item]
        return batch

    def _give(self, batch: list[_Item], ended: "asyncio.Future[list[Outcome]]") -> None:
        self._running = None
        outcomes = ["it is closed"] * len(batch) if ended.cancelled() else ended.result()
        for item, outcome in zip(batch, outcomes, strict=True):
            _tell(item, outcome)
        self._turn()

    def _forget(self, items: list[_Item]) -> None:
        for item in items:
            item.outcome.cancel()
            self._waiting.pop(item, None)

    def _work(self, texts: list[str]) -> list[Outcome]:
        """In the thread: one outcome a text, whatever happens."""
        try:
            outcomes = list(self._loaded()(texts))
            if len(outcomes) == len(texts):
                return outcomes
            why = "the model lost a text"
        except EmbedderUnavailable as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001  (a model's library raises what it likes)
            why = f"the model failed: {type(error).__name__}"
        return [why] * len(texts)

    def _loaded(self) -> Model:
        if self._model is not None:
            return self._model
        if self._broken is not None and self._clock() < self._broken[0] + RETRY:
            raise EmbedderUnavailable(self._broken[1])
        try:
            self._model = self._load()
        except EmbedderUnavailable as error:
            self._broken = (self._clock(), str(error))
            raise
        except Exception as error:  # loading reads no prompt: what it says may be told
            self._broken = (self._clock(), f"the model can't be loaded: {error}")
            raise EmbedderUnavailable(self._broken[1]) from error
        return self._model


def _tell(item: _Item, outcome: Outcome) -> None:
    if not item.outcome.done():  # who asked may have left
        item.outcome.set_result(outcome)


def _meaning(outcome: Outcome) -> Meaning:
    if isinstance(outcome, str):
        raise EmbedderUnavailable(outcome)
    return outcome
