"""What goes to Gemini, by the requests recorded, by Google's own SDK's types and spelt out."""

import json
import re
from typing import Any

import orjson
import pytest
from google.genai import types
from openai.types import CreateEmbeddingResponse

from adapters.base import Auth, Endpoint, FailureKind, Target, UpstreamFailure, Usage
from adapters.gemini import Gemini
from tests.adapters.asks import ask, target
from tests.adapters.test_gemini_stream import (
    CALLS,
    by_id,
    folded,
    payloads_of,
    recording,
    streamed,
)
from tests.recordings import Recording

BASE = "https://generativelanguage.test/v1beta"
SKIP_SIGNATURE = "Y29udGV4dF9lbmdpbmVlcmluZ19pc190aGVfd2F5X3RvX2dv"


def gemini(model: str = "gemini-2.5-flash", **over: Any) -> Target:
    return target(model, **({"dialect": "gemini", "base_url": BASE, "auth": Auth.GOOGLE} | over))


def sent(model: str = "gemini-2.5-flash", **body: Any) -> Any:
    """The body that goes upstream."""
    return orjson.loads(Gemini().request(ask(**body), gemini(model)).body)


def refused(model: str = "gemini-2.5-flash", **body: Any) -> Any:
    with pytest.raises(UpstreamFailure) as caught:
        sent(model, **body)
    return caught.value.failure


# Requests, against those recorded.


FREE = {"args", "response", "parametersJsonSchema", "responseJsonSchema", "labels", "data"}
"""Members whose insides are the user's own."""

INEXPRESSIBLE = {
    "google/google_model_file_search_grounding_gemini_3[False]#1": "toolCall, toolResponse",
    "google/google_model_file_search_grounding_gemini_3[True]#1": "toolCall, toolResponse",
    "google/google_model_thinking_part#1": "thought parts",
    "google/google_model_thinking_part_from_other_model#1": "thought parts",
    "google/google_model_youtube_video_url_input_with_vendor_metadata#0": "videoMetadata",
}
"""Recorded requests that OpenAI's shape can't say, by the member that it has no word for."""


def lowered(schema: Any) -> Any:
    """A schema of Google's older kind, whose types are in capitals, as JSON schema."""
    if isinstance(schema, dict):
        return {
            name: value.lower() if name == "type" and isinstance(value, str) else lowered(value)
            for name, value in schema.items()
        }
    return [lowered(entry) for entry in schema] if isinstance(schema, list) else schema


