"""Prompts as templates: text of the configuration, filled in with data of a request.

A small part of Jinja2, that is compiled when the configuration is loaded. What a template may say
is a list of what is let through, and all else is a fault of the configuration: there is no call,
no assignment, no macro, no import, and no filter or test but those below. What it can reach is
data alone: the members of objects and lists, never an attribute of a Python object. Values are
put in as they are, and never looked through for templates themselves.

A name that the data lack is empty text. Rendering stops at `OUTPUT_LIMIT`, `STEP_LIMIT` rounds of
loops, or `SECONDS`, whichever comes first.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import orjson
from jinja2 import ChainableUndefined, Template, TemplateError, Undefined, nodes
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

SOURCE_LIMIT = 64 * 1024  # characters of a template
OUTPUT_LIMIT = 1024 * 1024  # characters of a prompt
STEP_LIMIT = 100_000  # rounds of all loops of one rendering
SECONDS = 0.5  # that one rendering may take

ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Name,
    nodes.Const, nodes.List, nodes.Tuple, nodes.Getattr, nodes.Getitem, nodes.Slice,
    nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not,
    nodes.CondExpr, nodes.Add, nodes.Sub, nodes.Neg,
)  # fmt: skip
"""Everything that a template may be made of."""

LOOP = frozenset({"first", "index", "index0", "last", "length", "revindex", "revindex0"})
"""What a template may ask of its loop."""


class PromptError(Exception):
    """A template that can't be compiled, or filled in with these data; why, in words without the
    data."""


class _Meter:
    """How far one rendering may still go."""

    __slots__ = ("ends", "steps")

    def __init__(self) -> None:
        self.ends = time.monotonic() + SECONDS
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps > STEP_LIMIT:
            raise PromptError(f"its loops have more than {STEP_LIMIT} rounds")
        self.look()

    def look(self) -> None:
        if time.monotonic() > self.ends:
            raise PromptError(f"it takes longer than {SECONDS:g} s")


_meter: ContextVar[_Meter] = ContextVar("meter of a rendering")


def _metered(values: Any) -> Iterator[Any]:
    """What every loop goes over. The keys of an object, the entries of a list, nothing else."""
    meter = _meter.get()
    for value in values if isinstance(values, Mapping | list | tuple) else ():
        meter.step()
        yield value


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja2 of which only data can be reached, and nothing grows without end."""

    intercepted_binops = frozenset({"+"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        for value in (left, right):
            if isinstance(value, str | list | tuple) and len(value) > OUTPUT_LIMIT:
                raise PromptError(f"a value in it is over {OUTPUT_LIMIT} long")
        return super().call_binop(context, operator, left, right)

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """A member of data; undefined for everything else, an attribute of Python's too."""
        if isinstance(obj, Mapping):
            found = obj.get(argument, _ABSENT) if isinstance(argument, str) else _ABSENT
            return self.undefined(name=str(argument)) if found is _ABSENT else found
        if isinstance(obj, list | tuple | str) and type(argument) is int:
            inside = -len(obj) <= argument < len(obj)
            return obj[argument] if inside else self.undefined(name=str(argument))
        if isinstance(obj, LoopContext) and argument in LOOP:
            return getattr(obj, argument)
        return self.undefined(name=str(argument))


_ABSENT = object()


def _text(value: Any) -> str:
    """How a value stands in a prompt: data as text or JSON, anything else not at all."""
    match value:
        case str():
            return str(value)
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case dict() | list() | tuple():
            return _json(value)
        case _:
            return ""


def _json(value: Any) -> str:
    if value is None or isinstance(value, Undefined):
        return "null"
    try:
        text = orjson.dumps(value).decode()
    except TypeError:  # too deep, or no data
        raise PromptError("a value has too many levels for JSON") from None
    return _fitting(text)


def _fitting(text: str) -> str:
    if len(text) > OUTPUT_LIMIT:
        raise PromptError(f"a value in it is over {OUTPUT_LIMIT} characters")
    return text


def _default(value: Any, other: Any = "") -> Any:
    return other if value is None or isinstance(value, Undefined) or value == "" else value


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple | str) and value else ""


def _last(value: Any) -> Any:
    return value[-1] if isinstance(value, list | tuple | str) and value else ""


def _join(value: Any, by: Any = ", ") -> str:
    entries = [_text(entry) for entry in value] if isinstance(value, list | tuple) else []
    between = _text(by)
    if sum(map(len, entries)) + len(between) * len(entries) > OUTPUT_LIMIT:
        raise PromptError(f"a list in it is over {OUTPUT_LIMIT} characters")
    return between.join(entries) if entries else _text(value)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, Mapping | list | tuple | str) else 0


