"""A bridge over an adapter: the same adapter, another shape."""

import orjson

from adapters.anthropic import Anthropic
from adapters.base import Endpoint
from adapters.inbound.base import Bridged
from adapters.inbound.completions import Completions
from tests.adapters.asks import ask, target


def test_an_upstream_is_asked_in_its_own_dialect_and_the_answer_reshaped() -> None:
    bridged = Bridged(Anthropic(), Completions())
    asked = ask(Endpoint.COMPLETIONS, raw=b'{"model":"m","prompt":"Hi","max_tokens":5}')
    asked = asked._replace(headers=(("anthropic-beta", "x"),))
    outgoing = bridged.request(asked, target(dialect="anthropic"))
    assert outgoing.url.endswith("/messages")
    assert "anthropic-beta" not in outgoing.headers  # a header of another API's client
    assert orjson.loads(outgoing.body)["messages"][0]["role"] == "user"
    assert asked.body == {"model": "m", "prompt": "Hi", "max_tokens": 5}


def test_a_stream_knows_what_the_one_below_knows() -> None:
    bridged = Bridged(Anthropic(), Completions())
    asked = ask(Endpoint.COMPLETIONS, raw=b'{"model":"m","prompt":"Hi","stream":true}')
    stream = bridged.stream(asked, lambda _: None)
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}'
    assert stream.feed(b"data: " + body + b"\n\n") == b""
    assert stream.failure is not None
    assert (stream.failure.message, stream.done, stream.contents) == ("busy", False, 0)
    assert (stream.usage, stream.skipped, stream.text_bytes) == (None, 0, 0)


def test_a_failure_is_read_by_the_dialect() -> None:
    body = b'{"type":"error","error":{"type":"not_found_error","message":"model: x"}}'
    assert Bridged(Anthropic(), Completions()).failure(404, {}, body).message == "model: x"