def normal(value: Any) -> Any:
    """Camel case; older names of schemas as the newer ones."""
    if isinstance(value, list):
        return [normal(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    out = {}
    for name, entry in value.items():
        camel = re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
        if camel in ("parameters", "responseSchema"):
            camel = {"parameters": "parametersJsonSchema"}.get(camel, "responseJsonSchema")
            entry = lowered(entry)
        if camel == "data":  # the SDK writes it for URLs
            entry = entry.replace("-", "+").replace("_", "/")
        out[camel] = entry if camel in FREE else normal(entry)
    return out


def recorded(found: Recording) -> Any:
    """A recorded request without what says nothing."""
    body = normal(found.request)
    body.get("systemInstruction", {}).pop("role", None)
    config = body.pop("generationConfig", {})
    if config.get("responseModalities") == ["TEXT"]:
        del config["responseModalities"]
    if config:
        body["generationConfig"] = config
    if isinstance(body.get("tools"), dict):
        body["tools"] = [body["tools"]]
    return body


def said_by_openai(body: Any) -> dict[str, Any]:
    """The request, in the recorded form, as a client of OpenAI's API would make it."""
    said: dict[str, Any] = {"messages": []}
    if "systemInstruction" in body:
        parts = [openai_part(part) for part in body["systemInstruction"]["parts"]]
        said["messages"].append({"role": "system", "content": parts})
    for content in body["contents"]:
        said["messages"] += openai_messages(content)
    said |= openai_config(body.get("generationConfig", {}))
    if "tools" in body:
        said["tools"] = [entry for tool in body["tools"] for entry in openai_tools(tool)]
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    if calling.get("mode") == "ANY":
        names = [
            {"type": "function", "function": {"name": n}} for n in calling["allowedFunctionNames"]
        ]
        allowed = {"mode": "required", "tools": names}
        said["tool_choice"] = {"type": "allowed_tools", "allowed_tools": allowed}
    elif calling.get("mode") == "AUTO":
        said["tool_choice"] = "auto"
    elif "toolConfig" in body:
        said["toolConfig"] = body["toolConfig"]
    said |= {n: body[n] for n in ("safetySettings", "labels", "modelArmorConfig") if n in body}
    return said


def openai_messages(content: Any) -> list[dict[str, Any]]:
    if content["role"] == "model":
        return [openai_assistant(content["parts"])]
    messages: list[dict[str, Any]] = []
    for part in content["parts"]:
        if "functionResponse" in part:
            result = part["functionResponse"]
            given = json.dumps(result["response"])
            call = result.get("id", "call_tn_" + result["name"])
            messages.append({"role": "tool", "tool_call_id": call, "content": given})
        else:
            if not messages or messages[-1]["role"] != "user":
                messages.append({"role": "user", "content": []})
            messages[-1]["content"].append(openai_part(part))
    return messages


def openai_assistant(parts: list[Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": [], "tool_calls": []}
    for part in parts:
        signature = part.get("thoughtSignature", SKIP_SIGNATURE)
        extra = {"extra_content": {"google": {"thought_signature": signature}}}
        signed = {} if signature == SKIP_SIGNATURE else extra
        if "functionCall" in part:
            call = part["functionCall"]
            function = {"name": call["name"], "arguments": json.dumps(call["args"])}
            named = call.get("id", "call_tn_" + call["name"])
            entry = {"id": named, "type": "function", "function": function, **signed}
            message["tool_calls"].append(entry)
        else:
            message["content"].append(openai_part(part))
            message |= signed
    return message


ENDINGS = {
    "application/pdf": ".pdf",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "audio/wav": ".wav",
}


def openai_part(part: Any) -> dict[str, Any]:
    if "text" in part:
        assert not part.get("thought")
        return {"type": "text", "text": part["text"]}
    if "fileData" in part:
        mime, url = part["fileData"]["mimeType"], part["fileData"]["fileUri"]
    else:
        mime = part["inlineData"]["mimeType"]
        url = f"data:{mime};base64,{part['inlineData']['data']}"
    if mime.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    name = {"filename": "name" + ENDINGS[mime]} if mime in ENDINGS else {}
    return {"type": "file", "file": {"file_data": url, **name}}


def openai_config(config: Any) -> dict[str, Any]:
    names = {
        "maxOutputTokens": "max_tokens",
        "temperature": "temperature",
        "topP": "top_p",
        "topK": "top_k",
        "responseLogprobs": "logprobs",
        "logprobs": "top_logprobs",
        "thinkingConfig": "thinkingConfig",
    }
    said = {names[n]: v for n, v in config.items() if not n.startswith("response") or n in names}
    if "responseJsonSchema" in config:
        form = {"name": "answer", "schema": config["responseJsonSchema"]}
        said["response_format"] = {"type": "json_schema", "json_schema": form}
    elif config.get("responseMimeType") == "application/json":
        said["response_format"] = {"type": "json_object"}
    return said


def openai_tools(tool: Any) -> list[dict[str, Any]]:
    if "functionDeclarations" not in tool:
        return [tool]
    return [
        {
            "type": "function",
            "function": {
                "name": entry["name"],
                "description": entry["description"],
                "parameters": entry["parametersJsonSchema"],
            },
        }
        for entry in tool["functionDeclarations"]
    ]


def check_with_sdk(body: Any) -> None:
    """The SDK's types know every member of a request, and forbid what they do not know."""
    for content in body["contents"]:
        types.Content.model_validate(content)
    for tool in body.get("tools", []):
        types.Tool.model_validate(tool)
    config = {name: value for name, value in body.items() if name not in ("contents", "tools")}
    config |= config.pop("generationConfig", {})
    types.GenerateContentConfig.model_validate(config)


@pytest.mark.parametrize(
    "found", [found for found in CALLS if found.id not in INEXPRESSIBLE], ids=by_id
)
def test_a_recorded_request_is_made_again(found: Recording) -> None:
    wanted = recorded(found)
    asked = ask(**said_by_openai(wanted), stream=found.is_stream)
    model = re.search(r"models/([^:]+):", found.path)
    assert model
    base = found.uri.partition("/models/")[0]
    outgoing = Gemini().request(asked, gemini(model[1], base_url=base))
    assert normal(orjson.loads(outgoing.body)) == wanted
    assert outgoing.url == found.uri
    assert outgoing.dropped == ()
    check_with_sdk(orjson.loads(outgoing.body))


@pytest.mark.parametrize("name", INEXPRESSIBLE)
def test_what_is_inexpressible_is_in_the_recording(name: str) -> None:
    found = next(found for found in CALLS if found.id == name)
    members = {member for c in found.request["contents"] for p in c["parts"] for member in p}
    assert members & {"thought", "toolCall", "videoMetadata"}


# Requests, spelt out.

USER = {"role": "user", "parts": [{"text": "Hi"}]}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "g", "description": "G."}}
F = {"name": "f", "parametersJsonSchema": {"type": "object"}}
G = {"name": "g", "description": "G."}


def config_of(model: str = "gemini-2.5-flash", **body: Any) -> Any:
    body = sent(model, **body)
    check_with_sdk(body)
    return body.get("generationConfig")


def test_nothing_but_what_was_said_is_sent() -> None:
    assert sent() == {"contents": [USER]}


def test_url_and_headers() -> None:
    outgoing = Gemini().request(ask(), gemini())
    assert outgoing.url == BASE + "/models/gemini-2.5-flash:generateContent"
    assert outgoing.headers == {
        "content-type": "application/json",
        "accept": "application/json",
        "x-goog-api-key": "sk-up",
    }
    outgoing = Gemini().request(ask(stream=True), gemini(auth=Auth.BEARER))
    assert outgoing.url == BASE + "/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert outgoing.headers["accept"] == "text/event-stream"
    assert outgoing.headers["authorization"] == "Bearer sk-up"


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/gemini-2.5-pro", "/models/gemini-2.5-pro:"),
        ("tunedModels/mine", "/tunedModels/mine:"),
        ("odd name?x#y", "/models/odd%20name%3Fx%23y:"),
    ],
)
def test_the_model_stands_in_the_path(model: str, path: str) -> None:
    assert Gemini().request(ask(), gemini(model)).url == BASE + path + "generateContent"


