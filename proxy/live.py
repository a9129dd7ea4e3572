"""The configuration in force, and its reload when the file changes.

A request keeps the snapshot that it began with. A file that does not load is reported, in the
log and in `GET /health`, and the old configuration stays. What is in force is the file's
configuration and what was made through the API beside it: `rebuild` takes that over.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import watchfiles

from proxy.config import Config, ConfigError
from proxy.pipeline import Snapshot

log = logging.getLogger("turnout.config")

DEBOUNCE = 500  # milliseconds in which several changes of a file count as one
STEP = 200  # milliseconds between looks; each look takes the interpreter lock for a moment

Load = Callable[[], Config]
Build = Callable[[Config], Snapshot]
"""The file's configuration -> what serves; its `config` may have more in it than the file."""


class Live:
    """Holds the snapshot in force; swapped whole, never changed."""

    def __init__(self, load: Load, build: Build) -> None:
        self._load = load
        self._build = build
        self._file: Config | None = None
        self._snapshot: Snapshot | None = None
        self.loaded_at = 0.0
        self.error: str | None = None

    @property
    def is_on(self) -> bool:
        """Whether a configuration is in force yet."""
        return self._snapshot is not None

    @property
    def current(self) -> Snapshot:
        assert self._snapshot is not None, "the gateway has not started"
        return self._snapshot

    @property
    def file(self) -> Config:
        """What the file says, of the configuration in force."""
        assert self._file is not None, "the gateway has not started"
        return self._file

    def put(self, config: Config) -> None:
        """Makes a file's configuration the one in force."""
        self._snapshot = self._build(config)
        self._file = config
        self.loaded_at = time.time()
        self.error = None

    def rebuild(self) -> None:
        """Takes over what has changed beside the file. What can't be built changes nothing."""
        if self._file is None:
            return
        try:
            self._snapshot = self._build(self._file)
        except (ConfigError, ValueError) as error:
            log.error("what was made through the API is not in force: %s", type(error).__name__)

    def reload(self) -> None:
        """Reads the file again; what does not load changes nothing but `error`."""
        try:
            config = self._load()
        except ConfigError as error:
            self.error = str(error)
            for line in self.error.splitlines():
                log.error("the configuration was not reloaded, the old one stays: %s", line)
            return
        except OSError as error:
            self.error = f"cannot read the configuration: {error.strerror}"
            log.error("the configuration was not reloaded: %s", self.error)
            return
        before = self.file
        if config.version == before.version and self.error is None:
            return
        self.put(config)
        log.info("configuration %s is in force", config.version)
        for note in config.notes:
            log.info("%s", note)
        if (before.server, before.storage) != (config.server, config.storage):
            log.warning("a change of server or storage takes a restart")

    async def watch(self, path: Path) -> None:
        """Reloads whenever the file, or the `.env` beside it, is saved; ends by cancellation.

        The folder is watched and not the file: editors save by putting a new file in its place,
        and Kubernetes a ConfigMap's by turning the link `..data` of the folder to another.
        """
        names = {path.name, ".env", "..data"}
        changes = watchfiles.awatch(
            path.parent,
            watch_filter=lambda _, changed: Path(changed).name in names,
            recursive=False,
            debounce=DEBOUNCE,
            step=STEP,
        )
        async for _ in changes:
            self.reload()
