"""Plain forms."""

import pytest

from proxy.semantic.guards.lemmas import lemma
from proxy.semantic.guards.synonyms import LEXICON


@pytest.mark.parametrize(
    ("forms", "plain"),
    [
        ("buy buys buying bought", "buy"),
        ("make making made", "make"),
        ("plan plans planning planned", "plan"),
        ("open opening opened", "open"),
        ("change changing changed changes", "change"),
        ("include including included", "include"),
        ("visit visiting visited", "visit"),
        ("fill filling filled", "fill"),
        ("child children kids", "child"),
        ("box boxes", "box"),
        ("city cities", "city"),
        ("bus buses", "bus"),
        ("organise organizing organised", "organize"),
        ("colour colours colored", "color"),
        ("analyse analyzing", "analyze"),
        ("travel travelling travelled", "travel"),
        ("centre centers", "center"),
        ("large larger largest", "large"),
        ("happy happier happiest happily", "happy"),
        ("advise advised advising", "advise"),
        ("raise raised", "raise"),
        ("thing", "thing"),
        ("paris", "paris"),
        ("family families", "family"),
        ("news", "news"),
    ],
)
def test_all_forms_of_a_word_have_one_plain_form(forms: str, plain: str) -> None:
    assert {lemma(form) for form in forms.split()} == {plain}


@pytest.mark.parametrize(
    ("one", "other"),
    [("hop", "hope"), ("care", "car"), ("plan", "plane"), ("use", "us"), ("news", "new")],
)
def test_different_words_stay_apart(one: str, other: str) -> None:
    assert lemma(one) != lemma(other)


def test_no_word_stands_for_itself_in_two_groups() -> None:
    heads = set(LEXICON.canon.values())

    assert {head: LEXICON.canon.get(head, head) for head in heads} == {h: h for h in heads}
