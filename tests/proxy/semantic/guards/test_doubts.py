"""The features of a pair, each by an example that moves it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.semantic.guards import DOUBTS, doubts, read

PLAIN = "How do I clean a wool carpet?"
RAISED = [
    ("new lacks", PLAIN, "How do I clean a wool carpet that smells of smoke?"),
    ("old lacks", "How do I clean a wool carpet that smells of smoke?", PLAIN),
    ("unlike", PLAIN, "Who wrote Hamlet?"),
    ("new specific", PLAIN, "How do I clean a wool scarf with bleach?"),
    ("old specific", "How do I clean a wool scarf with bleach?", PLAIN),
    ("both specific", PLAIN, "How do I clean a leather sofa?"),
    ("only new", PLAIN, "How do I clean a wool carpet with vinegar?"),
    ("only old", "How do I clean a wool carpet with vinegar?", PLAIN),
    ("slot", PLAIN, "How do I clean a silk carpet?"),
    ("bound", PLAIN, "How do I clean a wool carpet without vinegar?"),
    ("kind", PLAIN, "Tell me how leather and a carpet are cleaned."),
    ("names", "Who leads the church in Rome?", "Who leads the church in Cairo?"),
    ("antonym", "What is hot?", "Is anything cold on Mars?"),
    ("negation", PLAIN, "How do I not ruin a wool carpet?"),
    ("negatives", PLAIN, "How do I not ruin a wool carpet?"),
    ("denials", PLAIN, "How do I avoid stains on a wool carpet?"),
    ("numbers", "Give me 3 tips.", "Give me 4 tips."),
    ("large number", "Give me tips.", "Give me 40 tips."),
    ("ordinals", "Who came first?", "Who came second?"),
    ("units", "How many miles is it?", "How many kilometers is it?"),
    ("dates", "What happened in 1989?", "What happened in 1990?"),
    ("question", "When was it built?", "Where was it built?"),
    ("task", "Translate the text.", "Summarize the text."),
    ("attribute", "What does it cost?", "How old is it?"),
    ("conditions", PLAIN, "How do I clean a wool carpet before summer?"),
    ("quantifiers", PLAIN, "How do I clean only half of a wool carpet?"),
    ("comparison", "Which is larger?", "Which is cheapest?"),
    ("swapped", "How do I get from Lyon to Nice?", "How do I get from Nice to Lyon?"),
    ("inversions", "red wine beats white beer", "beer white beats wine red"),
    ("person", "What can I do?", "What can he do?"),
    ("kin", "How do I calm my son?", "How do I calm my boss?"),
    ("tense", "Is it legal?", "Was it legal?"),
    ("quoted", 'What does "ciao" mean?', 'What does "bella" mean?'),
    ("code", "What is read_csv?", "What is to_json?"),
    ("format", "Give me a table.", "Give me a poster."),
    ("shape", "Say it as JSON.", "Say it as YAML."),
    ("length", "Say it in 50 words.", "Say it in 90 words."),
    ("manner", "A brief report.", "A detailed report."),
    ("audience", "For a child.", "For a professor."),
    ("language", "Say it in Dutch.", "Say it in Greek."),
    ("longer", "Rice?", "How is rice cooked in a pot over a fire?"),
]


def value(name: str, new: str, old: str) -> float:
    return doubts(read(new), read(old))[DOUBTS.index(name)]


@pytest.mark.parametrize(("name", "old", "new"), RAISED)
def test_a_difference_raises_its_feature(name: str, old: str, new: str) -> None:
    assert value(name, new, old) > value(name, old, old) == 0


def test_every_feature_has_its_example() -> None:
    assert [name for name, *_ in RAISED] == [name for name in DOUBTS if name != "few words"]


def test_few_words_are_little_to_go_by() -> None:
    assert value("few words", "Rice?", "Rice?") == 0.5
    assert value("few words", PLAIN, PLAIN) == 0.25


def test_shares_are_counted() -> None:
    # carpet, clean, wool; of smoke and smell the one lacks both
    longer = "How do I clean a wool carpet smelling of smoke?"

    assert value("new lacks", longer, PLAIN) == pytest.approx(2 / 5)
    assert value("old lacks", longer, PLAIN) == 0
    assert value("unlike", longer, PLAIN) == pytest.approx(2 / 5)


def test_rephrasings_raise_little() -> None:
    old = "How do I delete a file in Linux?"
    new = "please tell me how to remove files on linux"

    raised = {n for n, v in zip(DOUBTS, doubts(read(new), read(old)), strict=True) if v > 0}
    assert raised <= {"few words", "longer", "question", "person", "tense"}


@given(st.text(max_size=150), st.text(max_size=150))
def test_features_stay_within_their_bounds(one: str, other: str) -> None:
    values = doubts(read(one), read(other))

    assert len(values) == len(DOUBTS)
    assert all(0 <= value <= 1 for value in values)
