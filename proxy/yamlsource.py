"""A YAML file as plain data, with the line of every value, and the environment filled in.

`${NAME}` and `${NAME:-default}` are replaced after the parse, in string values only, so that no
value of the environment can change the structure of the file. A value that is nothing but an
unset variable is left out, as if its line were not there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_GONE = object()


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with the file: where, and what."""

    path: Path
    line: int | None
    message: str


@dataclass(slots=True)
class Source:
    """What a file says: `lines` has the line of each path, `unset` the variables left out,
    `filled` the paths that variables filled."""

    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    unset: dict[Path, str] = field(default_factory=dict)
    filled: set[Path] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)

    def line_of(self, path: Path) -> int | None:
        """The line of a path, or of what it stands in."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def read(text: str, environ: Mapping[str, str]) -> Source:
    """Parses `text`; what is wrong with it is in `faults`, never raised."""
    source = Source()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = None if mark is None else mark.line + 1
        source.faults.append(Fault((), line, f"not valid YAML: {error.problem}"))
        return source
    except yaml.YAMLError as error:
        source.faults.append(Fault((), None, f"not valid YAML: {error}"))
        return source
    if node is not None:
        source.data = _Reader(source, environ).value(node, ())
    return source


class _Reader:
    def __init__(self, source: Source, environ: Mapping[str, str]) -> None:
        self._source = source
        self._environ = environ
        self._scalars = yaml.SafeLoader("")

    def value(self, node: yaml.Node, path: Path) -> Any:
        self._source.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            entries = (self.value(entry, (*path, i)) for i, entry in enumerate(node.value))
            return [entry for entry in entries if entry is not _GONE]
        plain = self._scalars.construct_object(node)
        return self._filled(plain, path) if isinstance(plain, str) else plain

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        self._scalars.flatten_mapping(node)
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(
                key_node.value
            )  # as written: YAML would make `on`, `off` and 1.5 other things
            here = (*path, key)
            line = key_node.start_mark.line + 1
            if key in found:
                message = f"{key!r} stands twice, first in line {self._source.lines[here]}"
                self._source.faults.append(Fault(here, line, message))
                continue
            self._source.lines[here] = line
            value = self.value(value_node, here)
            if value is not _GONE:
                found[key] = value
        return found

    def _filled(self, text: str, path: Path) -> Any:
        if "${" not in text:
            return text
        whole = _VARIABLE.fullmatch(text.strip())
        if whole is not None and whole.group(2) is None:
            name = whole.group(1)
            if not self._environ.get(name):
                self._source.unset[path] = name
                return _GONE
        if "${" in _VARIABLE.sub("", text):
            self._fault(path, "'${' begins no variable; write ${NAME} or ${NAME:-default}")
            return text
        return _VARIABLE.sub(lambda match: self._lookup(match, path), text)

    def _lookup(self, match: "re.Match[str]", path: Path) -> str:
        name, default = match.groups()
        value = self._environ.get(name) or default
        if value is None:
            self._fault(path, f"the variable {name} is not set; ${{{name}:-…}} gives a default")
            return ""
        self._source.filled.add(path)
        return value

    def _fault(self, path: Path, message: str) -> None:
        self._source.faults.append(Fault(path, self._source.line_of(path), message))
