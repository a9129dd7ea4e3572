"""Writes docs/configuration.md: `python docs/generate_configuration.py`, in the root.

The page is made of the types of `proxy/config_types.py`, which say what may be written, and of the
words of `configuration_texts.py`, which say what it is for. A field without words, or words without
a field, are an error. A test compares the page with what this writes. It stands beside its page, as
the generator of the API reference does: the server has no use for it, and is not made heavier.
"""

import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from configuration_texts import HEAD, INTROS, TAIL, TEXTS
from pydantic import AfterValidator, BaseModel, BeforeValidator, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from proxy.config import Config
from proxy.units import parse_duration, parse_share, parse_size

PAGE = Path(__file__).with_name("configuration.md")

RESTART = ("server", "storage", "auth.encryption_key", "cache.max_bytes", "ledger.on_full")
RESTART += ("ledger.log_bodies", "sinks", "telemetry")
NO_RESTART = ("server.private_providers",)
"""Sections and fields that the gateway looks at when it starts, and one that it looks at always."""

UNITS = {parse_duration: "duration", parse_size: "size", parse_share: "share"}
MANY = {name: f"{name}s" for name in ("duration", "share", "secret", "text", "section", "number")}
DURATIONS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
SIZES = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


class Row(NamedTuple):
    """A field of the page. `owner` is the type that it belongs to."""

    path: str
    owner: type[BaseModel]
    field: FieldInfo
    name: str


class WordsMissing(Exception):
    """A field that nobody has said what it is for, or words for a field that is gone."""


def written(config: type[BaseModel], intros: Mapping[str, str], texts: Mapping[str, str]) -> str:
    """The page of a configuration's type. Raises `WordsMissing`."""
    parts = [HEAD]
    told: dict[tuple[type[BaseModel], str], str] = {}
    used: set[str] = set()
    rows = {name: list(_rows(name, field)) for name, field in config.model_fields.items()}
    for row in (row for found in rows.values() for row in found if "*" not in row.path):
        told.setdefault((row.owner, row.name), row.path)
    for name, found in rows.items():
        if not found:
            _check_head(name)
            continue
        if name not in intros:
            raise WordsMissing(f"INTROS has no {name}")
        lines = [_line(row, texts, told, used) for row in found]
        parts.append(f"## {name}\n\n{intros[name]}\n\n" + TABLE + "\n".join(lines) + "\n")
    stale = sorted({*texts} - used) + sorted({*intros} - {*rows})
    if stale:
        raise WordsMissing(f"there is no {', '.join(stale)} any more")
    return "\n".join([*parts, TAIL])


TABLE = "| field | is | default | meaning |\n|---|---|---|---|\n"


def _check_head(name: str) -> None:
    if f"`{name}:" not in HEAD:
        raise WordsMissing(f"HEAD says nothing of {name}")


def _rows(name: str, field: FieldInfo) -> Iterator[Row]:
    """The fields below a section, or below the entries of a table of sections."""
    for section, many in _sections(field.annotation):
        yield from _below(f"{name}.*" if many else name, section)


def _below(path: str, section: type[BaseModel]) -> Iterator[Row]:
    for name, field in section.model_fields.items():
        here = f"{path}.{field.alias or name}"
        nested = list(_sections(field.annotation))
        if not nested or (not field.is_required() and field.default is None) or _is_list(field):
            yield Row(here, _owner(section, name), field, field.alias or name)
        for inner, many in nested:
            yield from _below(f"{here}.*" if many else here, inner)


