"""How doors ask the pipeline: an answer as values, a stream with a copy, one of many."""

from typing import Any

import pytest

from proxy.client import Heard, cache_of
from proxy.doors.chats import Wanted, _admitted, _answer
from proxy.errors import InvalidRequest, Upstream
from proxy.types import Controls, Outcome, Principal, Record, Role

USER = Principal(Role.USER, user_id="user_1")
SAID: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}]}


def test_a_call_and_its_record() -> None:
    record = Record("1")
    asked = Controls(user="label", service="crm", job="j", metadata={"a": 1})
    wanted = Wanted("up/m", SAID, asked, route=("up/m",), label="general")
    call = _admitted(record, USER, wanted, stream=False)
    assert (record.admitted, record.user, record.service, record.job) == (
        True,
        "user_1",
        "crm",
        "j",
    )
    assert (call.route, call.label, call.ask.stream) == (("up/m",), "general", False)
    assert call.ask.body == {"model": "up/m", **SAID}
    assert b'"model":"up/m"' in call.ask.raw


def test_a_stream_is_asked_for_as_one() -> None:
    body = SAID | {"stream_options": {"include_usage": True}}
    call = _admitted(Record("1"), USER, Wanted("up/m", body), stream=True)
    assert (call.ask.stream, call.ask.wants_usage, call.ask.body["stream"]) == (True, True, True)


@pytest.mark.parametrize(
    ("name", "body"),
    [("up/m", {"messages": []}), ("a\nb", SAID), ("up/m", SAID | {"api_key": "k"})],
)
def test_what_no_call_may_say(name: str, body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        _admitted(Record("1"), USER, Wanted(name, body), stream=False)


def test_an_answer_as_values() -> None:
    record = Record("1")
    record.outcome, record.provider, record.model = Outcome.OK, "up", "m"
    record.cost_nanousd = 2_500_000_000
    body = b'{"choices": [{"message": {"content": "Hi"}}]}'
    found = _answer(body, "miss", record)
    assert (found.content, found.provider, found.model, found.cost_usd) == ("Hi", "up", "m", 2.5)
    assert _answer(b'{"choices": []}', "", record).content == ""
    assert _answer(b'{"choices": [{"message": {"content": null}}]}', "", record).content == ""


def test_an_answer_that_broke_off_is_none() -> None:
    record = Record("1")
    record.error_code, record.error_message = "stream_interrupted", "cut short"
    with pytest.raises(Upstream) as caught:
        _answer(b"", "", record)
    assert (caught.value.status, caught.value.code) == (502, "stream_interrupted")


async def test_who_listens_hears_all_of_it() -> None:
    client = Heard()
    await client.start(200, [(b"x-turnout-cache", b"hit; tier=exact")])
    await client.write(b"one ")
    await client.end(b"two")
    assert (client.body, client.cache, client.whole) == (b"one two", "hit; tier=exact", True)
    assert cache_of([]) == ""
