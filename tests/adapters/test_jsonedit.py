"""Edits in the bytes: only the member that changes differs, and the meaning is what was put."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.jsonedit import edit, members, repeated

keys = st.sampled_from(["model", "stream", "n", "a", "stream_options", 'q"uote', "é"])
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8) | st.just("model"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(keys, values, max_size=6)
indents = st.sampled_from([None, 0, 2])


@given(body=objects, put=st.dictionaries(keys, values, max_size=3), drop=st.sets(keys), i=indents)
def test_an_edit_means_what_a_rewrite_would(
    body: dict[str, Any], put: dict[str, Any], drop: set[str], i: int | None
) -> None:
    drop -= put.keys()
    for ascii_only in (True, False):
        raw = json.dumps(body, indent=i, ensure_ascii=ascii_only).encode()
        edited = edit(raw, body.keys(), {k: orjson.dumps(v) for k, v in put.items()}, drop)
        expected = {k: v for k, v in body.items() if k not in drop} | put
        assert orjson.loads(edited) == expected
        assert list(orjson.loads(edited)) == list(expected)


@given(body=objects, i=indents)
def test_members_stand_where_they_say(body: dict[str, Any], i: int | None) -> None:
    raw = json.dumps(body, indent=i).encode()
    found = {m.key: orjson.loads(raw[m.value : m.end]) for m in members(raw)}
    assert found == body


def test_nothing_to_do_gives_the_same_bytes() -> None:
    raw = b'{ "model" : "m" }'
    assert edit(raw, {"model"}, {}, {"metadata"}) is raw


def test_only_the_member_changes() -> None:
    raw = b'{"x": 1.50e3,\n "model" :  "fast", "messages":[{"content":"\\u00e9 model"}], "z":{}}'
    edited = edit(raw, {"x", "model", "messages", "z"}, {"model": b'"gpt-4o"'})
    assert edited == raw.replace(b'"fast"', b'"gpt-4o"')


def test_a_nested_model_is_left_alone() -> None:
    raw = b'{"tools":[{"model":"inner"}],"model":"fast"}'
    edited = edit(raw, {"tools", "model"}, {"model": b'"x"'})
    assert edited == b'{"tools":[{"model":"inner"}],"model":"x"}'


def test_a_big_body_is_edited_in_place() -> None:
    raw = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 5_000_000 + b'"}]}'
    assert len(edit(raw, {"model", "messages"}, {"model": b'"mm"'})) == len(raw) + 1


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b'{"model":"a","model":"b"}', "model"),
        (b'{"model":"a","mod\\u0065l":"b"}', "model"),
        (b'{"mod\\u0065l":"a","x":{"model":1},"model":"b"}', "model"),
        (b'{"model":"a","x":{"model":"b"}}', None),
        (b'{"model":"model","x":["model","model"]}', None),
        (b'{"x":1,"x":2}', None),
        (b"{}", None),
    ],
)
def test_repeated_members_are_found_however_spelt(raw: bytes, key: str | None) -> None:
    assert repeated(raw, ("model", "stream")) == key


@pytest.mark.parametrize("raw", [b'{"mod\\u0065l":"a"}', b'{"x":{"model":"b"},"mod\\u0065l":"a"}'])
def test_an_escaped_key_is_edited_too(raw: bytes) -> None:
    edited = edit(raw, orjson.loads(raw).keys(), {"model": b'"new"'})
    assert orjson.loads(edited)["model"] == "new"
    assert b'"a"' not in edited