@pytest.mark.parametrize(
    ("said", "config"),
    [
        (
            {"temperature": 1.5, "top_p": 0.5, "top_k": 3},
            {"temperature": 1.5, "topP": 0.5, "topK": 3},
        ),
        ({"seed": 7, "stop": "x"}, {"seed": 7, "stopSequences": ["x"]}),
        ({"stop": ["x", "y"]}, {"stopSequences": ["x", "y"]}),
        ({"max_tokens": 5}, {"maxOutputTokens": 5}),
        ({"max_completion_tokens": 6, "max_tokens": 5}, {"maxOutputTokens": 6}),
        ({"n": 2}, {"candidateCount": 2}),
        ({"n": 1, "presence_penalty": 0, "frequency_penalty": 0.0}, None),
        (
            {"presence_penalty": 0.5, "frequency_penalty": -1},
            {"presencePenalty": 0.5, "frequencyPenalty": -1},
        ),
        ({"logprobs": True}, {"responseLogprobs": True}),
        ({"logprobs": True, "top_logprobs": 4}, {"responseLogprobs": True, "logprobs": 4}),
        ({"logprobs": False, "top_logprobs": 0}, None),
        ({"modalities": ["text"]}, None),
        ({"modalities": ["text", "image"]}, {"responseModalities": ["TEXT", "IMAGE"]}),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "strict": True, "schema": {"type": "array"}},
                }
            },
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "array"}},
        ),
        ({"thinking_config": {"thinkingBudget": 9}}, {"thinkingConfig": {"thinkingBudget": 9}}),
        (
            {"thinkingConfig": {"thinkingBudget": 9}, "reasoning_effort": "low"},
            {"thinkingConfig": {"thinkingBudget": 9}},
        ),
    ],
)
def test_parameters(said: dict[str, Any], config: Any) -> None:
    assert config_of(**said) == config


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-flash-lite", "minimal", {"thinkingBudget": 512, "includeThoughts": True}),
        ("gemini-2.5-pro", "low", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("models/gemini-2.5-pro", "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
        ("gemini-2.5-pro", "high", {"thinkingBudget": 24576, "includeThoughts": True}),
        (
            "gemini-3-flash-preview",
            "minimal",
            {"thinkingLevel": "minimal", "includeThoughts": True},
        ),
        ("gemini-3.1-pro-preview", "minimal", {"thinkingLevel": "low", "includeThoughts": True}),
        ("gemini-3-flash", "medium", {"thinkingLevel": "medium", "includeThoughts": True}),
        ("gemini-flash-latest", "high", {"thinkingLevel": "high", "includeThoughts": True}),
    ],
)
def test_reasoning_effort(model: str, effort: str, thinking: Any) -> None:
    assert config_of(model, reasoning_effort=effort) == {"thinkingConfig": thinking}


