"""How bytes and headers become a call; the door itself is tested over sockets in tests/e2e."""

from adapters.base import Endpoint
from proxy.doors.call import _understand
from proxy.doors.controls import first_of_each
from proxy.types import Principal, Role

KEY = Principal(Role.KEY, "key_1")
CHAT = b'{"model":"m","messages":[{"role":"user","content":"x"}]%b}'


def test_the_bytes_stay_beside_what_they_mean() -> None:
    raw = CHAT % b',"stream":true,"stream_options":{"include_usage":true}'
    call = _understand(Endpoint.CHAT, KEY, {b"openai-beta": b"x", b"cookie": b"y"}, raw)
    assert call.ask.raw is raw
    assert (call.name, call.ask.stream, call.ask.wants_usage) == ("m", True, True)
    assert call.ask.headers == (("openai-beta", "x"),)


def test_metadata_is_ours_unless_it_is_stored() -> None:
    for extra, drop in ((b',"metadata":{}', {"metadata"}), (b',"metadata":{},"store":true', set())):
        assert _understand(Endpoint.CHAT, KEY, {}, CHAT % extra).ask.drop == drop


def test_of_a_header_given_twice_the_first_counts() -> None:
    scope = {"headers": [(b"authorization", b"1"), (b"x", b"y"), (b"authorization", b"2")]}
    assert first_of_each(scope)[b"authorization"] == b"1"


def test_embeddings_are_never_streamed() -> None:
    raw = b'{"model":"m","input":"x","stream":true}'
    assert not _understand(Endpoint.EMBEDDINGS, KEY, {}, raw).ask.stream
