"""That the rules for code blocks can fail."""

import os
import re
from pathlib import Path

import pytest

from tests.docs import rules
from tests.docs.blocks import Block, blocks_of
from tests.docs.rules import check_yaml
from tests.docs.session import Fault, Session, same_shape, unshown
from tests.docs.test_code_blocks import play

BLOCK = """\
# A page

<!-- not run: needs docker -->
```sh
docker run x
```

   ```yaml
   limits: {rpm: 6}
   ```
"""


def test_blocks_are_found_with_their_marks() -> None:
    first, second = blocks_of(BLOCK, "docs/a.md")
    assert first == ("docs/a.md", 4, 6, "sh", "not run: needs docker", "docker run x\n")
    assert first.marked("not run") == "needs docker"
    assert first.marked("file") is None
    assert (second.line, second.mark, second.text) == (8, "", "limits: {rpm: 6}\n")
    with pytest.raises(ValueError, match=r"docs/a.md:1: nothing closes"):
        list(blocks_of("```sh\nls\n", "docs/a.md"))


def block(language: str, text: str) -> Block:
    return Block("docs/a.md", 7, 9, language, "", text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("limits: {rpmm: 6}", "limits.rpmm: unknown field"),
        ("- a", "list is no configuration"),
        ("tasks: {a: {}}", "tasks.a.targets"),
        ("providers: {a: {preset: nobody}}", "nobody"),
    ],
)
def test_a_wrong_configuration_is_caught(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(Fault, match=re.escape(complaint)):
        check_yaml(block("yaml", text), tmp_path)


def test_a_part_of_a_configuration_has_the_providers_that_it_names(tmp_path: Path) -> None:
    assert check_yaml(block("yaml", "models: {a: [x/y, z/w]}"), tmp_path) == "loaded"
    assert check_yaml(block("yaml", "scrape_configs: []"), tmp_path) == "parsed: Prometheus"


@pytest.mark.parametrize(
    ("shown", "live", "faults"),
    [
        ({"a": 1}, {"a": 2.5}, []),
        ({"a": 1, "…": 0}, {"a": 2, "b": 1}, []),
        ({"a": 1}, {"a": 2, "b": 1}, [".b: is not shown"]),
        ({"a": 1, "b": 1}, {"a": 2}, [".b: is not given"]),
        ({"a": {"b": "x"}}, {"a": {"b": None}}, [".a.b: 'x' is shown, None was given"]),
        ([1, 2], [1], [": 2 are shown, given were [1]"]),
        ([True], [1], ["[0]: True is shown, 1 was given"]),
    ],
)
def test_answers_are_compared_by_shape(shown: object, live: object, faults: list[str]) -> None:
    assert same_shape(shown, live) == faults


def test_outputs_are_compared_by_line() -> None:
    assert unshown("b …\n  c\n", "a\nb 17\nc\n") == []
    assert unshown("b …\nd\n", "a\nb 17\n") == ["d"]


@pytest.mark.parametrize(
    ("language", "text"), [("sh", "false"), ("sh", "curl $URL/nothing"), ("sh", "echo $UNSET_NAME")]
)
@pytest.mark.parametrize("session", ["docs/a.md"], indirect=True)
def test_a_command_that_fails_is_caught(language: str, text: str, session: Session) -> None:
    with pytest.raises(Fault, match=r"docs/a.md:7: exit code"):
        play(block(language, text), session)


@pytest.mark.parametrize("session", ["docs/a.md"], indirect=True)
@pytest.mark.parametrize("language", ["", "text", "rust"])
def test_a_block_without_a_rule_is_caught(language: str, session: Session) -> None:
    with pytest.raises(Fault, match=r"docs/a.md:7"):
        play(block(language, "x"), session)


@pytest.mark.parametrize("session", ["docs/a.md"], indirect=True)
def test_what_a_block_leaves_is_there_for_the_next(session: Session) -> None:
    session.shell(block("sh", "export WORD=here; mkdir in; cd in\nsay() { echo $WORD $1; }\n"))
    session.shell(block("sh", "say there; basename $PWD\n"))
    assert session.done[-1].out == "here there\nin\n"
    assert os.environ.get("WORD") is None


def test_an_extra_that_is_none_is_caught() -> None:
    rules.check_installed(["turnout[semantic]", ".[local,semantic]"])
    with pytest.raises(Fault, match="no extra"):
        rules.check_installed(["turnout[semantics]"])