@pytest.mark.parametrize(
    ("model", "effort"),
    [
        ("gemini-2.5-pro", "none"),
        ("gemini-3-pro", "none"),
        ("gemini-3-pro", "xhigh"),
        ("gemini-2.0-flash", "low"),
        ("gemma-3-27b-it", "low"),
    ],
)
def test_effort_that_a_model_has_not_is_refused(model: str, effort: str) -> None:
    assert refused(model, reasoning_effort=effort).param == "reasoning_effort"


@pytest.mark.parametrize(
    "said",
    [
        {"logit_bias": {"1": 2}},
        {"parallel_tool_calls": False},
        {"logprobs": True, "stream": True},
        {"extra_body": {"google": {}}},
        {"service_tier": "flex"},
        {"tools": [{"type": "web_search_preview"}]},
        {"tool_choice": "required"},
    ],
)
def test_what_gemini_can_not_say_is_refused_by_name(said: dict[str, Any]) -> None:
    failure = refused(**said)
    assert (failure.kind, failure.param) == (FailureKind.UNSUPPORTED, next(iter(said)))
    outgoing = Gemini().request(ask(**said)._replace(drop_params=True), gemini())
    assert outgoing.dropped == (next(iter(said)),)
    assert orjson.loads(outgoing.body) == {"contents": [USER]}


@pytest.mark.parametrize(
    ("choice", "declared", "calling"),
    [
        (None, [F, G], None),
        ("auto", [F, G], {"mode": "AUTO"}),
        ("none", [F, G], {"mode": "NONE"}),
        ("required", [F, G], {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "g"}},
            [F, G],
            {"mode": "ANY", "allowedFunctionNames": ["g"]},
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [FUNCTION]}},
            [F],
            {"mode": "AUTO"},
        ),
    ],
)
def test_tools_and_the_choice_among_them(choice: Any, declared: Any, calling: Any) -> None:
    body = sent(tools=[FUNCTION, OTHER], tool_choice=choice)
    check_with_sdk(body)
    assert body["tools"] == [{"functionDeclarations": declared}]
    assert body.get("toolConfig") == (calling and {"functionCallingConfig": calling})


