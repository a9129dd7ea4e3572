"""`POST /api/llm`: a named task and its context in, its result out.

A name is a pipeline, an action, or a task, in this order. All three are data of the configuration
(docs/tasks.md).
"""

from typing import Any, Protocol

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from proxy.actions import Actions, Origin
from proxy.config import Config
from proxy.doors import controls as control
from proxy.doors import task_call
from proxy.doors.api import KNOWN, Api, Asked, Lenient, Operation, Strict, answer
from proxy.doors.chats import Chats
from proxy.doors.task_steps import Asker, Run
from proxy.errors import InvalidRequest, ModelNotFound
from proxy.ids import request_name
from proxy.middleware.request_id import REQUEST_ID
from proxy.pipeline import Snapshot
from proxy.routing import TASK_PREFIX
from proxy.types import Controls, Principal, Role

PATH = "/api/llm"


class TaskRequest(Lenient):
    """A task and its context. `user` names the customer where a service calls."""

    task_type: str = Field(alias="taskType")
    context: dict[str, Any] = Field(default={})
    user: Any = None


class TaskResult(Strict):
    """The task, and what came of it: text with its usage, the JSON of the task's schema, the
    results of a pipeline's steps, or a backend's answer."""

    task_type: str = Field(alias="taskType")
    result: Any


class Current(Protocol):
    """Gives the configuration in force."""

    @property
    def current(self) -> Snapshot: ...


class TaskDoor:
    """Handlers over the pipeline, and over the backends of actions."""

    def __init__(self, api: Api, chats: Chats, live: Current, actions: Actions) -> None:
        self._api = api
        self._chats = chats
        self._live = live
        self._actions = actions

    def routes(self) -> list[BaseRoute]:
        """The routes of this door."""
        return [self._api.route(operation) for operation in self._operations()]

    def _operations(self) -> list[Operation]:
        return [
            Operation(
                "POST",
                PATH,
                self.run,
                KNOWN,
                "Runs a task, a pipeline of tasks, or an action",
                body=TaskRequest,
                answer=TaskResult,
                errors=(400, 401, 404, 429, 501, 502, 503, 504),
            )
        ]

    async def run(self, asked: Asked) -> Response:
        """`{taskType, result}`."""
        given: TaskRequest = asked.body
        config = self._live.current.config
        name, context = given.task_type, given.context
        controls = _controls(asked.request, given)
        if name in config.pipelines:
            asker = Asker(self._chats, asked.principal, controls, config.tasks)
            run = Run(name, config.pipelines[name], asker, context)
            result = await run.result(asked.request.scope)
        elif name in config.actions:
            result = await self._act(asked, config, name, controls)
        elif name in config.tasks:
            task = config.tasks[name]
            wanted = task_call.wanted(name, task, context, controls)
            said = await self._chats.ask(asked.request.scope, asked.principal, wanted)
            result = task_call.result(name, task, said)
        else:
            raise _unknown(config, asked.principal, name)
        return answer({"taskType": name, "result": result})

    async def _act(self, asked: Asked, config: Config, name: str, controls: Controls) -> Any:
        principal = asked.principal
        if not principal.may_use(TASK_PREFIX + name):
            raise ModelNotFound(f"this key may not use {TASK_PREFIX + name!r}", param="taskType")
        self._chats.admit()
        request_id = request_name(asked.request.scope[REQUEST_ID])
        origin = origin_of(principal, controls, request_id)
        return await self._actions.run(config, name, asked.body.context, origin)


def origin_of(principal: Principal, controls: Controls, request_id: str) -> Origin:
    """Whom a backend is told that an action is for: nobody whom the caller could make up."""
    user = principal.user_id
    if user is None and principal.role in (Role.ADMIN, Role.SERVICE):
        user = controls.user
    key_id = principal.key_id if user is None else None
    return Origin(request_id, user, key_id, controls.job)


def _controls(request: Request, given: TaskRequest) -> Controls:
    """What the headers ask, with the job of the context. The task is the body's alone."""
    headers = control.first_of_each(request.scope)
    user = {"user": given.user} if isinstance(given.user, str) else {}
    asked = control.read(headers, user)
    job = task_call.job_of(given.context) or asked.job
    return asked._replace(task=None, job=job)


def _unknown(config: Config, principal: Principal, name: str) -> InvalidRequest:
    names = {*config.tasks, *config.pipelines, *config.actions}
    known = sorted(each for each in names if principal.may_use(TASK_PREFIX + each))
    message = f"unsupported taskType {name[:100]!r}; there are {', '.join(known) or 'none'}"
    return InvalidRequest(message, param="taskType", code="unsupported_task_type")
