"""The two that are always measured: the forwarder and Turnout."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from process import HERE, Command, Cores, NotStarted, Process, ask, clean_env, free_port, piece

CONFIG = """\
server: {{host: 127.0.0.1, port: {port}}}
providers:
  up: {{dialect: openai, base_url: "http://127.0.0.1:{upstream}/v1", api_key: bench}}
models:
  bench: [up/gpt-4o-mini, up/gpt-4o]
"""
TRANSLATED = """\
server: {{host: 127.0.0.1, port: {port}}}
providers:
  up: {{dialect: anthropic, base_url: "http://127.0.0.1:{upstream}/v1", api_key: bench}}
models:
  bench: [up/claude-sonnet-4-5]
"""
FIRST_TARGET = "gpt-4o-mini"
QUESTION = b'{"model":"bench","messages":[{"role":"user","content":"hello"}]}'


@dataclass(frozen=True)
class Place:
    """Where a run happens: its folder, its upstream, its cores, how many starts to time."""

    folder: Path
    upstream: int
    cores: Cores
    starts: int


@dataclass
class Server:
    """A running server under test, and how to talk to it."""

    name: str
    process: Process
    model: str = "bench"
    path: str = "/v1/chat/completions"
    headers: Sequence[str] = ()
    first_starts: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)


def start_repeatedly(command: Command, times: int) -> tuple[Process, list[float]]:
    """Starts the command `times` times over; the last one stays."""
    seconds = []
    for _ in range(times - 1):
        with Process(command) as process:
            seconds.append(process.start_seconds)
    process = Process(command)
    return process, [*seconds, process.start_seconds]


def start_forwarder(place: Place) -> Server:
    """The floor."""
    port = free_port()
    upstream = f"http://127.0.0.1:{place.upstream}"
    command = Command(
        name="forwarder",
        argv=piece("forwarder", "--port", str(port), "--upstream", upstream),
        env=clean_env(place.folder),
        port=port,
        health="/health/live",
        folder=place.folder,
        cores=place.cores.server,
    )
    process, starts = start_repeatedly(command, place.starts)
    return Server("forwarder", process, starts=starts)


class Turnout:
    """Turnout with a config, a home and a key of its own."""

    def __init__(self, place: Place, name: str = "turnout", config: str = CONFIG) -> None:
        self.place = place
        self.name = name
        self.port = free_port()
        self.config = place.folder / f"{name}.yaml"
        self.text = config.format(port=self.port, upstream=place.upstream)
        self.config.write_text(self.text)
        self.root = find_root()
        self.env = self._env(place.folder / f"home-{name}")

    def _env(self, home: Path) -> dict[str, str]:
        home.mkdir(parents=True, exist_ok=True)
        return clean_env(
            self.place.folder, {"TURNOUT_HOME": str(home), "PYTHONPATH": str(self.root)}
        )

    def start(self) -> Server:
        """Times starts with a fresh home and with one that was used before; the last one stays."""
        firsts = []
        for _ in range(self.place.starts):
            home = Path(tempfile.mkdtemp(prefix="fresh-", dir=self.place.folder))
            with Process(self._command(self._env(home))) as process:
                firsts.append(process.start_seconds)
        key = self._create_key()
        process, starts = start_repeatedly(self._command(self.env), self.place.starts)
        headers = [f"authorization: Bearer {key}"]
        return Server(
            self.name, process, "bench", headers=headers, first_starts=firsts, starts=starts
        )

    def _command(self, env: Mapping[str, str]) -> Command:
        arguments = ["serve", "--config", str(self.config), "--port", str(self.port)]
        return Command(
            name=self.name,
            argv=[sys.executable, "-m", "proxy", *arguments],
            env=env,
            port=self.port,
            health="/health/live",
            folder=self.place.folder,
            cores=self.place.cores.server,
        )

    def _create_key(self) -> str:
        made = json.loads(self.call("keys", "create", "--name", "bench", "--json"))
        return str(made["key"])

    def call(self, *arguments: str) -> str:
        """Runs a command of Turnout's command line and returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "proxy", *arguments, "--config", str(self.config)],
            env=self.env,
            cwd=self.place.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            said = "\n".join(f"  | {line}" for line in done.stderr.splitlines()[-20:])
            raise NotStarted(f"turnout {' '.join(arguments)} ended with {done.returncode}\n{said}")
        return done.stdout

    def refuses_strangers(self) -> bool:
        """Whether auth is really on: a call without a key must get a 401."""
        headers = {"content-type": "application/json"}
        return ask(self.port, "POST", "/v1/chat/completions", QUESTION, headers)[0] == 401

    def await_ledger(self, sent: int) -> int:
        """How many requests the ledger knows; waits a little for the last ones."""
        for _ in range(10):
            recorded = count_requests(self.call("usage", "--format", "json"))
            if recorded >= sent:
                break
            time.sleep(1)
        return recorded


def count_requests(report: str) -> int:
    """The requests of `turnout usage --format json`: a list of groups, each with its count."""
    return sum(int(group["requests"]) for group in json.loads(report))


def find_root() -> Path:
    """The folder from which `python -m proxy` runs: the checkout's, or site-packages."""
    root = HERE.parent.parent if HERE.name == "_benchmarks" else HERE.parent
    if not (root / "proxy" / "__main__.py").is_file():
        raise NotStarted("no package `proxy` beside the benchmark")
    return root