@pytest.mark.parametrize(
    ("given", "tool"),
    [
        ({"googleSearch": {}}, {"googleSearch": {}}),
        ({"type": "googleSearch"}, {"googleSearch": {}}),
        ({"type": "google_search"}, {"googleSearch": {}}),
        ({"type": "urlContext", "urlContext": {}}, {"urlContext": {}}),
        (
            {"type": "fileSearch", "fileSearchStoreNames": ["s"]},
            {"fileSearch": {"fileSearchStoreNames": ["s"]}},
        ),
        ({"code_execution": {}}, {"code_execution": {}}),
    ],
)
def test_tools_of_googles_own(given: Any, tool: Any) -> None:
    body = sent(tools=[given, FUNCTION])
    check_with_sdk(body)
    assert body["tools"] == [tool, {"functionDeclarations": [F]}]
    alone = sent(tools=[given], tool_choice="auto")
    assert alone == {"contents": [USER], "tools": [tool]}


def test_members_of_googles_own() -> None:
    safety = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    assert sent(
        safety_settings=safety, cachedContent="c", labels={"a": "b"}, metadata={"x": "y"}
    ) == {
        "contents": [USER],
        "safetySettings": safety,
        "cachedContent": "c",
        "labels": {"a": "b"},
    }
    body = sent(tools=[FUNCTION], tool_choice="auto", tool_config={"retrievalConfig": {}})
    wanted = {"functionCallingConfig": {"mode": "AUTO"}, "retrievalConfig": {}}
    assert body["toolConfig"] == wanted
    assert refused(toolConfig="AUTO").param == "toolConfig"
    assert refused(modalities="audio").param == "modalities"


def test_instructions_are_text() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    assert refused(messages=[{"role": "system", "content": [picture]}]).param == (
        "messages[0].content[0].image_url.url"
    )


def parts_sent(*parts: Any, model: str = "gemini-2.5-flash") -> Any:
    body = sent(model, messages=[{"role": "user", "content": list(parts)}])
    check_with_sdk(body)
    return body["contents"][0]["parts"]


@pytest.mark.parametrize(
    ("url", "mime"),
    [
        ("https://x.test/a/cat.JPG?size=1", "image/jpeg"),
        ("gs://bucket/cat.webp", "image/webp"),
        ("https://x.test/cat", None),
        ("https://x.png", None),
        ("https://[x.test/cat#a.png", None),
    ],
)
def test_a_file_elsewhere_is_named(url: str, mime: str | None) -> None:
    told = {"mimeType": mime} if mime else {}
    part = {"type": "image_url", "image_url": {"url": url}}
    assert parts_sent(part) == [{"fileData": {"fileUri": url, **told}}]


def test_data_goes_inline() -> None:
    assert parts_sent(
        {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lG"}},
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "mp3"}},
        {"type": "file", "file": {"filename": "a.md", "file_data": "data:;base64,IyBB"}},
        {"type": "file", "file": {"file_id": "https://g.test/v1beta/files/x"}},
    ) == [
        {"inlineData": {"mimeType": "image/gif", "data": "R0lG"}},
        {"inlineData": {"mimeType": "audio/mpeg", "data": "UklG"}},
        {"inlineData": {"mimeType": "text/markdown", "data": "IyBB"}},
        {"fileData": {"fileUri": "https://g.test/v1beta/files/x"}},
    ]


def call_message(*ids: str, **more: Any) -> dict[str, Any]:
    function = {"name": "f", "arguments": '{"x":1}'}
    calls = [{"id": given, "type": "function", "function": function} for given in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls, **more}


