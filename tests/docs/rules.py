"""What is done with a block of each language. Each rule raises `Fault`, with its place."""

import json
import re
import sqlite3
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from proxy.config import Config, ConfigError, load
from proxy.presets import PRESETS
from tests.docs.blocks import ROOT, Block
from tests.docs.session import Fault, Session, same_shape, unshown

FOREIGN = {
    "scrape_configs": "Prometheus",
    "groups": "Prometheus",
    "model_list": "LiteLLM",
    "services": "Docker Compose",
    "apiVersion": "Kubernetes",
    "receivers": "OpenTelemetry Collector",
    "image": "Helm values",
}
"""A key at the top that no configuration of ours has -> whose file it is: such are only parsed."""

SECRET = re.compile(r"\$\{(\w+)(?::-[^}]*)?\}")
REQUEST = re.compile(r"^(GET|POST|PUT|PATCH|DELETE) (/\S*)[ \t]*", re.MULTILINE)
HEADER = re.compile(r"^([\w-]+): ", re.MULTILINE)
PARTITIONS = re.compile(r"\nPARTITION BY .*", re.DOTALL)  # what only BigQuery has


def check_yaml(block: Block, folder: Path) -> str:
    """A configuration, whole or in part, loads; another program's file is YAML."""
    data = yaml.safe_load(block.text)
    if not isinstance(data, dict):
        raise Fault(f"{block.place}: {type(data).__name__} is no configuration")
    foreign = [FOREIGN[name] for name in data if name in FOREIGN]
    if foreign and not set(data) <= set(Config.model_fields):
        return f"parsed: {foreign[0]}"
    providers = data["providers"] = data.get("providers") or {}
    for name in sorted(targets_of(data)):
        if name not in providers:
            providers[name] = {"dialect": "openai", "base_url": "http://127.0.0.1:9/v1"}
    if not providers:
        del data["providers"]
    path = folder / "part.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    variables = set(SECRET.findall(block.text)) | {v for p in PRESETS.values() for v in p.keys}
    try:
        config = load(path, {name: _value_of(name) for name in variables})
    except ConfigError as error:
        raise Fault(f"{block.place}: does not load\n{error}") from None
    off = {name: config.providers[name].off for name in providers if config.providers[name].off}
    if off:
        raise Fault(f"{block.place}: {off}")
    return "loaded"


def _value_of(variable: str) -> str:
    is_url = any(word in variable for word in ("URL", "WEBHOOK", "ENDPOINT"))
    return "https://example.com/v1" if is_url else f"value-of-{variable.lower()}-long-enough"


def targets_of(data: Mapping[str, Any]) -> set[str]:
    """The providers that models and tasks lead to."""
    routes = [*(data.get("models") or {}).values(), *(data.get("tasks") or {}).values()]
    return {target.partition("/")[0] for route in routes for target in _targets(route)}


def _targets(route: Any) -> Iterator[str]:
    if isinstance(route, str):
        yield route
    elif isinstance(route, list):
        for each in route:
            yield from _targets(each)
    elif isinstance(route, dict):
        yield from _targets(route.get("targets", route.get("target", [])))


def check_json(block: Block, session: Session) -> str:
    """It is JSON; below a block that printed an answer, it has that answer's fields."""
    try:
        shown = json.loads(block.text)
    except ValueError as error:
        raise Fault(f"{block.place}: no JSON: {error}") from None
    out = session.shown_by(block)
    if out is None:
        return "parsed"
    faults = same_shape(shown, json.loads(out))
    if faults:
        raise Fault(f"{block.place}: another answer was given: {faults}")
    return "compared"


def check_shown(block: Block, out: str, excused: Iterable[str] = ()) -> str:
    """Every line of an output that is shown was printed, save those with an excused word."""
    missing = [
        line for line in unshown(block.text, out) if not any(word in line for word in excused)
    ]
    if missing:
        raise Fault(f"{block.place}: never printed: {missing}, but\n{out[-1500:]}")
    return "compared"


def send(block: Block, session: Session, ids: Mapping[str, str]) -> str:
    """Requests as `METHOD /path {…}`, sent with the master key: each is answered well."""
    found = list(REQUEST.finditer(block.text))
    if not found or block.text[: found[0].start()].strip():
        raise Fault(f"{block.place}: no request begins it")
    ends = [*(each.start() for each in found[1:]), len(block.text)]
    for each, end in zip(found, ends, strict=True):
        method, path = each.groups()
        raw = session.rewritten(block.text[each.end() : end]).strip()
        for name, value in ids.items():
            path, raw = path.replace(name, value), raw.replace(name, value)
        answer = session.stage.call(method, path, json.loads(raw) if raw else None)
        if answer.status_code >= 300:
            raise Fault(f"{block.place}: {method} {path}: {answer.status_code} {answer.text}")
    return "sent"


def check_webhook(block: Block, session: Session) -> str:
    """A webhook's request as it is shown: the headers and the fields of one that was received."""
    received = session.stage.hooked()
    head, _, body = block.text.partition("\n\n")
    missing = [name for name in HEADER.findall(head) if received.header(name) is None]
    faults = same_shape(json.loads(body), received.json)
    if missing or faults:
        raise Fault(f"{block.place}: {missing} {faults}")
    return "compared"


def columns_of(block: Block) -> list[str]:
    """The columns of a table, as SQLite reads its definition."""
    text = PARTITIONS.sub("", block.text).replace("llm.", "")
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(text)
        name = database.execute("SELECT name FROM sqlite_master").fetchone()[0]
        return [row[1] for row in database.execute(f"PRAGMA table_info({name})")]


def check_installed(names: Iterable[str]) -> None:
    """What pages have pip install exists: extras of this project, or what its tests use."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    for name in names:
        package, _, chosen = name.rstrip("]").partition("[")
        if package not in ("turnout", "."):
            raise Fault(f"pip install {name}: not Turnout")
        unknown = set(filter(None, chosen.split(","))) - extras
        if unknown:
            raise Fault(f"pip install {name}: no extra {sorted(unknown)}")