def _is_list(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is tuple


def _owner(section: type[BaseModel], name: str) -> type[BaseModel]:
    """The type that declares a field: of an inherited one the base."""
    for base in reversed(section.__mro__):
        if issubclass(base, BaseModel) and name in base.__annotations__:
            return base
    return section


def _sections(annotation: Any, many: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, many
    inside = many or get_origin(annotation) is dict
    for argument in get_args(annotation):
        yield from _sections(argument, inside)


def _line(
    row: Row,
    texts: Mapping[str, str],
    told: dict[tuple[type[BaseModel], str], str],
    used: set[str],
) -> str:
    first = told.setdefault((row.owner, row.name), row.path)
    if row.path in texts:
        used.add(row.path)
        text = texts[row.path]
    elif first != row.path:
        text = f"As `{first}`."
    else:
        raise WordsMissing(f"TEXTS has no {row.path}")
    if _takes_restart(row.path):
        text += " *Restart.*"
    kind = _kind(row.field.annotation, row.field.metadata).replace("|", "\\|")
    return f"| `{row.path}` | {kind} | {_default(row.field)} | {text} |"


def _takes_restart(path: str) -> bool:
    below = any(path == start or path.startswith(f"{start}.") for start in RESTART)
    return below and path not in NO_RESTART


def _kind(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    """A type in words, with its bounds."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inside[0], (*inside[1:], *metadata))
    if origin in (Union, types.UnionType):
        kinds = [_kind(each, metadata) for each in inside if each is not type(None)]
        return " or ".join(kinds)
    if origin is Literal:
        return _either([f"`{each}`" for each in inside])
    if origin is dict:
        return _many(_kind(inside[1]), " by name") if inside[1] is not Any else "mapping"
    if origin is tuple and inside[-1] is Ellipsis:
        return f"list of {_many(_kind(inside[0]))}"
    if origin is tuple:
        return f"two {_many(_kind(inside[0]))}"
    return _plain(annotation, metadata)


def _plain(annotation: Any, metadata: list[Any] | tuple[Any, ...]) -> str:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    unit = next((UNITS[m.func] for m in metadata if isinstance(m, BeforeValidator)), "")
    names = {bool: "`true` or `false`", int: "whole number", float: "number", str: "text"}
    kind = unit or names.get(annotation, "secret" if annotation is SecretStr else "value")
    checks = {m.func.__name__ for m in metadata if isinstance(m, AfterValidator)}
    if checks & {"_http_url", "_webhook"}:
        kind = "URL" if annotation is str else "secret URL"
    elif "checked" in checks:
        kind = "template"
    elif "_schema" in checks:
        kind = "mapping"
    bounds = _bounds(list(_flat(metadata)), unit)
    return f"{kind}, {bounds}" if bounds else kind


def _flat(metadata: list[Any] | tuple[Any, ...]) -> Iterator[Any]:
    """The single bounds; pydantic keeps some of them in a `Field` of their own."""
    for each in metadata:
        yield from each.metadata if isinstance(each, FieldInfo) else [each]


def _bounds(metadata: list[Any], unit: str) -> str:
    said: dict[str, Any] = {}
    for each in metadata:
        for name in ("gt", "ge", "lt", "le", "max_length", "pattern"):
            if getattr(each, name, None) is not None:
                said[name] = getattr(each, name)
    words = []
    if "ge" in said and "le" in said:
        words.append(f"{_value(said['ge'], unit)} to {_value(said['le'], unit)}")
    else:
        starts = {"gt": "over", "ge": "at least", "lt": "under", "le": "at most"}
        words += [f"{starts[n]} {_value(said[n], unit)}" for n in starts if n in said]
    if "pattern" in said:
        words.append(f"matching `{said['pattern']}`")
    if "max_length" in said:
        words.append(f"at most {said['max_length']} characters")
    return ", ".join(words)


def _many(kind: str, how: str = "") -> str:
    first, comma, rest = kind.partition(", ")
    return MANY.get(first, first) + how + comma + rest


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _default(field: FieldInfo) -> str:
    if field.is_required() or field.default is PydanticUndefined:
        return "required"
    default = field.default
    if default is None or default == () or default == {}:
        return "none"
    if default == "":
        return "empty"
    return f"`{_value(default, _unit_of(field))}`"


def _unit_of(field: FieldInfo) -> str:
    kind = _kind(field.annotation, field.metadata)
    return next((unit for unit in UNITS.values() if unit in kind), "")


def _value(value: Any, unit: str) -> str:
    """A value as it is written in a configuration."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_value(each, unit) for each in value) + "]"
    if isinstance(value, int | float) and value:
        if unit == "duration":
            return _duration(value)
        if unit == "share":
            return f"{value * 100:g}%"
        if unit == "size":
            return next((f"{value // n}{u}" for u, n in SIZES if value % n == 0), str(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    short = next((unit, size) for unit, size in DURATIONS if seconds % size == 0 or size == 1)
    return f"{seconds / short[1]:g}{short[0]}"


if __name__ == "__main__":
    PAGE.write_text(written(Config, INTROS, TEXTS), encoding="utf-8")
