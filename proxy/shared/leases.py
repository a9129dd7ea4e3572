"""One process at a time asks a provider the same thing: leases in Redis.

A lease lapses in `LAPSE` seconds unless its holder renews it, so a holder that was killed holds
the others up no longer than that. Where Redis is away everybody leads: a provider is asked twice,
and nobody waits.
"""

import asyncio
from typing import NamedTuple

from proxy.ids import uuid7
from proxy.shared.redis import Away, Field, Link, Script
from proxy.tasks import end, spawn

PREFIX = "turnout:{cache}:l:"
LAPSE = 10.0  # seconds after the last renewal
RENEWAL = 3.0  # seconds between two
LONGEST = 900.0  # seconds that a lease is renewed at most: no request takes so long
FIRST_LOOK, LAST_LOOK = 0.005, 0.1  # seconds between looks at another's lease
BATCH = 200  # leases in one renewal
LAPSE_MS = round(LAPSE * 1000)

KEEP = Script.load("keep")
RENEW = Script.load("renew")
GIVE_BACK = Script.load("give_back")


class _Held(NamedTuple):
    token: str
    until: float  # of the loop's clock: it is not renewed after that


class SharedLeases:
    """The leases of one process, inside one event loop. Nothing of it raises.

    `failures` counts the questions that Redis left unanswered.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._held: dict[str, _Held] = {}  # by digest: what this process has, or may have
        self._renewal: asyncio.Task[None] | None = None
        self.failures = 0

    async def take(self, digest: str) -> bool:
        """Whether the caller leads: it has the lease now, or nobody can tell."""
        if digest in self._held:  # another flight of this process leads
            return False
        held = _Held(uuid7(), asyncio.get_running_loop().time() + LONGEST)
        # Noted before it is asked for: who is cancelled meanwhile, or hears nothing in time, may
        # have the lease all the same, and is to give it back.
        self._held[digest] = held
        if self._renewal is None or self._renewal.done():
            self._renewal = spawn(self._renew(), "renew the cache's leases")
        try:
            kept = await self._link.run(KEEP, [_name(digest)], [held.token, LAPSE_MS, "NX"])
        except Away:
            self.failures += 1
            return True
        if kept == 0:
            self._forget(digest, held)
        return bool(kept)

    async def landed(self, digest: str, seconds: float) -> None:
        """Returns when nobody has the lease any more, Redis is away, or `seconds` are over."""
        clock = asyncio.get_running_loop().time
        ends, pause = clock() + seconds, FIRST_LOOK
        try:
            while clock() < ends and await self._link.ask("EXISTS", _name(digest)):
                await asyncio.sleep(min(pause, ends - clock()))
                pause = min(2 * pause, LAST_LOOK)
        except Away:
            self.failures += 1

    async def give_back(self, digest: str) -> None:
        """Ends this process's lease, if it has it."""
        held = self._held.pop(digest, None)
        if held is None:
            return
        try:
            await self._link.run(GIVE_BACK, [_name(digest)], [held.token])
        except Away:  # it lapses
            self.failures += 1

    async def close(self) -> None:
        """Ends the renewal: what is held yet lapses."""
        self._held.clear()
        if self._renewal is not None:
            await end(self._renewal)

    async def _renew(self) -> None:
        """One task for all that is held; it ends when nothing is."""
        while self._held:
            await asyncio.sleep(RENEWAL)
            now = asyncio.get_running_loop().time()
            held = list(self._held.items())
            for digest, lease in held:
                if lease.until <= now:
                    self._forget(digest, lease)
            current = [(digest, lease) for digest, lease in held if lease.until > now]
            for start in range(0, len(current), BATCH):
                await self._renew_some(current[start : start + BATCH])

    async def _renew_some(self, leases: list[tuple[str, _Held]]) -> None:
        fields: list[Field] = [LAPSE_MS, *(lease.token for _, lease in leases)]
        try:
            renewed = await self._link.run(RENEW, [_name(digest) for digest, _ in leases], fields)
        except Away:  # a lease outlives two renewals that fail
            self.failures += 1
            return
        for (digest, lease), is_ours in zip(leases, renewed, strict=True):
            if not is_ours:
                self._forget(digest, lease)

    def _forget(self, digest: str, held: _Held) -> None:
        if self._held.get(digest) is held:
            del self._held[digest]


def _name(digest: str) -> str:
    return PREFIX + digest
