"""Which requests may be answered by meaning: none, unless all of it is words."""

from typing import Any

import pytest

from adapters.base import Endpoint
from proxy.cache.policy import Meaning
from proxy.cache.questions import Asked, read_question
from tests.adapters.asks import ask

COLD = Meaning(0.01, 0.8, 0.05, True, 0.3, frozenset())
WARM = Meaning(0.01, 0.8, 0.05, True, 2.0, frozenset())
WORDS = "Who made the clock?"
USER = {"role": "user", "content": WORDS}
SYSTEM = {"role": "system", "content": "Be brief."}
SAID = {"role": "assistant", "content": "Yes."}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}


def read(meaning: Meaning = WARM, **body: Any) -> Asked | str:
    return read_question(ask(**{"messages": [USER], **body}), meaning)


def part(text: str, kind: str = "text") -> dict[str, Any]:
    return {"type": kind, "text": text}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, Asked(WORDS, "messages", [{"role": "user", "content": None}])),
        (
            {"messages": [SYSTEM, SAID, {**USER, "name": "zoe"}]},
            Asked(
                WORDS, "messages", [SYSTEM, SAID, {"role": "user", "content": None, "name": "zoe"}]
            ),
        ),
        (
            {"messages": [{"role": "user", "content": [{**part(WORDS), "cache_control": {}}]}]},
            Asked(
                WORDS,
                "messages",
                [
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": None, "cache_control": {}}],
                    }
                ],
            ),
        ),
        (
            {"endpoint": Endpoint.MESSAGES, "system": "Be brief."},
            Asked(WORDS, "messages", [{"role": "user", "content": None}]),
        ),
        ({"endpoint": Endpoint.RESPONSES, "input": WORDS}, Asked(WORDS, "input", None)),
        (
            {
                "endpoint": Endpoint.RESPONSES,
                "input": [{"role": "user", "content": [part(WORDS, "input_text")]}],
            },
            Asked(
                WORDS,
                "input",
                [{"role": "user", "content": [{"type": "input_text", "text": None}]}],
            ),
        ),
    ],
)
def test_the_question_and_what_it_was_asked_in(body: dict[str, Any], expected: Asked) -> None:
    assert read(**body) == expected


def test_the_request_is_left_as_it_was() -> None:
    given = ask(messages=[SYSTEM, USER])
    read_question(given, WARM)
    assert given.body["messages"] == [SYSTEM, USER]


@pytest.mark.parametrize("endpoint", [Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS, Endpoint.IMAGES])
def test_only_conversations_have_one(endpoint: Endpoint) -> None:
    assert read(endpoint=endpoint, prompt=WORDS, input=WORDS) == "endpoint"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"functions": [{"name": "f"}]}, "tools"),
        ({"tool_choice": "none"}, "tools"),
        ({"web_search_options": {"x": 1}}, "tools"),
        ({"mcp_servers": [{}]}, "tools"),
        ({"logprobs": True}, "parameters"),
        ({"top_logprobs": 2}, "parameters"),
        ({"logit_bias": {"1": 1}}, "parameters"),
        ({"modalities": ["text", "audio"]}, "parameters"),
        ({"prediction": {"type": "content"}}, "parameters"),
        ({"prompt": {"id": "pmpt_1"}}, "parameters"),
        ({"n": 2}, "choices"),
        ({"temperature": 2.01}, "temperature"),
    ],
)
def test_parameters_that_words_do_not_carry(body: dict[str, Any], reason: str) -> None:
    assert read(**body) == reason


@pytest.mark.parametrize(
    "body", [{"tools": []}, {"logprobs": False}, {"n": 1}, {"n": None}, {"temperature": 2}]
)
def test_parameters_that_say_nothing(body: dict[str, Any]) -> None:
    assert isinstance(read(**body), Asked)


@pytest.mark.parametrize(
    ("temperature", "is_fit"), [(0, True), (0.3, True), (0.31, False), (None, False)]
)
def test_the_temperature_that_meaning_may_have(temperature: float | None, is_fit: bool) -> None:
    found = read(COLD, temperature=temperature)
    assert isinstance(found, Asked) if is_fit else found == "temperature"


