"""A LiteLLM configuration as it was written: with the files it includes, and every line.

Nothing is filled in: `os.environ/NAME` becomes `${NAME}`, which is how Turnout writes it.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from proxy import yamlsource

FILES = 50
"""Files that one configuration may include, all in all."""

_ENVIRONMENT = "os.environ/"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


class SourceError(Exception):
    """A configuration that can't be read; the message has a line for each fault."""


class _Verbatim(Mapping[str, str]):
    """An environment in which each variable is its own reference: nothing is filled in."""

    def __getitem__(self, name: str) -> str:
        return f"${{{name}}}"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@dataclass(slots=True)
class Tree:
    """What the files say together, and where each path stands, as `file:line`."""

    data: dict[str, Any]
    places: dict[yamlsource.Path, str]

    def where(self, path: yamlsource.Path) -> str:
        """The place of a path, or of what it stands in."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, "")

    @property
    def root(self) -> "Node":
        return Node(self, (), self.data)


@dataclass(frozen=True, slots=True)
class Node:
    """A value with its path. A missing one has the value None."""

    tree: Tree
    path: yamlsource.Path
    value: Any

    def __getitem__(self, key: str) -> "Node":
        inside = self.value.get(key) if isinstance(self.value, dict) else None
        return Node(self.tree, (*self.path, key), inside)

    def __bool__(self) -> bool:
        return self.value is not None

    @property
    def where(self) -> str:
        """`file:line`."""
        return self.tree.where(self.path)

    @property
    def dotted(self) -> str:
        """The path as our own configuration's errors write it, on one line."""
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path)
        return _UNPRINTABLE.sub("?", "".join(steps).lstrip("."))

    @property
    def key(self) -> str:
        return str(self.path[-1]) if self.path else ""

    def entries(self) -> "Iterator[Node]":
        """The members of a mapping or a list, in order; none of anything else."""
        if isinstance(self.value, dict):
            for key, inside in self.value.items():
                yield Node(self.tree, (*self.path, key), inside)
        elif isinstance(self.value, list):
            for index, inside in enumerate(self.value):
                yield Node(self.tree, (*self.path, index), inside)

    @property
    def text(self) -> str | None:
        """A scalar as text; None for anything else."""
        if isinstance(self.value, bool) or not isinstance(self.value, str | int | float):
            return None
        return str(self.value)

    @property
    def variable(self) -> str | None:
        """The variable that the whole value is; None when it is anything else."""
        match = _VARIABLE.fullmatch(self.value) if isinstance(self.value, str) else None
        return match.group(1) if match else None

    @property
    def number(self) -> float | str | None:
        """A number, whole where it can be; `${NAME}`; or None."""
        if isinstance(self.value, bool):
            return None
        if self.variable:
            return str(self.value)
        try:
            number = float(self.value) if isinstance(self.value, str | int | float) else math.nan
        except (ValueError, OverflowError):
            return None
        if not math.isfinite(number):
            return None
        return int(number) if number == int(number) else number

    @property
    def positive(self) -> float | str | None:
        """A number over 0, `${NAME}`, or None."""
        number = self.number
        return number if isinstance(number, str) or (number or 0) > 0 else None


def read(path: Path) -> Tree:
    """The configuration of a file, with what it includes. Raises `SourceError`."""
    return _read(path, [])


def _read(path: Path, before: list[Path]) -> Tree:
    if path in before:
        raise SourceError(f"{path.name}: it includes itself")
    if len(before) >= FILES:
        raise SourceError(f"{path.name}: more than {FILES} files are included")
    before.append(path)
    source = _parsed(path)
    data: dict[str, Any] = source.data or {}
    tree = Tree(_renamed(data), {p: f"{path.name}:{n}" for p, n in source.lines.items()})
    named = tree.data.pop("include", None)
    for name in [named] if isinstance(named, str) else named or []:
        where = tree.where(("include",))
        if not isinstance(name, str):
            raise SourceError(f"{where}: include: must be the names of files")
        try:
            _merge(tree, _read(path.parent / name, before))
        except OSError as error:
            raise SourceError(f"{where}: include: cannot read {name}: {error.strerror}") from None
    return tree


def _parsed(path: Path) -> yamlsource.Source:
    try:
        source = yamlsource.read(path.read_text(encoding="utf-8"), _Verbatim())
    except UnicodeDecodeError:
        raise SourceError(f"{path.name}: not text in UTF-8") from None
    except yaml.MarkedYAMLError as error:  # a tag that nobody knows
        line = "" if error.problem_mark is None else f":{error.problem_mark.line + 1}"
        raise SourceError(f"{path.name}{line}: not valid YAML: {error.problem}") from None
    if source.faults:
        raise SourceError("\n".join(_told(path.name, fault) for fault in source.faults))
    if source.data is not None and not isinstance(source.data, dict):
        raise SourceError(f"{path.name}:1: the configuration must be a mapping")
    return source


def _told(name: str, fault: yamlsource.Fault) -> str:
    where = f"{name}:{fault.line}" if fault.line else name
    dotted = ".".join(map(str, fault.path))
    return f"{where}: {dotted}: {fault.message}" if dotted else f"{where}: {fault.message}"


def _renamed(value: Any) -> Any:
    """The value with `${NAME}` for each `os.environ/NAME`."""
    if isinstance(value, dict):
        return {key: _renamed(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [_renamed(inside) for inside in value]
    if isinstance(value, str) and value.startswith(_ENVIRONMENT):
        name = value.removeprefix(_ENVIRONMENT).strip()
        if not _NAME.fullmatch(name):
            name = "_" + re.sub(r"[^A-Za-z0-9_]", "_", name)
        return f"${{{name}}}"
    return value


def _merge(tree: Tree, other: Tree) -> None:
    """Adds an included file, as LiteLLM does: lists grow, anything else is replaced."""
    for key, value in other.data.items():
        held = tree.data.get(key)
        offset = len(held) if isinstance(held, list) and isinstance(value, list) else 0
        if offset and isinstance(held, list):
            held += value
        else:
            tree.data[key] = value
            tree.places = {p: w for p, w in tree.places.items() if p[:1] != (key,)}
        for path, where in other.places.items():
            if path[:1] == (key,):
                tree.places[_moved(path, offset)] = where


def _moved(path: yamlsource.Path, offset: int) -> yamlsource.Path:
    if not offset or len(path) < 2 or not isinstance(path[1], int):
        return path
    return (path[0], path[1] + offset, *path[2:])


def variables(value: Any) -> Iterator[str]:
    """Every variable that is named anywhere in a value."""
    if isinstance(value, dict):
        for inside in value.values():
            yield from variables(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from variables(inside)
    elif isinstance(value, str):
        yield from _VARIABLE.findall(value)
