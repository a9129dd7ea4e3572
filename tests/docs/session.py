"""A page read by a newcomer: its blocks done one after another in one folder and one shell."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests import local_model
from tests.docs import packages
from tests.docs.blocks import ROOT, Block
from tests.docs.stage import Served, Stage, serve

PATIENCE = 60  # seconds that a block may take
NEAR = 8  # lines within which an output stands below the block that prints it
HERE = re.compile(r"http://(?:127\.0\.0\.1|localhost):8000")
SECRET = "sk-turnout-…"
SERVE = re.compile(r"^turnout serve(?P<options>[^#\n]*)(?:#.*)?$", re.MULTILINE)

TURNOUT = f"""#!/bin/sh
if [ "$1" = cache ]; then set -- "$@" --url "$URL"; fi
exec {shlex.quote(sys.executable)} -m proxy "$@"
"""
PIP = """#!/bin/sh
printf '%s\\n' "$@" >> "$HOME/pip"
"""  # what is installed is noted: the tests' own environment has it
CURL = "silent\nshow-error\nfail-with-body\nmax-time = 50\n"

STATE = 'trap \'{ export -p; declare -f; echo "cd \\"$PWD\\""; } > "$HOME/state"\' EXIT\n'
PRELUDE = 'set -euo pipefail\n[ ! -f "$HOME/state" ] || . "$HOME/state"\n' + STATE


class Done(NamedTuple):
    """A block that was run. `out` is its standard output."""

    block: Block
    out: str


class Fault(AssertionError):
    """A block that does not do what its page says."""


class Session:
    """One page's blocks, in order. What a block saves, exports or serves is there for the next."""

    def __init__(self, stage: Stage, folder: Path, substitutes: Mapping[str, str]) -> None:
        self.stage = stage
        self.folder = folder
        self.served: Served | None = None
        self.done: list[Done] = []
        self._substitutes = substitutes
        self._environ = stage.environ | {"URL": stage.url}
        self._home = folder / "shell"
        self._home.mkdir(parents=True)
        (self._home / ".curlrc").write_text(CURL)
        self._bin = self._home / "bin"
        self._bin.mkdir()
        (folder / "examples").symlink_to(ROOT / "examples")
        for name, text in (("turnout", TURNOUT), ("pip", PIP)):
            (self._bin / name).write_text(text)
            (self._bin / name).chmod(0o755)
        self._environ |= {"HOME": str(self._home), "LLM_USER_PATH": str(self._home / "llm")}
        beside = Path(sys.executable).parent
        self._environ["PATH"] = f"{self._bin}:{beside}:{os.environ['PATH']}"

    def end(self) -> None:
        if self.served is not None:
            self.served.end()

    @property
    def installed(self) -> list[str]:
        """What the page has had pip install."""
        noted = self._home / "pip"
        words = noted.read_text().split("\n") if noted.exists() else []
        return [word for word in words if word and word != "install" and not word.startswith("-")]

    @property
    def url(self) -> str:
        """The gateway that the page talks to: the stage's, or the one that the page started."""
        return self.served.url if self.served else self.stage.url

    def save(self, name: str, text: str) -> None:
        """A file that a reader is told to save."""
        (self.folder / name).write_text(self.rewritten(text))

    def rewritten(self, text: str) -> str:
        """A block with the test's own address, key and names in the place of the page's."""
        for old, new in self._substitutes.items():
            text = text.replace(old, new)
        return HERE.sub(self.url, text).replace(SECRET, self._environ["OPENAI_API_KEY"])

    def shell(self, block: Block) -> None:
        """Runs it; what serves for ever is started and left to run."""
        text = self.rewritten(block.text)
        serving = SERVE.search(text)
        if serving is not None:
            self._run(block, text[: serving.start()] + text[serving.end() :])
            self._start(serving["options"])
            return
        self._run(block, text)

    def _run(self, block: Block, text: str) -> None:
        if "llm " in text:
            found = packages.python_environments()["docs-pydantic-ai-2.68.0"]
            self._link("llm", found / "llm")
        self._record(block, ["bash", "-c", PRELUDE + text])

    def _start(self, options: str) -> None:
        """Starts a gateway of the page's own, with what the page has exported."""
        self.end()
        state = self._home / "state"
        command = ["bash", "-c", f'. "{state}"; env -0']
        shown = subprocess.run(
            command, env=self._environ, capture_output=True, text=True, check=True
        )
        environ = dict(line.partition("=")[::2] for line in shown.stdout.split("\0") if line)
        local_model.lend(Path(environ["TURNOUT_HOME"]))
        self.served = serve(self.folder, environ, *shlex.split(options))
        key = self.served.first_key or self._environ["OPENAI_API_KEY"]
        named = {"URL": self.url, "OPENAI_BASE_URL": self.url + "/v1", "OPENAI_API_KEY": key}
        self._environ |= named
        with state.open("a") as file:
            file.writelines(f"export {name}={value}\n" for name, value in named.items())

    def _link(self, name: str, target: Path) -> None:
        if not (self._bin / name).exists():
            (self._bin / name).symlink_to(target)

    def own(self) -> None:
        """For a page that starts a gateway: nothing of the stage's is left to see."""
        del self._environ["TURNOUT_CONFIG"]
        self._environ["TURNOUT_HOME"] = str(self.folder / "home")

    def python(self, block: Block, after: str = "", named: Mapping[str, str] = {}) -> None:
        """Runs it as a script, with `after` behind it, by the Python that has its packages;
        `named` is in its environment."""
        text = self.rewritten(block.text) + after
        runs = sys.executable
        for module, environment in packages.OWNERS.items():
            if re.search(rf"^\s*(?:from|import) {module}\b", text, re.MULTILINE):
                runs = str(packages.python_environments()[environment] / "python")
        script = self.folder / f"block_{block.line}.py"
        script.write_text(text)
        self._record(block, [runs, str(script)], named)

    def javascript(self, block: Block, before: str = "") -> None:
        """Runs it as a module of Node; TypeScript without its types."""
        modules = packages.node_modules()
        link = self.folder / "node_modules"
        if not link.exists():
            link.symlink_to(modules)
        text = before + self.rewritten(block.text)
        if block.language in {"ts", "typescript"}:
            text = self._transpiled(text)
        script = self.folder / f"block_{block.line}.mjs"
        script.write_text(text)
        self._record(block, ["node", str(script)])

    def _transpiled(self, text: str) -> str:
        program = (
            "const ts = require('typescript');"
            "const out = ts.transpileModule(require('fs').readFileSync(0, 'utf8'),"
            "{reportDiagnostics: true, compilerOptions: {module: 'esnext', target: 'es2022'}});"
            "if (out.diagnostics.length) throw new Error(JSON.stringify(out.diagnostics));"
            "process.stdout.write(out.outputText)"
        )
        ran = subprocess.run(
            ["node", "-e", program], input=text, cwd=self.folder, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def _record(self, block: Block, command: list[str], named: Mapping[str, str] = {}) -> None:
        try:
            ran = subprocess.run(
                command,
                cwd=self.folder,
                env=self._environ | dict(named),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired as error:
            raise Fault(f"{block.place}: still runs after {PATIENCE} s: {error.stdout!r}") from None
        if ran.returncode:
            said = f"{ran.stdout[-1500:]}\n{ran.stderr[-1500:]}"
            raise Fault(f"{block.place}: exit code {ran.returncode}\n{said}")
        self.done.append(Done(block, ran.stdout))

    def shown_by(self, block: Block) -> str | None:
        """What the block just above has printed, if this one stands there to show it."""
        if not self.done:
            return None
        last = self.done[-1]
        return last.out if last.block.end < block.line <= last.block.end + NEAR else None


def same_shape(shown: object, live: object, path: str = "") -> list[str]:
    """How an answer that is shown differs from one that was given: in its fields, their types, and
    their order in lists. A field `…` stands for any others."""
    if isinstance(shown, dict):
        if not isinstance(live, dict):
            return [f"{path or '.'}: an object is shown, {type(live).__name__} was given"]
        faults = [f"{path}.{name}: is not given" for name in shown if name not in {*live, "…"}]
        if "…" not in shown:
            faults += [f"{path}.{name}: is not shown" for name in live if name not in shown]
        for name in shown.keys() & live.keys():
            faults += same_shape(shown[name], live[name], f"{path}.{name}")
        return faults
    if isinstance(shown, list):
        if not isinstance(live, list) or len(live) < len(shown):
            return [f"{path}: {len(shown)} are shown, given were {json.dumps(live)[:200]}"]
        pairs = enumerate(zip(shown, live, strict=False))
        return [fault for i, (a, b) in pairs for fault in same_shape(a, b, f"{path}[{i}]")]
    if kind_of(shown) != kind_of(live):
        return [f"{path}: {shown!r} is shown, {live!r} was given"]
    return []


def kind_of(value: object) -> str:
    """JSON's kind of a value."""
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | float) else type(value).__name__


def unshown(text: str, out: str) -> list[str]:
    """Lines of an output that is shown and that were not printed; `…` stands for anything."""
    printed = [line.strip() for line in out.splitlines()]
    missing = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        pattern = ".*".join(map(re.escape, line.split("…")))
        if not any(re.fullmatch(pattern, each) for each in printed):
            missing.append(line)
    return missing
