"""docs/api-reference.md is what its generator writes of the routes."""

import importlib.util
import re
from types import ModuleType

import pytest
from starlette.routing import BaseRoute, Route

from tests.docs.blocks import ROOT

SCRIPT = ROOT / "docs" / "generate_api_reference.py"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_api_reference", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def routes(generator: ModuleType) -> list[BaseRoute]:
    found: list[BaseRoute] = generator.gateway_routes()
    return found


def test_the_page_is_what_the_generator_writes(
    generator: ModuleType, routes: list[BaseRoute]
) -> None:
    page = (ROOT / "docs" / "api-reference.md").read_text(encoding="utf-8")
    said = "docs/api-reference.md is not of these routes: python docs/generate_api_reference.py"
    assert page == generator.written(routes), said


def test_every_route_is_on_it(routes: list[BaseRoute]) -> None:
    """By the router's own list: a path that a caller can reach stands there as code."""
    page = (ROOT / "docs" / "api-reference.md").read_text(encoding="utf-8")
    spans = re.findall(r"`([^`\n]+)`", page)
    paths = {re.sub(r":\w+", "", route.path) for route in routes if isinstance(route, Route)}
    assert "/api/v1/keys/{id}" in paths
    named = {span.partition(" ")[2] for span in spans}
    assert sorted(paths - named) == []


def test_an_endpoint_without_words_is_an_error(generator: ModuleType) -> None:
    async def endpoint() -> None: ...

    with pytest.raises(KeyError, match="/v1/unheard-of"):
        generator.written([Route("/v1/unheard-of", endpoint)])


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"$ref": "#/components/schemas/KeyEntry"}, "[KeyEntry](#type-keyentry)"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or null"),
        (
            {"type": "array", "items": {"type": "integer"}, "maxItems": 9},
            "list of integer with 9 at most",
        ),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "object of number"),
        ({"enum": ["a", None]}, "`a` or null"),
        ({"type": "integer", "minimum": 1, "maximum": 365}, "integer from 1, to 365"),
        ({"const": "x"}, "`x`"),
    ],
)
def test_a_schema_in_words(generator: ModuleType, schema: dict[str, object], words: str) -> None:
    assert generator._words(schema) == words
