"""What the gateway has seen of its targets so far: turns taken and latencies."""

import time
from collections import defaultdict

SMOOTHING = 0.3  # weight of the newest sample
STALE_AFTER = 120.0  # seconds after which a latency counts as unknown, so that it is tried again


class Signals:
    """Per process; see `proxy.routing.Signals` for who reads it."""

    def __init__(self) -> None:
        self._turns: defaultdict[str, int] = defaultdict(int)
        self._latencies: dict[str, tuple[float, float]] = {}  # target -> (seconds, seen at)

    def turn(self, name: str) -> int:
        """The number of times that this was asked for `name` before."""
        turn = self._turns[name]
        self._turns[name] = turn + 1
        return turn

    def latency(self, target: str) -> float | None:
        """Smoothed seconds to the first token; None when not known or stale."""
        seconds, seen = self._latencies.get(target, (0.0, float("-inf")))
        return seconds if time.monotonic() - seen < STALE_AFTER else None

    def note_latency(self, target: str, seconds: float) -> None:
        """Takes one sample."""
        now = time.monotonic()
        known = self._latencies.get(target)
        if known is not None and now - known[1] < STALE_AFTER:
            seconds = known[0] + SMOOTHING * (seconds - known[0])
        self._latencies[target] = (seconds, now)
