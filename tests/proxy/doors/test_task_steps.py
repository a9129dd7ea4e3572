"""What steps are given. That they run, fail and are cut is tests/e2e/test_seed_task_endpoint.py's
business."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from proxy.client import CONNECTION
from proxy.config import Task
from proxy.config_types import Pipeline
from proxy.doors.chats import Answer, Judge, Wanted
from proxy.doors.task_steps import Asker, Run
from proxy.errors import InvalidRequest, Upstream
from proxy.types import Controls, Outcome, Principal, Record, Role

ECHO = Task.model_validate({"targets": ["up/m"], "prompt": {"user": "{{ context | json }}"}})
SHORT = Task.model_validate({"targets": ["up/m"], "prompt": {"user": "{{ word }}"}})
FORMED = SHORT.model_copy(update={"answer_schema": {"type": "object"}})
TASKS = {"echo": ECHO, "short": SHORT, "formed": FORMED}


class Chats:
    """Answers each call with what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.at_once = self.most = 0

    async def ask_one(
        self, principal: Principal, wanted: Wanted, client: Any, judge: Judge
    ) -> Answer:
        text = wanted.body["messages"][0]["content"]
        self.asked.append(text)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        record = Record("req_1")
        record.outcome = Outcome.OK
        answer = Answer({"choices": [{"message": {"content": text}}]}, record, "")
        judge(answer)
        return answer


def scope(lost: bool = False) -> Any:
    return {"extensions": {CONNECTION: SimpleNamespace(is_lost=lost, on_lost=None)}}


async def run(steps: Any, context: Any, chats: Chats | None = None, lost: bool = False) -> Any:
    pipeline = Pipeline.model_validate({"steps": steps})
    asker: Any = Asker(chats or Chats(), Principal(Role.ADMIN), Controls(), TASKS)  # type: ignore[arg-type]
    return await Run("p", pipeline, asker, context).result(scope(lost))


def contents(results: Any) -> Any:
    return [each["content"] for each in results]


async def test_with_takes_from_the_context_and_from_earlier_results() -> None:
    steps = [
        {"task": "short"},
        {"task": "short", "name": "again", "with": {"word": "steps.short.content"}},
        {"task": "short", "name": "other", "with": {"word": "deep.0.word"}},
        {"task": "short", "name": "same", "with": {"word": "nothing.here"}},
    ]
    found = await run(steps, {"word": "one", "deep": [{"word": "two"}]})
    said = {name: result["content"] for name, result in found["steps"].items()}
    assert said == {"short": "one", "again": "one", "other": "two", "same": "one"}


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
async def test_when_skips(value: Any) -> None:
    found = await run([{"task": "short", "when": "wish"}], {"wish": value})
    assert (found["steps"], found["metadata"]["skipped"]) == ({}, ["short"])


async def test_each_keeps_the_order_and_is_not_all_at_once() -> None:
    chats = Chats()
    steps = [{"task": "short", "each": "words", "with": {"word": "item"}}]
    found = await run(steps, {"words": [f"w{n}" for n in range(9)]}, chats)
    assert contents(found["steps"]["short"]) == [f"w{n}" for n in range(9)]
    assert chats.most == 4


async def test_each_of_nothing_is_nothing() -> None:
    assert (await run([{"task": "short", "each": "words"}], {"words": []}))["steps"] == {
        "short": []
    }


@pytest.mark.parametrize("words", [None, "text", {"a": 1}, ["w"] * 51])
async def test_each_wants_a_list_of_bounded_length(words: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await run([{"task": "short", "each": "words"}], {"words": words})
    assert caught.value.param == "context.words"


async def test_each_of_a_result_that_is_no_list_is_not_the_callers_fault() -> None:
    steps = [{"task": "short"}, {"task": "short", "name": "b", "each": "steps.short.content"}]
    with pytest.raises(Upstream) as caught:
        await run(steps, {"word": "w"})
    assert caught.value.status == 502


async def test_a_caller_can_not_make_up_results() -> None:
    steps = [{"task": "short", "with": {"word": "steps.secret.content"}}]
    found = await run(steps, {"steps": {"secret": {"content": "x"}}, "word": "mine"})
    assert found["steps"]["short"]["content"] == "mine"


async def test_nobody_who_left_is_worked_for() -> None:
    chats = Chats()
    with pytest.raises(ClientDisconnect):
        await run([{"task": "short"}, {"task": "echo"}], {}, chats, lost=True)
    assert chats.asked == []


async def test_an_answer_out_of_form_is_judged_before_its_row_is_closed() -> None:
    judged: list[str] = []

    class Closing(Chats):
        async def ask_one(
            self, principal: Principal, wanted: Wanted, client: Any, judge: Judge
        ) -> Answer:
            def noted(answer: Answer) -> None:
                try:
                    judge(answer)
                except Upstream as error:
                    judged.append(error.code)
                    raise

            return await super().ask_one(principal, wanted, client, noted)

    with pytest.raises(Upstream) as caught:
        await run([{"task": "formed"}], {"word": "no JSON"}, Closing())
    assert (caught.value.status, judged) == (502, ["invalid_upstream_response"])
    found = await run([{"task": "formed"}], {"word": '{"a": 1}'}, Closing())
    assert (found["steps"], len(judged)) == ({"formed": {"a": 1}}, 1)
