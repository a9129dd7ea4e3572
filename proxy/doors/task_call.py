"""A task and a context -> the call that the pipeline is asked, and its answer -> a result. Pure."""

import time
from collections.abc import Mapping
from typing import Any

import orjson

from adapters.answers.fitness import is_of_form
from adapters.base import Endpoint, JsonObject, Usage
from proxy.config import Task
from proxy.doors.chats import Answer, Wanted
from proxy.doors.controls import VALUE_LIMIT, check_forwardable
from proxy.errors import InvalidRequest, Upstream
from proxy.ids import request_name
from proxy.prompts import PromptError, find, render
from proxy.routing import TASK_PREFIX
from proxy.times import iso_now
from proxy.types import Controls, Outcome

JOBS = ("jobId", "job.id", "refinedJob.jobId")
"""Where a context names its job; the first that does counts."""

PICTURE = ("n", "size", "quality", "background", "output_format")
"""Members of a context that a task of pictures passes on, in OpenAI's words."""


def job_of(context: JsonObject) -> str | None:
    """The job that a context names. Raises `InvalidRequest` for a control character in it."""
    for place in JOBS:
        found = find(context, place)
        if isinstance(found, str | int) and not isinstance(found, bool) and str(found):
            job = str(found)[:VALUE_LIMIT]
            check_forwardable(job, f"context.{place}")
            return job
    return None


def wanted(name: str, task: Task, context: JsonObject, controls: Controls) -> Wanted:
    """The call that a task is for this context. Raises `InvalidRequest`."""
    try:
        if task.endpoint == "images":
            body, endpoint = _picture(task, context), Endpoint.IMAGES
        else:
            body, endpoint = _chat(name, task, context), Endpoint.CHAT
        orjson.dumps(body)
    except PromptError as error:
        message = f"the prompt of task {name!r} can't be made of this context: {error}"
        raise InvalidRequest(message, param="context") from None
    except TypeError:
        raise InvalidRequest("'context' has too many levels", param="context") from None
    return Wanted(TASK_PREFIX + name, body, controls, endpoint)


def _chat(name: str, task: Task, context: JsonObject) -> dict[str, Any]:
    prompt = task.prompt
    messages: list[Any] = []
    if prompt.system is not None and (system := render(prompt.system, context)):
        messages.append({"role": "system", "content": system})
    if prompt.user is not None:
        messages.append({"role": "user", "content": render(prompt.user, context)})
    elif _are_messages(context.get("messages")):
        messages += context["messages"]
    else:
        messages.append({"role": "user", "content": _as_text(context)})
    body: dict[str, Any] = {"messages": messages}
    if task.answer_schema is not None:
        body["response_format"] = _format(name, task.answer_schema)
    return body


def _picture(task: Task, context: JsonObject) -> dict[str, Any]:
    template = task.prompt.user
    prompt = _as_text(context) if template is None else render(template, context)
    if not prompt:
        message = "the context has nothing that a picture could be made of; give 'prompt'"
        raise InvalidRequest(message, param="context.prompt")
    given = {name: context[name] for name in PICTURE if context.get(name) is not None}
    return {"prompt": prompt} | given


def _are_messages(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, dict) and isinstance(each.get("role"), str) for each in value)
    )


def _as_text(context: JsonObject) -> str:
    """`context.prompt`, else the whole context as JSON."""
    prompt = context.get("prompt")
    return prompt if isinstance(prompt, str) and prompt else orjson.dumps(context).decode()


def _format(name: str, schema: JsonObject) -> dict[str, Any]:
    """OpenAI's `response_format` for a schema. Its names take letters, digits, `_` and `-`."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in name)[:64]
    named = {"name": plain, "strict": is_strict(schema), "schema": schema}
    return {"type": "json_schema", "json_schema": named}


def is_strict(schema: Any) -> bool:
    """Whether OpenAI takes a schema as strict: each object in it names all members that it may
    have, and requires them."""
    if isinstance(schema, list):
        return all(map(is_strict, schema))
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, dict):
        required = schema.get("required")
        named = properties if isinstance(properties, dict) else {}
        if schema.get("additionalProperties") is not False:
            return False
        if not isinstance(required, list) or set(required) != set(named):
            return False
    inner = [value for name, value in schema.items() if name != "properties"]
    return is_strict(inner) and is_strict(list((properties or {}).values()))


def result(name: str, task: Task, answer: Answer) -> Any:
    """What a caller gets of an answer. Raises `Upstream` for one that is not of its form."""
    if task.answer_schema is not None and task.endpoint == "chat":
        judge(name, task, answer)
        return orjson.loads(_text(answer))
    content = _pictures(answer.body) if task.endpoint == "images" else answer.content
    return {
        "content": content,
        "model": answer.model,
        "usage": usage(answer),
        "metadata": _metadata(name, answer),
    }


def _text(answer: Answer) -> str:
    """The JSON of an answer, which may stand between the marks of a block of code."""
    text = answer.content.strip()
    if text.startswith("```") and text.endswith("```"):
        text = text.partition("\n")[2].removesuffix("```").strip()
    return text


def judge(name: str, task: Task, answer: Answer) -> None:
    """Raises `Upstream` for an answer that is not of its task's form, and books it as failed."""
    schema = task.answer_schema
    if schema is None or task.endpoint != "chat" or is_of_form(_text(answer), schema):
        return
    answer.record.outcome = Outcome.FAILED
    ended = finish_reason(answer)
    why = f" (it ended by {ended!r})" if ended not in (None, "stop") else ""
    message = f"the model's answer to task {name!r} is no JSON of the task's schema{why}"
    raise Upstream(message, status=502, type="upstream_error", code="invalid_upstream_response")


def _pictures(body: JsonObject) -> list[str]:
    """URLs of the pictures; one that came as data is a `data:` URL."""
    kind = body.get("output_format") or "png"
    return [
        each.get("url") or f"data:image/{kind};base64,{each.get('b64_json') or ''}"
        for each in body.get("data") or []
    ]


def usage(answer: Answer) -> dict[str, Any]:
    """Tokens and cost of all attempts; what was thought is apart from what was said, and both
    are billed as output."""
    return counted(answer.record.usage or Usage(), answer.cost_usd)


def counted(used: Usage, cost_usd: float) -> dict[str, Any]:
    """Tokens and cost, as this API names them."""
    said = {
        "inputTokens": used.prompt,
        "outputTokens": used.completion - used.reasoning,
        "thoughtsTokens": used.reasoning,
        "totalTokens": used.total,
        "costUsd": cost_usd,
    }
    return said | ({"images": used.images} if used.images else {})


def finish_reason(answer: Answer) -> str | None:
    choices = answer.body.get("choices") or [{}]
    reason: str | None = choices[0].get("finish_reason")
    return reason


def _metadata(name: str, answer: Answer) -> Mapping[str, Any]:
    record = answer.record
    said = {
        "provider": answer.provider,
        "taskType": name,
        "latencyMs": int(1000 * (time.monotonic() - record.started)),
        "cached": record.cached,
        "attempts": answer.attempts,
        "requestId": request_name(record.id),
        "finishReason": finish_reason(answer),
        "timestamp": iso_now(),
    }
    revised = [each.get("revised_prompt") for each in answer.body.get("data") or []]
    return said | ({"revisedPrompts": revised} if any(revised) else {})
