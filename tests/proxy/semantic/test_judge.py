"""Pairs of answers as chat models write them, and what each kind of them turns on.

`answers.jsonl` has 156 pairs, written by hand: 78 say the same, 78 belong to a question that is
like it. The cosines are those of all-MiniLM-L6-v2.
"""

import json
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.semantic.judge import agree


class Case(NamedTuple):
    question: str
    fresh: str
    kept: str
    cosine: float | None
    same: bool


LINES = (Path(__file__).parent / "answers.jsonl").read_text(encoding="utf-8").splitlines()
CASES = [Case(**json.loads(line)) for line in LINES]


def test_answers_as_models_write_them() -> None:
    verdicts = [(case, agree(*case[:4])) for case in CASES]
    decided = [(case, verdict) for case, verdict in verdicts if verdict is not None]
    wrong = [case for case, verdict in decided if verdict != case.same]
    assert len(CASES) == 156
    assert len(decided) >= 0.85 * len(CASES)
    assert len(wrong) <= 0.02 * len(decided), wrong


@pytest.mark.parametrize("case", [case for case in CASES if not case.same], ids=lambda c: c.fresh)
def test_no_answer_to_another_question_passes(case: Case) -> None:
    assert agree(*case[:4]) is not True


def test_without_embeddings_little_is_decided_and_that_rightly() -> None:
    verdicts = [(case, agree(case.question, case.fresh, case.kept, None)) for case in CASES]
    decided = [(case, verdict) for case, verdict in verdicts if verdict is not None]
    assert len(decided) >= 0.6 * len(CASES)
    assert sum(verdict == case.same for case, verdict in decided) >= 0.97 * len(decided)


@pytest.mark.parametrize(
    ("fresh", "kept", "same"),
    [
        ("", "Paris.", None),
        ("Paris.", "  ", None),
        ("**Paris**.", "paris", True),
        ("- 5", "5", True),
        ("-5", "5", False),
        ("$5", "€5", None),
        ("1.5", "15", False),
        ("C++", "C", False),
        ("x > 3", "x < 3", None),
    ],
)
def test_the_same_but_for_its_dress(fresh: str, kept: str, same: bool | None) -> None:
    assert agree("How much is it?", fresh, kept, None) is same


@pytest.mark.parametrize(
    ("fresh", "kept", "same"),
    [
        ('{"a": 1, "b": [1, 2]}', '```json\n{"b": [2, 1],\n "a": 1.0}\n```', True),
        ('{"a": 1}', '{"a": 2}', False),
        ('{"a": 1}', '{"a": true}', False),
        ('{"a": 1}', '{"a": 1, "b": null}', False),
        ('{"a": "Lyon "}', '{"a": "lyon"}', True),
        ('{"a": "Lyon"}', '{"a": "Nice"}', False),
        ("[1, 2]", "[1, 2, 3]", False),
        ('{"n": 1, "t": "It was a cold day"}', '{"n": 1, "t": "That day was cold"}', None),
        ('{"n": 1, "t": "It was a cold day"}', '{"n": 2, "t": "That day was cold"}', False),
        ("[" * 900 + "]" * 900, "[" * 900 + "1" + "]" * 900, None),
    ],
)
def test_values(fresh: str, kept: str, same: bool | None) -> None:
    assert agree("Extract it.", fresh, kept, None) is same


@pytest.mark.parametrize(
    ("question", "fresh", "kept", "cosine", "same"),
    [
        # yes and no
        ("Is it safe?", "Yes, it is safe.", "No, it isn't safe.", 0.97, False),
        ("Is it safe?", "No, it isn't.", "It is not safe at all.", 0.8, True),
        ("Is it safe?", "Yes.", "It is not safe at all.", 0.95, False),
        # numbers and units
        ("How tall is it?", "It is 8,849 m tall.", "It is 29,032 feet tall.", 0.6, True),
        ("How tall is it?", "It is 8,849 m tall.", "It is 8,611 m tall.", 0.99, False),
        ("How hot is it?", "It is 100 °C.", "About 212 °F.", 0.6, True),
        ("How many are there?", "There are twelve.", "There are 12 of them.", 0.6, True),
        ("How many live there?", "About 10.5 million.", "10,540,000 people.", 0.5, True),
        ("When was it?", "It was in 1918.", "It was in 1919.", 0.99, False),
        # names, opposites, directions
        ("Who wrote it?", "Jane Austen wrote it.", "It was Emily Brontë.", 0.95, False),
        ("How do I open it?", "To lock it, press A.", "To unlock it, press A.", 0.98, False),
        (
            "Convert it",
            "Multiply to get from kg to lb.",
            "Divide to get from lb to kg.",
            0.95,
            False,
        ),
        # code
        (
            "How do I sort it?",
            "Use this:\n```python\nx.sort()  # in place\n```",
            "You can sort it:\n```py\nx.sort()\n```",
            0.6,
            True,
        ),
        ("How do I sort it?", "```python\nx.sort()\n```", "```js\nx.sort()\n```", 0.95, False),
        # refusals
        ("How do I do it?", "Press A.", "I'm sorry, but I can't help with that.", 0.95, False),
        ("Say it formally.", "I am unable to attend.", "I am unable to attend it.", 0.95, True),
        # two poems
        ("Write a poem about it.", "Roses are red.", "Violets are blue.", 0.8, None),
        ("Write a poem about it.", "Roses are red.", "The engine is loud.", 0.3, False),
        # likeness alone
        ("Why is it so?", "Rain fell on warm ground all day.", "Wet soil steams.", 0.5, False),
        ("Why is it so?", "Rain fell on warm ground all day.", "Rain on warm ground.", 0.93, True),
    ],
)
def test_what_it_turns_on(
    question: str, fresh: str, kept: str, cosine: float, same: bool | None
) -> None:
    assert agree(question, fresh, kept, cosine) is same


PIECES = st.sampled_from(
    [
        *(
            "```",
            "```py\n",
            "\n",
            "- ",
            "**",
            "{",
            "}",
            '"a": ',
            "1,000",
            "5 °F",
            "\u0131",
            "s\u0131x",
        ),
        *(
            "Yes",
            "No, ",
            "Paris",
            " so ",
            "not ",
            "I'm sorry",
            "to ",
            "-\u22125",
            "9" * 400,
            ". ",
            "\0",
        ),
    ]
)


@given(st.lists(PIECES | st.text(max_size=20), max_size=12), st.lists(PIECES, max_size=12))
def test_no_text_breaks_it(fresh: list[str], kept: list[str]) -> None:
    one, other = "".join(fresh), "".join(kept)
    assert agree(other, one, other, 0.8) in (True, False, None)
    assert agree(one, one, one, 0.8) in ((None, True) if one.strip() else (None,))


@pytest.mark.parametrize(
    "piece",
    [
        "so ",
        "```",
        "[",
        "a to a ",
        "1,",
        "9",
        " ",
        ". ",
        "here is ",
        "what is ",
        "\n- ",
        "I'm sorry ",
    ],
)
def test_no_text_takes_long(piece: str) -> None:
    text = (piece * 20_000)[:40_000]
    began = perf_counter()
    agree(text, text, text + "x", 0.8)
    agree(text, "x" + text, text, 0.8)
    assert perf_counter() - began < 2.0
