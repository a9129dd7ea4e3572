"""What a conversion has to say: what was not carried over, where it stood, what to do instead.

No value of the source is repeated here, but for switches, numbers and words from known lists: it
may be a secret.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from proxy.migration.source import Node


class Finding(NamedTuple):
    """One thing to know. `where` is `file:line`, `path` is dotted, `more` other places of it."""

    where: str
    path: str
    was: str
    instead: str
    more: tuple[str, ...] = ()

    def __str__(self) -> str:
        also = f" (also {', '.join(self.more)})" if self.more else ""
        return f"{self.where}: {self.path}: {self.was}; {self.instead}{also}"


@dataclass(slots=True)
class Findings:
    """The findings so far, in the order in which they were made."""

    _told: dict[tuple[str, str, str], list[Finding]] = field(default_factory=dict)

    def tell(self, node: Node, was: str, instead: str) -> None:
        """Notes one. The same of another place is told together with the first."""
        finding = Finding(node.where, node.dotted, was, instead)
        self._told.setdefault((node.key, was, instead), []).append(finding)

    @property
    def all(self) -> tuple[Finding, ...]:
        return tuple(
            first._replace(more=tuple(dict.fromkeys(one.where for one in rest)))
            for first, *rest in self._told.values()
        )


def shown(node: Node) -> str:
    """A value in words that give nothing away."""
    value = node.value
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int | float) and not _may_be_secret(node.key):
        return str(value)
    if isinstance(value, dict | list):
        return "settings" if isinstance(value, dict) else "a list"
    return "a value"


def is_off(node: Node) -> bool:
    """Whether a setting says nothing, or switches something off: without it nothing is lost."""
    return node.value is None or node.value is False or node.value in ("", [], {})


def _may_be_secret(key: str) -> bool:
    return any(word in key.lower() for word in ("key", "secret", "token", "pass", "credential"))


@dataclass(slots=True)
class Secrets:
    """The variables that stand for secrets, those that the source has in clear among them."""

    findings: Findings
    taken: set[str]
    _by_value: dict[str, str] = field(default_factory=dict)

    def reference(self, node: Node, wished: str) -> str:
        """`${NAME}` for a secret: its own variable, or a new one that has to be set."""
        text = node.text or ""
        if node.variable:
            return text
        name = self._by_value.get(text)
        if name is None:
            name = self.new_name(wished)
            self._by_value[text] = name
        self.findings.tell(
            node, "a secret in clear", f"set {name} to it, in the environment or in .env"
        )
        return f"${{{name}}}"

    def new_name(self, wished: str) -> str:
        """A variable's name that the source uses for nothing."""
        plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in wished.upper())
        plain = plain if plain[:1].isalpha() else f"T_{plain}"
        name, number = plain, 2
        while name in self.taken:
            name, number = f"{plain}_{number}", number + 1
        self.taken.add(name)
        return name
