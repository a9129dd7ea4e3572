"""What is forbidden and why, and what is let through, by examples written down here."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.semantic.guards import REASONS, read, veto

FORBIDDEN = [
    ("number", "Where is my order 48213?", "Where is my order 48231?"),
    ("number", "How many calories are in 3 eggs?", "how many calories are in five eggs"),
    ("number", "What is 15% of 240?", "What is 15% of 204?"),
    ("number", "Who was the second person on the moon?", "Who was the third person on the moon?"),
    ("number", "Write a haiku about rain.", "Write three haiku about rain."),
    ("number", "Why is flight LH456 late?", "Why is flight LH465 late?"),
    ("unit", "Can I send a 20 kg parcel to Spain?", "Can I send a 20 lb parcel to Spain?"),
    ("unit", "How many minutes are in a leap year?", "How many seconds are in a leap year?"),
    ("unit", "Plan a trip of three days to Rome.", "Plan a trip of three weeks to Rome."),
    ("time", "Which films came out in 1994?", "Which films came out in 1995?"),
    ("time", "Is the museum open on Mondays?", "is the museum open on a tuesday"),
    ("time", "What is the weather in Nice in May?", "What is the weather in Nice in October?"),
    ("time", "Set the alarm to 6:30 am please.", "Set the alarm to 6:30 pm please."),
    ("negation", "Which plants need direct sun?", "Which plants do not need direct sun?"),
    ("negation", "Why does my dog eat grass?", "Why doesn't my dog eat grass?"),
    ("antonym", "How do I enable dark mode in the app?", "How do I disable dark mode in the app?"),
    ("antonym", "What are the best phones of the year?", "What are the worst phones of the year?"),
    ("antonym", "How do I mute a chat in the app?", "How do I unmute a chat in the app?"),
    ("entity", "What is the capital of Norway?", "what is the capital of sweden"),
    ("entity", "How long do I boil an egg?", "How long do I boil a potato?"),
    ("entity", "How do I sort a list in Python?", "How do I sort a list in Rust?"),
    ("entity", "Who painted the Birth of Venus?", "Who painted the Night Watch?"),
    ("quoted", 'Translate "see you soon" to Dutch.', 'Translate "good night" to Dutch.'),
    ("quoted", "What does `git add -p` do here?", "What does `git stash pop` do here?"),
    ("order", "How do I get from Lyon to Nice?", "How do I get from Nice to Lyon?"),
    ("order", "How do I convert PNG to WEBP files?", "How do I convert WEBP to PNG files?"),
    ("order", "Do you ship furniture to Malta?", "Do you ship furniture from Malta?"),
    ("scope", "When did the old bridge collapse?", "Why did the old bridge collapse?"),
    ("scope", "Can I renew a passport online?", "Can I renew a passport for my baby online?"),
    ("format", "Compare tea and coffee in a table.", "Compare tea and coffee in an essay."),
    ("format", "List the G7 countries.", "List the G7 countries as JSON."),
    ("length", "Explain gravity in 50 words.", "Explain gravity in 200 words."),
    ("length", "Explain gravity.", "Explain gravity in two sentences."),
    ("length", "Give a brief overview of Rome.", "Give a detailed overview of Rome."),
    ("audience", "What is a black hole?", "Explain to a kindergartner what a black hole is."),
    ("language", "Explain in Spanish what a lease is.", "Explain in Italian what a lease is."),
    ("language", "Why is the sky blue?", "Why is the sky blue? Answer in French."),
    ("condition", "How do I clean a rug?", "How do I clean a rug without a vacuum?"),
    ("condition", "Can I cancel my order?", "Can I cancel my order if it was custom made?"),
]
SERVED = [
    ("How much is 3 kg in pounds?", "how many lbs are three kilograms"),
    ("What is 50% of 80?", "What's fifty percent of eighty?"),
    ("Is 1,000 metres a kilometre?", "Is 1000 meters a kilometer?"),
    ("How long do I bake a dozen muffins?", "How long do I bake 12 muffins?"),
    ("I earn 45k a year. How much tax do I pay?", "I earn 45,000 a year. How much tax do I pay?"),
    ("Plan a 2-hour workshop.", "Plan a workshop of 120 minutes."),
    ("What happened in World War II?", "what happened in ww2"),
    ("Does it open at 3 pm?", "Does it open at 15:00?"),
    ("What is the capital of the USA?", "What is the capital of the United States?"),
    ("What is the favourite colour of cats?", "what is the favorite color of cats?"),
    (
        "What's the best way to learn French?",
        "Hey, could you tell me the best way to learn French?",
    ),
    ("How do I recieve a parcel?", "How do I receive a parcel?"),
    ("How do I delete a file in Linux?", "how can i remove files on linux please"),
    ("What is the difference between TCP and UDP?", "What's the difference between UDP and TCP?"),
    ("Which is better, tea or coffee?", "which is better: coffee or tea"),
    ("How can I get rid of ants?", "I want to get rid of ants. How?"),
    ("How do I turn off notifications?", "How do I switch notifications off?"),
    ("Can you summarise it, not more than 50 words?", "Can you summarize it in at most 50 words?"),
    ("My order no. is 66407. Is it shipped?", "Is my order number 66407 shipped?"),
    ("What does GDP mean?", "What does gross domestic product mean?"),
    ("Is Pluto a planet?", "is pluto a planet or not"),
    ("Shut the window when it isn't warm?", "Close the window when it is not warm?"),
    ("WHAT IS THE CAPITAL OF PERU", "What is the capital of Peru?"),
    ("Qué hora es?", "Que hora es?"),
]


@pytest.mark.parametrize(("reason", "old", "new"), FORBIDDEN)
def test_a_plain_difference_forbids_with_its_reason(reason: str, old: str, new: str) -> None:
    assert veto(read(new), read(old)) == reason


@pytest.mark.parametrize(("_reason", "old", "new"), FORBIDDEN)
def test_it_forbids_both_ways(_reason: str, old: str, new: str) -> None:
    assert veto(read(old), read(new)) is not None


@pytest.mark.parametrize(("old", "new"), SERVED)
def test_the_same_in_other_words_is_served(old: str, new: str) -> None:
    assert veto(read(new), read(old)) is None
    assert veto(read(old), read(new)) is None


def test_the_first_reason_counts() -> None:
    old = "Write 3 short tips on skiing in Norway."
    new = "Write 5 short tips on skiing in Sweden."

    assert veto(read(new), read(old)) == "number"
    assert REASONS[:7] == ("number", "unit", "time", "negation", "antonym", "entity", "quoted")
    assert REASONS[7:11] == ("order", "scope", "format", "length")
    assert REASONS[11:] == ("audience", "language", "condition")


def test_a_shared_quotation_does_not_make_two_questions_alike() -> None:
    quote = '"Due to the rain we made the decision to stay at home with the dog."'

    assert veto(read(f"Make this shorter: {quote}"), read(f"{quote} - tighten it up")) is None


@given(st.text(max_size=200))
def test_no_text_is_forbidden_for_itself(text: str) -> None:
    reading = read(text)

    assert veto(reading, reading) is None
    assert veto(read(text), read(text)) is None


@given(st.text(max_size=120), st.text(max_size=120))
def test_any_two_texts_can_be_compared(one: str, other: str) -> None:
    assert veto(read(one), read(other)) in {None, *REASONS}


ODD = """
how do i not from to 3 1/2 12:30 20kg $5 \u20ac % \u00b0 -4 1,000 two hundred and half a dozen in
2024 May Monday "quoted text" `code` US Paris python no. or 9 am o'clock 5th II x401(k) 0x1F miles
per hour ... ! ? : 10 words one sentence german \u00bd \u0e01\u0e32 \u4f60\u597d
"""
WORDS = st.sampled_from(ODD.split())


@settings(max_examples=300)
@given(st.lists(WORDS, max_size=25), st.lists(WORDS, max_size=25))
def test_odd_mixtures_of_numbers_and_words_can_be_read(one: list[str], other: list[str]) -> None:
    mine, theirs = read(" ".join(one)), read("".join(other))

    assert veto(mine, theirs) in {None, *REASONS}
    assert veto(mine, mine) is None


@pytest.mark.parametrize(
    "text",
    [
        "a" * 100_000,
        "a_" * 50_000,
        "Ab" * 50_000,
        '"' * 100_000,
        "1," * 50_000,
        "not " * 25_000,
        "from to " * 12_500,
        " ".join(f"word{number}x" for number in range(10_000)),
        "'s" * 50_000,
        "\u0301" * 100_000,
    ],
)
def test_long_and_odd_texts_take_no_time(text: str) -> None:
    begun = time.thread_time()
    veto(read(text), read(text[::-1]))

    # Milliseconds; what grows with the square of such a text takes seconds.
    assert time.thread_time() - begun < 0.5
