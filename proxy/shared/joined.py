"""One process among those that share a Redis: its link, its counts, its board.

`proxy.app` loads this package only where a Redis is configured: redis-py takes 0.11 s and 6 MB to
import, of the one second and 100 MB that a server has in all.
"""

from collections.abc import Callable
from contextlib import AsyncExitStack

from proxy.counters import Counters
from proxy.shared.answers import SharedAnswers
from proxy.shared.board import Adopt, Board
from proxy.shared.counters import SharedCounters
from proxy.shared.leases import SharedLeases
from proxy.shared.redis import BOUND, Link
from proxy.tasks import end, spawn


class Joined:
    """Made before the event loop runs; `listen` inside it."""

    def __init__(self, url: str, local: Counters, shares: int, bound: float = BOUND) -> None:
        self._link = Link(url, bound)
        self.counters = SharedCounters(self._link, local, shares)
        # The cache has a link of its own: large answers, or a Redis too full to keep any, are no
        # reason to count limits alone.
        self.cache_link = Link(url, bound)
        self.answers = SharedAnswers(self.cache_link)
        self.leases = SharedLeases(self.cache_link)

    def listen(self, stack: AsyncExitStack, adopt: Adopt, revoked: Callable[[str], None]) -> Board:
        """Hears of the others until the stack ends; the board tells them."""
        stack.push_async_callback(self._link.close)
        stack.push_async_callback(self.cache_link.close)
        stack.push_async_callback(self.leases.close)
        stack.push_async_callback(self.counters.close)
        board = Board(self._link, adopt, revoked)
        stack.push_async_callback(board.close)
        listening = spawn(board.run(), "hear of other processes")
        stack.push_async_callback(end, listening)
        return board

    def on_back(self, call: Callable[[], object]) -> None:
        """`call` is called whenever Redis has come back: it may have been emptied."""
        self._link.on_back(lambda: _called(call))


def _called(call: Callable[[], object]) -> None:
    call()
