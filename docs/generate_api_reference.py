"""Writes docs/api-reference.md: `python docs/generate_api_reference.py`, in the root.

The page is made of the routes that the gateway serves: the operations of its own OpenAPI document,
and the endpoints of the data plane, whose bodies are OpenAI's and Anthropic's. A test compares the
page with what this writes.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from starlette.routing import BaseRoute, Route

from proxy.app import build_app
from proxy.config import load
from proxy.doors.openapi import document, operations
from proxy.home import Home

PAGE = Path(__file__).with_name("api-reference.md")
SECRET = "not-a-secret-" * 4
SAFE = dict.fromkeys(("TURNOUT_MASTER_KEY", "TURNOUT_ENCRYPTION_KEY"), SECRET)

HEAD = """\
<!-- Written by docs/generate_api_reference.py: change that, not this. -->
# API reference

Every call that the gateway answers. [The data plane](api.md) says what Turnout adds to OpenAI's and
Anthropic's own APIs, with headers, streams and errors; [the control plane](control-plane.md) tells
with examples what the rest is for. `GET /api/v1/openapi.json` has all but `/v1` as an OpenAPI
document, for generators of clients.

Credentials are in [identity](identity.md). *Who* is the role that a caller needs: `admin` is the
master key or an account with that role, `service` a service key, `user` an account's token, `key` a
virtual key.
"""

DATA_PLANE = {
    "/v1/chat/completions": ("POST", "Chat, streamed and not", "OpenAI's"),
    "/v1/completions": ("POST", "Legacy completions, streamed and not", "OpenAI's"),
    "/v1/embeddings": ("POST", "Embeddings", "OpenAI's"),
    "/v1/responses": ("POST", "The Responses API, streamed and not", "OpenAI's"),
    "/v1/images/generations": ("POST", "Images", "OpenAI's"),
    "/v1/audio/transcriptions": ("POST", "Sound to text", "OpenAI's, multipart"),
    "/v1/audio/speech": ("POST", "Text to sound", "OpenAI's"),
    "/v1/moderations": ("POST", "Moderation", "OpenAI's"),
    "/v1/models": ("GET", "What this key may use", "none"),
    "/v1/models/{name}": ("GET", "One of them", "none"),
    "/v1/messages": ("POST", "Anthropic's Messages over any provider", "Anthropic's"),
    "/v1/messages/count_tokens": ("POST", "The tokens of a message", "Anthropic's"),
}
"""Path -> method, what it is for, whose body it takes."""

PLAIN = {
    "/metrics": ("GET", "For Prometheus", "[metrics](api.md#metrics)"),
    "/api/trpc/{path}": ("GET", "Several procedures in one request", "[tRPC](trpc.md)"),
    "/": ("GET", "The dashboard's page", "[dashboard](dashboard.md)"),
    "/ui/{name}": ("GET", "What that page is made of", "[dashboard](dashboard.md)"),
    "/api/v1/playground/chat/completions": (
        "POST",
        "Chat as of the data plane, for who is logged in to the dashboard",
        "[dashboard](dashboard-api.md)",
    ),
    "/api/v1/playground/models": ("GET", "Its models", "[dashboard](dashboard-api.md)"),
}
"""The same of routes that are no operations, with the page that tells of them."""

GROUPS = {
    "Health": ("/health", "/api/v1/health"),
    "Logging in": ("/api/v1/login", "/api/v1/logout", "/v2/login"),
    "Users": ("/api/v1/users",),
    "Virtual keys": ("/api/v1/keys",),
    "Providers and overrides": ("/api/v1/providers", "/api/v1/overrides"),
    "Generate, estimate, batch": ("/api/v1/generate", "/api/v1/estimate", "/api/v1/batch"),
    "Models": ("/api/v1/models",),
    "Usage": ("/api/v1/usage",),
    "Alerts": ("/api/v1/alerts",),
    "Cache": ("/api/v1/cache",),
    "Circuit breakers": ("/api/v1/breakers",),
    "Tasks": ("/api/llm",),
    "tRPC": ("/api/trpc",),
    "Version 2": ("/v2",),
    "Others": ("/",),
}
"""Headings, and the paths below each; the first that fits has an operation."""

METHODS = ("get", "post", "put", "patch", "delete")


class Call(NamedTuple):
    """An operation of the OpenAPI document and where it is."""

    method: str
    path: str
    said: Mapping[str, Any]


def written(routes: Iterable[BaseRoute]) -> str:
    """The page for these routes. Raises `KeyError` for an endpoint of the data plane that
    `DATA_PLANE` has no words for."""
    found = list(routes)
    told = document(operations(found))
    parts = [HEAD, *_data_plane(found)]
    grouped: dict[str, list[Call]] = defaultdict(list)
    for path, methods in told["paths"].items():
        for method in sorted(methods, key=METHODS.index):
            grouped[_group_of(path)].append(Call(method.upper(), path, methods[method]))
    for group in GROUPS:
        if grouped[group]:
            parts.append(f"## {group}\n")
            parts += [_call(call) for call in grouped[group]]
    parts += [*_plain(found), "## Types\n"]
    schemas = told["components"]["schemas"]
    parts += [_type(name, schemas[name]) for name in sorted(schemas)]
    return "\n".join(parts).rstrip() + "\n"


def gateway_routes() -> list[BaseRoute]:
    """All routes of a gateway with the built-in configuration."""
    with tempfile.TemporaryDirectory() as folder:
        app = build_app(lambda: load(None, SAFE), Home(Path(folder)))
        return list(app.routes)


def _data_plane(routes: list[BaseRoute]) -> Iterator[str]:
    yield "## Data plane\n"
    yield "Any key or token may call. The bodies are those of the vendor's own API.\n"
    yield "| call | for | body |\n|---|---|---|"
    for route in routes:
        if isinstance(route, Route) and route.path.startswith("/v1/"):
            path = route.path.replace(":path}", "}")
            method, about, body = DATA_PLANE[path]
            yield f"| `{method} {path}` | {about} | {body} |"
    yield ""


def _plain(routes: list[BaseRoute]) -> Iterator[str]:
    yield "## Without a type\n"
    yield "| call | for | told in |\n|---|---|---|"
    for route in routes:
        if not isinstance(route, Route) or route.path.startswith("/v1/"):
            continue
        if getattr(route.endpoint, "operation", None) is None:
            path = route.path.replace(":path}", "}")
            method, about, told = PLAIN[path]
            yield f"| `{method} {path}` | {about} | {told} |"
    yield ""


def _group_of(path: str) -> str:
    return next(name for name, starts in GROUPS.items() if path.startswith(starts))


def _call(call: Call) -> str:
    said = call.said
    roles = said.get("x-roles")
    who = "open to all" if roles is None else ", ".join(f"`{role}`" for role in roles)
    lines = [f"### {said['summary']}: `{call.method} {call.path}`\n", f"Who: {who}.\n"]
    query = [each for each in said["parameters"] if each["in"] == "query"]
    if query:
        lines.append("| query | is | default |\n|---|---|---|")
        lines += [_row(each["name"], each["schema"], each["required"]) for each in query]
        lines.append("")
    if "requestBody" in said:
        schema = said["requestBody"]["content"]["application/json"]["schema"]
        may_miss = "" if said["requestBody"]["required"] else ", or no body"
        lines.append(f"Takes {_words(schema)}{may_miss}.\n")
    lines.append(_answers(said["responses"]))
    return "\n".join(lines)


def _answers(responses: Mapping[str, Any]) -> str:
    good = next(status for status in responses if status.startswith("2"))
    content = responses[good].get("content", {})
    kinds = " or ".join(f"`{kind}`" for kind in content)
    schema = next((each["schema"] for each in content.values() if each.get("schema")), None)
    what = "nothing" if not content else kinds if schema is None else _words(schema)
    if schema is not None and "application/json" not in content:
        what += f" as {kinds}"
    errors = ", ".join(status for status in responses if status != good)
    return f"Answers {good}: {what}." + (f" Errors: {errors}.\n" if errors else "\n")


def _type(name: str, schema: Mapping[str, Any]) -> str:
    lines = [f"### Type {name}\n"]
    if schema.get("description"):
        lines.append(" ".join(schema["description"].split()) + "\n")
    if not schema.get("properties"):
        return "\n".join([*lines, f"{_words(schema).capitalize()}.\n"])
    required = schema.get("required", ())
    lines.append("| field | is | default |\n|---|---|---|")
    lines += [_row(field, kind, field in required) for field, kind in schema["properties"].items()]
    return "\n".join([*lines, ""])


def _row(name: str, schema: Mapping[str, Any], is_required: bool) -> str:
    default = "required" if is_required else _default(schema.get("default"))
    about = _words(schema)
    if schema.get("description"):
        about += ": " + " ".join(schema["description"].split()).replace("|", "\\|")
    return f"| `{name}` | {about} | {default} |"


def _default(value: Any) -> str:
    empty = value is None or value in ("", [], {})
    return "" if empty else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _words(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#type-{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join("null" if each is None else f"`{each}`" for each in schema["enum"])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_words(each) for each in schema[several]))
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join("null" if each == "null" else each for each in kind)
    if kind == "array":
        return f"list of {_words(schema.get('items', {}))}{_bounds(schema)}"
    more = schema.get("additionalProperties")
    if kind == "object" and isinstance(more, dict) and more:
        return f"object of {_words(more)}"
    return f"{kind}{_bounds(schema)}"


BOUNDS = {
    "minimum": "from {}",
    "exclusiveMinimum": "over {}",
    "maximum": "to {}",
    "exclusiveMaximum": "under {}",
    "minLength": "of {} characters at least",
    "maxLength": "of {} characters at most",
    "minItems": "with {} at least",
    "maxItems": "with {} at most",
}


def _bounds(schema: Mapping[str, Any]) -> str:
    found = [words.format(schema[name]) for name, words in BOUNDS.items() if name in schema]
    return " " + ", ".join(found) if found else ""


if __name__ == "__main__":
    PAGE.write_text(written(gateway_routes()), encoding="utf-8")
    print(PAGE)
