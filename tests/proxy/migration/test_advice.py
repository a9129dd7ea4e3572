"""Advice leads somewhere: to a page, a field, a command or an endpoint that there is."""

import re
from pathlib import Path

from pydantic import BaseModel

from proxy.config import Config
from proxy.migration import advice, deployments, vendors

ROOT = Path(__file__).parents[3]
EVERY = [
    *advice.ADVICE.values(),
    *deployments.ADVICE.values(),
    *vendors.UNSPOKEN.values(),
    advice.LOGS,
]
FIELD = re.compile(r"(?<![\w./])([a-z]+(?:\.(?:\*|NAME|[a-z_]+))+)(?![\w/])")


def test_pages_are_there() -> None:
    pages = {page for text in EVERY for page in re.findall(r"docs/[a-z-]+\.md", text)}
    assert "docs/limits.md" in pages
    assert [page for page in sorted(pages) if not (ROOT / page).is_file()] == []


def test_fields_are_there() -> None:
    named = {field for text in EVERY for field in FIELD.findall(text)}
    named = {field for field in named if not field.endswith(".md")}
    assert {"retry.attempts", "providers.*.probe", "tasks.NAME.defaults"} <= named
    assert sorted(field for field in named if not exists(field.split("."))) == []


def exists(path: list[str], model: type[BaseModel] = Config) -> bool:
    field = model.model_fields.get(path[0])
    if field is None:
        return False
    rest = [step for step in path[1:] if step not in ("*", "NAME")]
    inner = sections(field.annotation)
    return not rest or any(exists(rest, part) for part in inner)


def sections(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in sections(inner)]