def _truncate(value: Any, length: int = 255) -> str:
    text = _text(value)
    return text if len(text) <= length else text[: max(0, length - 1)] + "…"


def _without(value: Any, *names: str) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: entry for name, entry in value.items() if name not in names}


FILTERS: Mapping[str, Callable[..., Any]] = {
    "default": _default,
    "first": _first,
    "join": _join,
    "json": _json,
    "last": _last,
    "length": _length,
    "lower": lambda value: _text(value).lower(),
    "trim": lambda value: _text(value).strip(),
    "truncate": _truncate,
    "upper": lambda value: _text(value).upper(),
    "without": _without,
}

TESTS: Mapping[str, Callable[[Any], bool]] = {
    "defined": lambda value: not isinstance(value, Undefined),
    "undefined": lambda value: isinstance(value, Undefined),
    "none": lambda value: value is None,
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "mapping": lambda value: isinstance(value, Mapping),
    "list": lambda value: isinstance(value, list | tuple),
}

_METERED = "metered loop"  # no template can write a name with a space


def _environment() -> _Environment:
    environment = _Environment(
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=ChainableUndefined,
        finalize=_text,
        cache_size=0,
    )
    environment.globals = {}
    environment.filters = {**FILTERS, _METERED: _metered}
    environment.tests = dict(TESTS)
    return environment


_ENVIRONMENT = _environment()


@lru_cache(maxsize=2048)
def compiled(source: str) -> Template:
    """The template of a text. Raises `PromptError` with its line for what no template may say."""
    if len(source) > SOURCE_LIMIT:
        raise PromptError(f"a template may be {SOURCE_LIMIT} characters at most")
    try:
        tree = _ENVIRONMENT.parse(source)
        _check(tree)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(
                loop.iter, _METERED, [], [], None, None, lineno=loop.lineno
            ).set_environment(_ENVIRONMENT)
        return _ENVIRONMENT.from_string(tree)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f"line {line} of the template: " if line else ""
        raise PromptError(f"{where}{error.message}") from None
    except (RecursionError, SyntaxError, OverflowError, MemoryError):
        raise PromptError("the template is nested too deeply") from None


def _check(tree: nodes.Template) -> None:
    """Raises `PromptError` for the first thing in a template that is not on the lists."""
    for node in _all(tree):
        if not isinstance(node, ALLOWED):
            raise _refused(node, f"{type(node).__name__.lower()} is not for prompts")
        if isinstance(node, nodes.Filter) and node.name not in FILTERS:
            known = ", ".join(FILTERS)
            raise _refused(node, f"no filter named {node.name!r}; there are {known}")
        if isinstance(node, nodes.Test) and node.name not in TESTS:
            raise _refused(node, f"no test named {node.name!r}; there are {', '.join(TESTS)}")
        if isinstance(node, nodes.Name) and (node.ctx != "load" and node.name == "context"):
            raise _refused(node, "a loop's name may not be 'context'")
        if isinstance(node, nodes.For) and node.recursive:
            raise _refused(node, "a recursive loop is not for prompts")


def _all(tree: nodes.Node) -> Iterator[nodes.Node]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, nodes.Keyword):
            waiting += node.iter_child_nodes()


def _refused(node: nodes.Node, message: str) -> PromptError:
    return PromptError(f"line {node.lineno or 1} of the template: {message}")


def checked(source: str) -> str:
    """The text itself, if it is a template. Raises `ValueError`, as pydantic wants it."""
    try:
        compiled(source)
    except PromptError as error:
        raise ValueError(str(error)) from None
    return source


def render(source: str, context: Mapping[str, Any]) -> str:
    """The text of a template for these data: each member by its name, all of them as `context`.

    Raises `PromptError`.
    """
    template = compiled(source)
    meter = _Meter()
    token = _meter.set(meter)
    pieces: list[str] = []
    size = 0
    try:
        for piece in template.generate({**context, "context": dict(context)}):
            pieces.append(piece)
            size += len(piece)
            if size > OUTPUT_LIMIT:
                raise PromptError(f"it is over {OUTPUT_LIMIT} characters")
            meter.look()
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise PromptError(f"a value in it is of the wrong type ({type(error).__name__})") from None
    except RecursionError:
        raise PromptError("a value in it has too many levels") from None
    finally:
        _meter.reset(token)
    return "".join(pieces).strip()


def find(data: Any, path: str) -> Any:
    """What is at a dotted path of names, and numbers in lists; None when nothing is."""
    for step in path.split("."):
        if isinstance(data, Mapping):
            data = data.get(step)
        elif isinstance(data, list) and step.isdecimal() and int(step) < len(data):
            data = data[int(step)]
        else:
            return None
    return data
