"""Errors are answers in OpenAI's shape."""

import orjson
import pytest

from proxy import errors


def subclasses(kind: type[errors.TurnoutError]) -> list[type[errors.TurnoutError]]:
    return [kind, *(s for k in kind.__subclasses__() for s in subclasses(k))]


def test_the_body() -> None:
    error = errors.InvalidRequest("no", param="n")
    assert orjson.loads(error.body()) == {
        "error": {
            "message": "no",
            "type": "invalid_request_error",
            "param": "n",
            "code": "invalid_value",
        }
    }


def test_the_tree_is_drawn_in_full() -> None:
    for kind in subclasses(errors.TurnoutError):
        assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("kind", subclasses(errors.TurnoutError))
def test_no_error_is_a_409(kind: type[errors.TurnoutError]) -> None:
    # but where the data plane never comes: OpenAI's SDKs would try again
    assert (kind.status == 409) == (kind is errors.Conflict)


def test_what_was_sent_is_not_told_back_whole() -> None:
    error = errors.NotFound("x" * 10_000, param="p" * 10_000)
    assert error.message == str(error) == "x" * 4000 + " …"
    assert error.param == "p" * 200 + " …"
