"""What is read out of an answer: its point, numbers, names, yes or no."""

import pytest

from proxy.semantic.statements import quantities, read_statement, stem, stems


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("seven of 12", [(12, "count"), (7, "count")]),
        ("one of the 1,234,567", [(1_234_567, "count")]),
        ("in 1945", [(1945, "year")]),
        ("1,945 of them", [(1945, "count")]),
        ("10.5 million people", [(10_500_000, "count")]),
        ("5 km, or 3.107 miles", [(5000, "length"), (5000.2, "length")]),
        ("2 lbs", [(907.2, "mass")]),
        ("10\u201312 minutes", [(600, "time"), (720, "time")]),
        ("10 to 12 minutes", [(600, "time"), (720, "time")]),
        ("two weeks", [(14, "day")]),
        ("36%", [(36, "percent")]),
        ("$5 or €6", [(5, "money"), (6, "euro")]),
        ("212 °F", [(100, "temperature")]),
        ("0 degrees Celsius", [(0, "temperature")]),
        ("-40°C", [(-40, "temperature")]),
        ("GPT-4, B52, v1.2.3", [(4, "count")]),
        ("s\u0131x", []),
    ],
)
def test_quantities(text: str, found: list[tuple[float, str]]) -> None:
    read = [(quantity.value, quantity.dimension) for quantity in quantities(text)]
    assert [dimension for _, dimension in read] == [dimension for _, dimension in found]
    assert [value for value, _ in read] == pytest.approx([value for value, _ in found], rel=1e-4)


@pytest.mark.parametrize(
    ("text", "lead"),
    [
        (
            "Sure! Here is the answer:\n\nParis is the **capital**. It is big.",
            "Paris is the capital.",
        ),
        ("Yes. It is safe. Always.", "It is safe."),
        ("# Title\n\nDr. Who asks e.g. this. Then that.", "Dr. Who asks e.g. this."),
        ("Use `a.txt . to` copy. Then run.", "Use a.txt . to copy."),
        ("To find 15% of 240, multiply:\n\n240 \u00d7 0.15 = 36\n\nSo, it is 36.", "So, it is 36."),
        ("```py\nx = 1\n```", "x = 1"),
        ("", ""),
    ],
)
def test_the_sentence_that_answers(text: str, lead: str) -> None:
    assert read_statement(text).lead == lead


@pytest.mark.parametrize(
    ("text", "is_positive"),
    [
        ("Yes, it is.", True),
        ("**Absolutely!** It is.", True),
        ("Botanically speaking, yes: it is.", True),
        ("No. It isn't.", False),
        ("Nope", False),
        ("No longer", None),
        ("Nobody knows.", None),
        ("It is not.", None),
        ("Nothing.", None),
    ],
)
def test_yes_and_no(text: str, is_positive: bool | None) -> None:
    assert read_statement(text).is_positive is is_positive


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("The capital of France is Paris.", {"france", "paris"}),
        ("Boil the egg in water.", set()),
        ("Alexander Graham Bell did it.", {"alexander", "graham", "bell"}),
        ("TCP is reliable.", {"tcp"}),
        ("Paris", {"paris"}),
        ("France's king", set()),
        ("It is 212 °F, or 100 Celsius.", set()),
    ],
)
def test_names(text: str, names: set[str]) -> None:
    assert read_statement(text).names == names


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I cannot assist with this.", True),
        ("As an AI language model, I can't provide advice.", True),
        ("I don't have access to your files.", True),
        ("I am unable to attend.", False),
        ("Sorry, we are closed.", False),
        ("You can't do that.", False),
    ],
)
def test_refusals(text: str, refuses: bool) -> None:
    assert read_statement(text).refuses is refuses


@pytest.mark.parametrize(
    ("words", "alike"),
    [
        ("disable disabled disables disabling", "disabl"),
        ("decrease decreased decreasing", "decreas"),
        ("dog dogs dog's", "dog"),
        ("berry berries", "berri"),
        ("glass", "glass"),
    ],
)
def test_endings(words: str, alike: str) -> None:
    assert {stem(word) for word in words.split()} == {alike}


def test_words_that_say_nothing_are_left_out() -> None:
    assert stems("What is the capital of France, in 3 words?") == {"capital", "franc", "word"}