def test_turns_are_merged_and_made_ids_stay_here() -> None:
    body = sent(
        messages=[
            {"role": "system", "content": "A"},
            {"role": "user", "content": "B"},
            {"role": "developer", "content": "C"},
            {"role": "user", "content": "D"},
            call_message("call_tn_1", "given", reasoning_content="plain thought"),
            {"role": "tool", "tool_call_id": "call_tn_1", "content": '{"a": [1]}'},
            {"role": "tool", "tool_call_id": "given", "content": "[2]"},
            {"role": "user", "content": "E"},
            {"role": "assistant", "content": ""},
        ]
    )
    check_with_sdk(body)
    assert body["systemInstruction"] == {"parts": [{"text": "A"}, {"text": "C"}]}
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "B"}, {"text": "D"}]},
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "f", "args": {"x": 1}}},
                {"functionCall": {"id": "given", "name": "f", "args": {"x": 1}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "f", "response": {"a": [1]}}},
                {"functionResponse": {"id": "given", "name": "f", "response": {"result": "[2]"}}},
                {"text": "E"},
            ],
        },
        {"role": "model", "parts": [{"text": ""}]},
    ]


def test_instructions_alone_are_asked_with_an_empty_text() -> None:
    body = sent(messages=[{"role": "system", "content": "A"}])
    assert body["contents"] == [{"role": "user", "parts": [{"text": ""}]}]


def test_a_picture_in_a_result_needs_gemini_3() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lG"}}
    result = {"role": "tool", "tool_call_id": "i", "content": [picture]}
    messages = [{"role": "user", "content": "Hi"}, call_message("i"), result]
    assert refused(messages=messages).param == "messages[2].content[0].image_url.url"
    body = sent("gemini-3-flash", messages=messages)
    check_with_sdk(body)
    assert body["contents"][2]["parts"] == [
        {
            "functionResponse": {
                "id": "i",
                "name": "f",
                "response": {"result": ""},
                "parts": [{"inlineData": {"mimeType": "image/gif", "data": "R0lG"}}],
            }
        }
    ]


def test_calls_of_other_models_are_marked_for_gemini_3_only() -> None:
    messages = [{"role": "user", "content": "Hi"}, call_message("a", "b")]
    older = sent("gemini-2.5-pro", messages=messages)["contents"][1]["parts"]
    newer = sent("gemini-3-pro", messages=messages)["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in older] == [None, None]
    assert [part.get("thoughtSignature") for part in newer] == [SKIP_SIGNATURE, None]


# Signatures, there and back.


def test_the_signature_of_a_streamed_call_goes_back() -> None:
    found = recording("google_streaming_tool_call_thought_signature#0")
    raw = payloads_of(found.reply)[0]["candidates"][0]["content"]["parts"][0]["thoughtSignature"]
    assert len(raw) > 1000
    message = folded(streamed([found.reply])[0])[0]
    call = {name: value for name, value in message["tool_calls"][0].items() if name != "index"}
    assert call["id"].startswith("call_tn_")
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": message["content"], "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "Mexico"},
    ]
    assert sent("gemini-3-pro-preview", messages=messages)["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "get_country", "args": {}}, "thoughtSignature": raw}
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "get_country", "response": {"result": "Mexico"}}}
            ],
        },
    ]


def test_the_signature_of_text_goes_back() -> None:
    found = recording("google_vertex_service_tier_flex#0")
    part = json.loads(found.reply)["candidates"][0]["content"]["parts"][0]
    message = orjson.loads(Gemini().reply(ask(), found.reply).body)["choices"][0]["message"]
    assert message["extra_content"] == {"google": {"thought_signature": part["thoughtSignature"]}}
    messages = [{"role": "user", "content": "Hi"}, message, {"role": "user", "content": "More"}]
    assert sent("gemini-3-flash-preview", messages=messages)["contents"][1] == {
        "role": "model",
        "parts": [part],
    }


def test_a_signature_without_text_goes_back_in_an_empty_part() -> None:
    extra = {"google": {"thought_signature": "c2ln"}}
    messages = [{"role": "user", "content": "Hi"}, call_message("i", extra_content=extra)]
    assert sent(messages=messages)["contents"][1]["parts"] == [
        {"text": "", "thoughtSignature": "c2ln"},
        {"functionCall": {"id": "i", "name": "f", "args": {"x": 1}}},
    ]


