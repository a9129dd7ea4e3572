"""The tier by meaning, brought about when it is first wanted.

`proxy.semantic` wants numpy and an embedder, which a gateway without it should neither need nor
load: 0.2 s and 30 MB before the model. So it is imported in a thread, the first time that a
request, a task or the configuration turns it on.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.cache.answers import Answers
from proxy.cache.counts import Counts
from proxy.config_types import SemanticSection
from proxy.tasks import end, spawn

if TYPE_CHECKING:
    from proxy.semantic.embedders.making import PostTo
    from proxy.semantic.opening import OpenTier, SharedVectors
    from proxy.semantic.tier import MeaningTier

log = logging.getLogger("turnout.cache")


class MeaningOnDemand:
    """Gives the tier, or None while it can't be had."""

    def __init__(
        self,
        section: Callable[[], SemanticSection],
        engine: Callable[[], AsyncEngine],
        answers: Answers,
        counts: Callable[[], Counts],
        post: "PostTo",
        shared: "Callable[[], SharedVectors | None]",
    ) -> None:
        self._section = section
        self._engine = engine
        self._answers = answers
        self._counts = counts
        self._post = post
        self._shared = shared
        self._open: OpenTier | None = None
        self._spec: str | None = None  # of what is open, or could not be opened
        self._opening: asyncio.Task[None] | None = None
        self._held: list[OpenTier] = []  # all that has to be given back
        self._closed = False

    def __call__(self) -> "MeaningTier | None":
        """The tier by the configuration in force; begins to open it where it is not."""
        section = self._section()
        if self._spec == section.embedder:
            return self.tier
        if not self._closed and (self._opening is None or self._opening.done()):
            self._opening = spawn(self._make(section), "open the cache by meaning")
        return None

    @property
    def tier(self) -> "MeaningTier | None":
        """The tier if it is there; asks for nothing."""
        return None if self._open is None else self._open.tier

    async def _make(self, section: SemanticSection) -> None:
        opened: OpenTier | None = None
        try:
            opened = await asyncio.to_thread(self._build, section)
        except ImportError as error:
            message = "the cache by meaning wants %s; type: pip install 'turnout[semantic]'"
            log.error(message, error.name or error)
        except ValueError as error:
            log.error("the cache by meaning is off: cache.semantic.embedder: %s", error)
        except OSError as error:
            log.error("the cache by meaning is off: %s", error)
        if opened is not None:
            self._held.append(opened)
            await opened.start()  # nobody is served before it knows what was wrong
        self._open, self._spec = opened, section.embedder
        while self._held and self._held[0] is not opened:
            await self._held[0].close()
            del self._held[0]

    def _build(self, section: SemanticSection) -> "OpenTier":
        # Late, and in a thread: an optional dependency that takes 0.2 s.
        from proxy.semantic.opening import open_tier

        return open_tier(
            section.embedder,
            section.max_entries,
            self._answers,
            self._counts(),
            self._engine(),
            self._post,
            self._shared(),
        )

    async def close(self) -> None:
        """Gives back what is open, and opens nothing any more."""
        self._closed = True
        self._open = None
        if self._opening is not None:
            await end(self._opening)
        for opened in self._held:
            await opened.close()
        self._held.clear()
