"""The deployment's files, read as the tools read them that they are written for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.test_dockerfile import parse

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
NGINX = ROOT / "deploy" / "nginx" / "turnout.conf"
UNIT = ROOT / "deploy" / "systemd" / "turnout.service"

_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")


class Unset(Exception):
    """A variable that compose.yaml insists on."""


def interpolated(value: Any, environ: Mapping[str, str]) -> Any:
    """Values as Compose fills them in: `${A}`, `${A:-default}`, `${A:?why}`, and `$$` for `$`."""
    if isinstance(value, dict):
        return {key: interpolated(each, environ) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each, environ) for each in value]
    if not isinstance(value, str):
        return value

    def filled(found: "re.Match[str]") -> str:
        dollar, name, kind, rest = found.groups()
        if dollar:
            return "$"
        given = environ.get(name, "")
        if not given and kind == "?":
            raise Unset(f"{name}: {rest}")
        return given or (rest if kind == "-" else "")

    return _VARIABLE.sub(filled, value)


def compose(environ: Mapping[str, str]) -> dict[str, Any]:
    """compose.yaml, its merge keys resolved and its variables filled in."""
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = interpolated(yaml.safe_load(text), environ)
    return found


def example_environ() -> dict[str, str]:
    """The variables of env.example."""
    lines = (ROOT / "deploy" / "compose" / "env.example").read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name: value for name, _, value in pairs}


def entrypoint() -> list[str]:
    """What the image runs before a service's own command."""
    steps = parse((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    return next(step for step in reversed(steps) if step.name == "ENTRYPOINT").words


def documents(*paths: Path) -> list[dict[str, Any]]:
    """Every document of YAML files, in order."""
    return [
        found
        for path in paths
        for found in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if found is not None
    ]


def manifests() -> list[dict[str, Any]]:
    """Every object that the kustomization lists, and the examples."""
    listed = documents(KUBERNETES / "kustomization.yaml")[0]["resources"]
    examples = sorted((KUBERNETES / "examples").glob("*.yaml"))
    return documents(*(KUBERNETES / name for name in listed), *examples)


def manifest(kind: str) -> dict[str, Any]:
    """The one object of a kind."""
    [found] = [each for each in manifests() if each["kind"] == kind]
    return found


@dataclass(frozen=True, slots=True)
class Mounts:
    """Where a container's folders are for a test: (in the container, here)."""

    pairs: tuple[tuple[str, str], ...]

    def at(self, text: str) -> str:
        for inside, here in self.pairs:
            text = re.sub(rf"^{re.escape(inside)}(?=/|$)", here, text)
        return text


def seconds(text: str) -> float:
    """A duration of Compose's, or of nginx's: `90s`, `11m`."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]
