"""From a task and a context to a call, and from an answer to a result."""

from typing import Any

import orjson
import pytest

from adapters.base import Endpoint, Usage
from proxy.config import Task
from proxy.doors import task_call
from proxy.doors.chats import Answer
from proxy.errors import InvalidRequest, Upstream
from proxy.types import Controls, Outcome, Record

STRICT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["a"],
    "properties": {"a": {"type": "string"}},
}


def task(**fields: Any) -> Task:
    return Task.model_validate({"targets": ["up/m"], **fields})


def call(context: Any, **fields: Any) -> Any:
    return task_call.wanted("t", task(**fields), context, Controls(job="j"))


def answer(body: Any, usage: Usage | None = None) -> Answer:
    record = Record("req_1")
    record.provider, record.model, record.usage = "up", "m", usage
    record.outcome = Outcome.OK
    return Answer(body, record, "miss")


def chat(text: Any, finish: str = "stop") -> Answer:
    return answer({"choices": [{"message": {"content": text}, "finish_reason": finish}]})


class TestWanted:
    def test_the_name_is_the_tasks(self) -> None:
        wanted = call({"prompt": "p"})
        assert (wanted.name, wanted.endpoint) == ("task/t", Endpoint.CHAT)
        assert wanted.body == {"messages": [{"role": "user", "content": "p"}]}
        assert wanted.controls.job == "j"

    def test_an_empty_system_prompt_is_left_out(self) -> None:
        prompt = {"system": "{{ tone }}", "user": "{{ ask }}"}
        wanted = call({"ask": "a"}, prompt=prompt)
        assert wanted.body == {"messages": [{"role": "user", "content": "a"}]}

    def test_a_prompt_that_can_not_be_made_names_the_task(self) -> None:
        with pytest.raises(InvalidRequest) as caught:
            call({"a": "secret"}, prompt={"user": "{{ a + 1 }}"})
        assert caught.value.param == "context"
        assert "'t'" in caught.value.message
        assert "secret" not in caught.value.message

    @pytest.mark.parametrize(
        ("schema", "strict"),
        [
            (STRICT, True),
            ({"type": "object"}, False),
            ({**STRICT, "required": []}, False),
            ({**STRICT, "additionalProperties": True}, False),
            ({**STRICT, "properties": {"a": {"type": "object"}}}, False),
            ({**STRICT, "properties": {"a": {"type": "array", "items": STRICT}}}, True),
            ({**STRICT, "properties": {"a": {"anyOf": [STRICT, {"type": "object"}]}}}, False),
            ({"type": "array", "items": {"type": "string"}}, True),
        ],
    )
    def test_a_schema_is_strict_where_it_may_be(self, schema: Any, strict: bool) -> None:
        wanted = task_call.wanted("a/b c", task(schema=schema), {}, Controls())
        assert wanted.body["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "a_b_c", "strict": strict, "schema": schema},
        }

    def test_a_picture(self) -> None:
        wanted = call({"prompt": "p", "n": 2, "size": "auto", "model": "x"}, endpoint="images")
        assert wanted.endpoint is Endpoint.IMAGES
        assert wanted.body == {"prompt": "p", "n": 2, "size": "auto"}


class TestResult:
    @pytest.mark.parametrize("text", ["", None])
    def test_no_words_are_empty_words(self, text: Any) -> None:
        assert task_call.result("t", task(), chat(text))["content"] == ""

    def test_thoughts_are_apart(self) -> None:
        used = Usage(prompt=10, completion=30, reasoning=25)
        said = task_call.usage(answer({}, used))
        assert said == {
            "inputTokens": 10,
            "outputTokens": 5,
            "thoughtsTokens": 25,
            "totalTokens": 40,
            "costUsd": 0.0,
        }

    def test_pictures(self) -> None:
        body = {"data": [{"url": "https://x.test/1"}, {"b64_json": "QQ==", "revised_prompt": "r"}]}
        found = task_call.result("t", task(endpoint="images"), answer(body, Usage(images=2)))
        assert found["content"] == ["https://x.test/1", "data:image/png;base64,QQ=="]
        assert found["usage"]["images"] == 2
        assert found["metadata"]["revisedPrompts"] == [None, "r"]

    def test_json_of_the_schema(self) -> None:
        assert task_call.result("t", task(schema=STRICT), chat('{"a": "x"}')) == {"a": "x"}

    @pytest.mark.parametrize("text", ["", "x", "[1]", '{"b": 1}', "```\n{}\n```"])
    def test_what_is_none_fails_the_request(self, text: str) -> None:
        given = chat(text, "content_filter")
        with pytest.raises(Upstream) as caught:
            task_call.result("t", task(schema=STRICT), given)
        assert (caught.value.status, caught.value.code) == (502, "invalid_upstream_response")
        assert "content_filter" in caught.value.message
        assert given.record.outcome is Outcome.FAILED

    def test_all_of_it_is_json(self) -> None:
        orjson.dumps(task_call.result("t", task(), chat("x")))


@pytest.mark.parametrize(
    ("context", "job"),
    [
        ({"refinedJob": {"jobId": "c"}}, "c"),
        ({"jobId": True, "job": {"id": 0}}, "0"),
        ({"jobId": "x" * 300}, "x" * 256),
        ({}, None),
    ],
)
def test_job_of(context: Any, job: str | None) -> None:
    assert task_call.job_of(context) == job