def test_a_tasks_parameters_count() -> None:
    given = ask(messages=[USER])._replace(defaults={"tools": [{}]})
    assert read_question(given, WARM) == "tools"
    cold = ask(messages=[USER])._replace(defaults={"temperature": 0})
    assert isinstance(read_question(cold, COLD), Asked)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([SYSTEM], "conversation"),
        ([USER, SAID], "conversation"),
        ([USER, {"role": "tool", "content": "21", "tool_call_id": "c"}], "content"),
        ([{"role": "user", "content": [part(WORDS), PICTURE]}], "content"),
        ([{"role": "user", "content": [PICTURE]}, SAID, USER], "content"),
        ([{"role": "user", "content": [part("a b c"), part("d e f")]}], "content"),
        ([{"role": "user", "content": []}], "content"),
        ([{"role": "user", "content": None}], "content"),
        ([{"role": "user"}], "content"),
        ([{"role": "user", "content": [{"type": "text", "text": 7}]}], "content"),
        ([{"role": "user", "content": ["words"]}], "content"),
        ([{**SAID, "tool_calls": [{}]}, USER], "content"),
        ([{**SAID, "function_call": {"name": "f"}}, USER], "content"),
        ([{**SAID, "audio": {"id": "a"}}, USER], "content"),
        ([{"role": "assistant", "content": [{"type": "thinking"}]}, USER], "content"),
        (["words"], "content"),
        ([], "conversation"),
        ({"role": "user"}, "conversation"),
    ],
)
def test_conversations_that_are_more_than_words(turns: Any, reason: str) -> None:
    given = ask()
    given = given._replace(body={**given.body, "messages": turns})
    assert read_question(given, WARM) == reason


def test_items_of_responses_that_are_no_messages() -> None:
    result = {"type": "function_call_output", "call_id": "c", "output": "21"}
    assert read(endpoint=Endpoint.RESPONSES, input=[USER, result]) == "content"
    assert read(endpoint=Endpoint.RESPONSES, input=[{"type": "item_reference"}]) == "content"


@pytest.mark.parametrize(
    ("text", "is_fit"),
    [
        ("", False),
        ("ab", False),
        ("first", False),
        ("test 1", False),
        ("7 prime?", False),
        ("bmi formula", True),
        ("日本の首都は", True),
        ("ab" * 298 + " ab.", True),
        ("ab" * 298 + " ab..", False),
    ],
)
def test_how_long_a_question_is(text: str, is_fit: bool) -> None:
    found = read(messages=[{"role": "user", "content": text}])
    assert isinstance(found, Asked) if is_fit else found == "length"


@pytest.mark.parametrize(
    "text",
    [
        "What is the weather in Rome?",
        "Who is the current mayor of Rome?",
        "What happened yesterday?",
        "Tell me the LATEST results",
        "When does the bank open this Monday?",
        "Is it open next week?",
        "what time is it in Tokyo",
        "The exchange rate of the euro",
        "Give me an up-to-date list",
    ],
)
def test_words_that_lean_on_the_moment(text: str) -> None:
    turns = [{"role": "user", "content": text}]
    assert read(messages=turns) == "volatile"
    allowed = Meaning(0.01, 0.8, 0.05, True, 2.0, frozenset({"volatile"}))
    assert isinstance(read(allowed, messages=turns), Asked)


@pytest.mark.parametrize(
    "text",
    [
        "Where is my order 48213?",
        "Cancel our booking no. AB-1234",
        "My name is Zoe, greet me",
        "Write to zoe@example.com",
        "Call me on +49 170 1234567",
        "Charge the card 4111 1111 1111 1111",
    ],
)
def test_words_that_lean_on_the_person(text: str) -> None:
    turns = [{"role": "user", "content": text}]
    assert read(messages=turns) == "personal"
    allowed = Meaning(0.01, 0.8, 0.05, True, 2.0, frozenset({"personal"}))
    assert isinstance(read(allowed, messages=turns), Asked)


@pytest.mark.parametrize(
    "text",
    [
        "How do I reset my password?",
        "What is knowledge?",
        "Who painted the ceiling in 1512?",
        "Sort my list of names",
    ],
)
def test_words_that_are_anybodys(text: str) -> None:
    assert isinstance(read(messages=[{"role": "user", "content": text}]), Asked)
