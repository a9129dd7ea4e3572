"""The quick form of `tests.fuzz.api`: each operation as each caller, on both databases."""

import asyncio
import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fuzz import api
from tests.fuzz.stage import Stage, staged
from tests.servers import KINDS, new_url

EXAMPLES = 3
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
SEEN = {
    "sqlite": ("user", "service"),
    "postgresql": ("master",),
}
"""Who calls which; the long form has all on each."""


@pytest.fixture(scope="module", params=KINDS)
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Stage]]:
    database = asyncio.run(new_url(request.param))
    with staged(tmp_path_factory.mktemp("home"), database) as found:
        yield request.param, found


@pytest.mark.filterwarnings("default")  # what schemathesis makes up may not be fit for requests
def test_every_operation_answers_as_the_document_says(stage: tuple[str, Stage]) -> None:
    kind, there = stage
    said = api.document(there)
    known = api.operations(said)
    assert len(known) >= 75
    for who in SEEN[kind]:
        outcome = api.run(there, who, EXAMPLES, 1, ("fuzzing",), said)
        assert outcome.findings == {}
        left = {f"POST {api.ENDS_THE_CALLER}"} if who == "user" else set()
        assert known - set(outcome.calls) == left
        with there.client(who) as client:  # not all of it was refused
            assert client.get("/api/v1/usage/summary").status_code == 200


def test_a_method_that_is_not_in_the_document_is_refused(stage: tuple[str, Stage]) -> None:
    _, there = stage
    paths: dict[str, Any] = api.document(there)["paths"]
    asked = 0
    with there.client() as client:
        for path, item in paths.items():
            if path.startswith("/api/trpc/"):  # it refuses in its own way
                continue
            others = [each["parameters"] for each in item.values()]
            named = {p["name"]: "none" for each in others for p in each if p["in"] == "path"}
            taken = {method.upper() for method in item}
            for method in set(METHODS) - taken - _elsewhere(path, paths):
                answer = client.request(method, path.format_map(named))
                assert answer.status_code == 405, (method, path, answer.text)
                assert set(answer.headers["allow"].split(", ")) - {"HEAD"} == taken, path
                assert answer.json()["error"]["code"] == "method_not_allowed"
                asked += 1
    assert asked > 100


def _elsewhere(path: str, paths: dict[str, Any]) -> set[str]:
    """What another path, one with a parameter, takes in this one's place: `me` may be an id."""
    parts = path.split("/")
    found: set[str] = set()
    for other, item in paths.items():
        theirs = other.split("/")
        if other == path or len(theirs) != len(parts):
            continue
        pairs = zip(parts, theirs, strict=True)
        if all(a == b or b.startswith("{") for a, b in pairs):
            found |= {method.upper() for method in item}
    return found


class TestTheChecks:
    """Each finds what it is for, in a document that says what is not so."""

    PATH = "/api/v1/keys"

    def found(self, there: Stage, method: str, spoil: Any) -> str:
        item = copy.deepcopy(api.document(there)["paths"][self.PATH][method])
        spoil(item)
        said = api.document(there) | {"paths": {self.PATH: {method: item}}}
        return " ".join(api.run(there, "master", 5, 1, ("fuzzing",), said).findings)

    def test_a_status(self, stage: tuple[str, Stage]) -> None:
        found = self.found(stage[1], "post", lambda item: item["responses"].pop("422"))
        assert "Undocumented status code (422)" in found

    def test_a_shape(self, stage: tuple[str, Stage]) -> None:
        def spoil(item: dict[str, Any]) -> None:
            item["responses"]["200"]["content"]["application/json"]["schema"] = {"type": "object"}

        assert "Response violates schema (200)" in self.found(stage[1], "get", spoil)

    def test_a_media_type(self, stage: tuple[str, Stage]) -> None:
        def spoil(item: dict[str, Any]) -> None:
            item["responses"]["200"]["content"] = {"text/csv": {}}

        assert "Undocumented Content-Type (200)" in self.found(stage[1], "get", spoil)

    def test_an_operation_that_is_not_there(self, stage: tuple[str, Stage]) -> None:
        said = api.document(stage[1])
        said["paths"] = {"/api/v1/nothing": {"get": said["paths"][self.PATH]["get"]}}
        outcome = api.run(stage[1], "master", 1, 1, ("fuzzing",), said)
        assert "Undocumented status code (404)" in " ".join(outcome.findings)