def test_a_signature_in_the_last_part_of_a_stream_is_the_messages() -> None:
    found = recording("google_model_file_search_grounding_gemini_3[True]#0")
    parts = [
        part
        for payload in payloads_of(found.reply)
        for part in payload["candidates"][0].get("content", {}).get("parts", [])
    ]
    signed = [part["thoughtSignature"] for part in parts if part.get("text") == ""]
    message = folded(streamed([found.reply])[0])[0]
    assert message["extra_content"] == {"google": {"thought_signature": signed[0]}}


# Embeddings.


def embed(**body: Any) -> Any:
    return ask(Endpoint.EMBEDDINGS, raw=orjson.dumps({"model": "m", **body}))


def test_embeddings_are_asked_for_in_a_batch() -> None:
    asked = embed(input=["a", "b"], dimensions=3, encoding_format="float", user="u")
    outgoing = Gemini().request(asked, gemini("gemini-embedding-001"))
    assert outgoing.url == BASE + "/models/gemini-embedding-001:batchEmbedContents"
    name = "models/gemini-embedding-001"
    assert orjson.loads(outgoing.body) == {
        "requests": [
            {"model": name, "outputDimensionality": 3, "content": {"parts": [{"text": text}]}}
            for text in ("a", "b")
        ]
    }
    outgoing = Gemini().request(embed(input="a", task_type="RETRIEVAL_QUERY"), gemini("models/e"))
    assert orjson.loads(outgoing.body) == {
        "requests": [
            {
                "model": "models/e",
                "taskType": "RETRIEVAL_QUERY",
                "content": {"parts": [{"text": "a"}]},
            }
        ]
    }


@pytest.mark.parametrize(
    ("body", "param", "kind"),
    [
        ({"input": [1, 2]}, "input", FailureKind.UNSUPPORTED),
        ({"input": [[1], [2]]}, "input[0]", FailureKind.UNSUPPORTED),
        ({"input": []}, "input", FailureKind.INVALID_REQUEST),
        ({"input": ["a", None]}, "input[1]", FailureKind.INVALID_REQUEST),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format", FailureKind.INVALID_REQUEST),
        ({"input": "a", "truncate": True}, "truncate", FailureKind.UNSUPPORTED),
    ],
)
def test_embeddings_that_can_not_be_asked_for(body: Any, param: str, kind: FailureKind) -> None:
    with pytest.raises(UpstreamFailure) as caught:
        Gemini().request(embed(**body), gemini())
    assert (caught.value.failure.param, caught.value.failure.kind) == (param, kind)


@pytest.mark.parametrize(
    ("encoding", "vector"), [("float", [0.5, -1.0]), ("base64", "AAAAPwAAgL8=")]
)
def test_embeddings(encoding: str, vector: Any) -> None:
    given = {"embeddings": [{"values": [0.5, -1.0]}, {"values": [0.5, -1.0]}]}
    types.EmbedContentResponse.model_validate(given)
    asked = embed(input=["a", "b"], encoding_format=encoding)
    reply = Gemini().reply(asked, orjson.dumps(given))
    body = orjson.loads(reply.body)
    assert reply.usage is None
    assert [(entry["index"], entry["embedding"]) for entry in body["data"]] == [
        (0, vector),
        (1, vector),
    ]
    if encoding == "float":
        CreateEmbeddingResponse.model_validate(body)
    counted = {**given, "usageMetadata": {"promptTokenCount": 2, "totalTokenCount": 2}}
    reply = Gemini().reply(asked, orjson.dumps(counted))
    assert reply.usage == Usage(prompt=2)
    assert orjson.loads(reply.body)["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


@pytest.mark.parametrize("body", [{}, {"embeddings": [{}]}, {"embeddings": [{"values": ["x"]}]}])
def test_embeddings_that_are_none(body: Any) -> None:
    with pytest.raises(UpstreamFailure) as caught:
        Gemini().reply(embed(input="a"), orjson.dumps(body))
    assert caught.value.failure.kind is FailureKind.INVALID_REPLY
