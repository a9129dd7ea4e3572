"""What the door of tasks declares. The rest is tests/e2e/test_seed_task_endpoint.py's."""

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.doors.api import Api, Asked
from proxy.doors.task import PATH, TaskDoor, TaskRequest, TaskResult, origin_of
from proxy.errors import Overloaded
from proxy.types import Controls, Principal, Role


def test_one_operation_for_all_who_are_known() -> None:
    nothing: Any = None
    (route,) = TaskDoor(Api(nothing), nothing, nothing, nothing).routes()
    operation = route.endpoint.operation  # type: ignore[attr-defined]
    assert (operation.method, operation.path, PATH) == ("POST", "/api/llm", "/api/llm")
    assert operation.roles == {Role.ADMIN, Role.SERVICE, Role.USER, Role.KEY}
    assert (operation.body, operation.answer) == (TaskRequest, TaskResult)
    assert {400, 401, 404} <= set(operation.errors)


@pytest.mark.parametrize(
    "given", [{"taskType": "a"}, {"taskType": "a", "context": {"b": 1}, "more": 1, "user": [1]}]
)
def test_what_is_taken(given: Any) -> None:
    taken = TaskRequest.model_validate(given)
    assert (taken.task_type, taken.context) == ("a", given.get("context", {}))


@pytest.mark.parametrize(
    "given", [{}, {"taskType": None}, {"task_type": "a"}, {"taskType": "a", "context": None}]
)
def test_what_is_not(given: Any) -> None:
    with pytest.raises(ValidationError):
        TaskRequest.model_validate(given)


@pytest.mark.parametrize(
    ("principal", "user", "key_id"),
    [
        (Principal(Role.USER, None, "usr_1"), "usr_1", None),
        (Principal(Role.KEY, "key_1", "usr_1"), "usr_1", None),
        (Principal(Role.KEY, "key_1"), None, "key_1"),
        (Principal(Role.SERVICE), "usr_2", None),
        (Principal(Role.ADMIN), "usr_2", None),
        (Principal(Role.ADMIN, None, "usr_3"), "usr_3", None),
    ],
)
def test_nobody_makes_up_a_user_for_a_backend(
    principal: Principal, user: str | None, key_id: str | None
) -> None:
    origin = origin_of(principal, Controls(user="usr_2", job="j"), "req_1")
    assert origin == ("req_1", user, key_id, "j")


async def test_an_action_is_refused_where_too_much_is_under_way() -> None:
    class Full:
        def admit(self) -> None:
            raise Overloaded("full")

    config = SimpleNamespace(pipelines={}, actions={"a": None}, tasks={})
    live: Any = SimpleNamespace(current=SimpleNamespace(config=config))
    nothing: Any = None
    door = TaskDoor(Api(nothing), Full(), live, nothing)  # type: ignore[arg-type]
    request: Any = SimpleNamespace(scope={"headers": []})
    body = TaskRequest.model_validate({"taskType": "a"})
    with pytest.raises(Overloaded):
        await door.run(Asked(Principal(Role.ADMIN), request, body, None))
