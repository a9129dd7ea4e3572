"""Actions: where they go, and what comes back."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Outgoing
from proxy.actions import Actions, Origin, outgoing_for
from proxy.config import Config
from proxy.config_types import Action, Backend
from proxy.errors import InvalidRequest, NotFound, TurnoutError
from proxy.upstream import Fetched, Unreachable

BACKEND = {"base_url": "http://video.test/api", "headers": {"authorization": "Bearer s3cret"}}
RENDER = {"method": "POST", "path": "/videos/{videoId}/render", "backend": "video"}
ORIGIN = Origin("req_1", "zoe", None, "job 1")


class Wire:
    """Stands in for the HTTP client."""

    def __init__(self, answer: Fetched | Unreachable) -> None:
        self.answer = answer
        self.sent: list[tuple[Outgoing, float]] = []

    async def fetch(self, outgoing: Outgoing, patience: float, limit: int) -> Fetched:
        self.sent.append((outgoing, patience))
        if isinstance(self.answer, Unreachable):
            raise self.answer
        return self.answer


def said(status: int, body: Any, headers: dict[str, str] | None = None) -> Fetched:
    return Fetched(status, headers or {}, body if isinstance(body, bytes) else orjson.dumps(body))


async def run(answer: Fetched | Unreachable, backends: Any = None, context: Any = None) -> Any:
    known = {"video": BACKEND} if backends is None else backends
    config = Config.model_validate({"actions": {"video_render": RENDER}, "backends": known})
    actions = Actions(Wire(answer))  # type: ignore[arg-type]
    return await actions.run(config, "video_render", context or {"videoId": "v1"}, ORIGIN)


def sent_for(video: Any, path: str = "/videos/{videoId}/render") -> Outgoing:
    action = Action.model_validate(RENDER | {"path": path})
    backend = Backend.model_validate(BACKEND)
    return outgoing_for(action, backend, {"videoId": video, "job": {"id": 7}}, ORIGIN)


class TestRequest:
    def test_what_goes_out(self) -> None:
        outgoing = sent_for("v 1%2e?x=1#y&é")
        assert outgoing.url == "http://video.test/api/videos/v%201%252e%3Fx%3D1%23y%26%C3%A9/render"
        assert outgoing.method == "POST"
        assert orjson.loads(outgoing.body) == {"videoId": "v 1%2e?x=1#y&é", "job": {"id": 7}}
        assert outgoing.headers == {
            "authorization": "Bearer s3cret",
            "accept": "application/json",
            "content-type": "application/json",
            "x-request-id": "req_1",
            "x-turnout-user": "zoe",
            "x-turnout-job": "job 1",
        }

    def test_a_key_that_nobody_owns_is_told_as_such(self) -> None:
        action, backend = Action.model_validate(RENDER), Backend.model_validate(BACKEND)
        origin = Origin("req_1", key_id="key_1")
        headers = outgoing_for(action, backend, {"videoId": "v"}, origin).headers
        assert headers["x-turnout-key-id"] == "key_1"
        assert "x-turnout-user" not in headers

    def test_numbers_and_dotted_places(self) -> None:
        assert sent_for("v", "/jobs/{job.id}").url == "http://video.test/api/jobs/7"

    @pytest.mark.parametrize(
        "video",
        [
            "..",
            ".",
            "a/b",
            "a\\b",
            "../../admin",
            "..%2fadmin",
            "a\r\nhost: evil",
            "a\x00",
            "",
            None,
            True,
            {"a": 1},
            ["x"],
            1.5,
            "x" * 257,
        ],
    )
    def test_what_is_no_id_is_refused(self, video: Any) -> None:
        with pytest.raises(InvalidRequest) as caught:
            sent_for(video)
        assert caught.value.param == "context.videoId"

    @given(st.text(max_size=300))
    def test_no_value_leaves_its_part_of_the_path(self, video: str) -> None:
        try:
            url = sent_for(video).url
        except InvalidRequest:
            return
        head, tail = "http://video.test/api/videos/", "/render"
        assert url.startswith(head)
        assert url.endswith(tail)
        inner = url[len(head) : -len(tail)]
        assert inner not in ("", ".", "..")
        assert not set(inner) & set("/\\?#@: \r\n")

    @pytest.mark.parametrize(
        "path", ["videos", "/a/../b", "/a/./b", "//evil", "/a?b=c", "/{a}{b}", "/a b", "/%2e", "/"]
    )
    def test_paths_that_no_configuration_may_have(self, path: str) -> None:
        with pytest.raises(ValueError, match="path"):
            Action.model_validate(RENDER | {"path": path})

    def test_secrets_do_not_show(self) -> None:
        assert "s3cret" not in repr(Backend.model_validate(BACKEND))


class TestAnswer:
    async def test_json(self) -> None:
        assert await run(said(201, {"url": "u"})) == {"url": "u"}

    async def test_nothing_is_null(self) -> None:
        assert await run(said(204, b"")) is None

    @pytest.mark.parametrize(
        ("answer", "status", "words"),
        [
            (said(404, {"error": "video item not found"}), 404, "video item not found"),
            (said(409, {"message": "is being rendered"}), 409, "is being rendered"),
            (said(422, {"error": {"message": "too long"}}), 422, "too long"),
            (said(403, {"detail": "not yours"}), 403, "not yours"),
            (said(400, b"<html>"), 400, "backend 'video' answered 400"),
            (said(401, {"error": "who are you"}), 502, "who are you"),
            (said(500, {"error": "disk is full"}), 502, "disk is full"),
            (said(302, b""), 502, "answered 302"),
            (said(200, b"<html>"), 502, "did not answer in JSON"),
            (Unreachable("connection refused"), 502, "connection refused"),
        ],
    )
    async def test_faults(self, answer: Any, status: int, words: str) -> None:
        with pytest.raises(TurnoutError) as caught:
            await run(answer)
        assert caught.value.status == status
        assert words in caught.value.message
        assert "video.test" not in caught.value.message

    async def test_a_404_is_ours(self) -> None:
        with pytest.raises(NotFound):
            await run(said(404, b""))

    async def test_when_to_come_again(self) -> None:
        with pytest.raises(TurnoutError) as caught:
            await run(said(429, {"error": "slowly"}, {"Retry-After": "7"}))
        assert (caught.value.status, caught.value.headers) == (429, {"retry-after": "7"})
        assert caught.value.type == "rate_limit_error"

    async def test_no_backend(self) -> None:
        with pytest.raises(TurnoutError) as caught:
            await run(said(200, {}), backends={})
        assert caught.value.status == 501
        assert caught.value.code == "backend_not_configured"
        assert "backends.video.base_url" in caught.value.message
