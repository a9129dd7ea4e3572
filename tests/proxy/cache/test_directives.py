"""`x-turnout-cache` as a request gives it."""

import pytest

from proxy.cache.directives import NOTHING_SAID, parse
from proxy.cache.types import Directives
from proxy.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Directives()),
        (" , ,", Directives()),
        ("no-cache", Directives(read=False)),
        ("no-store", Directives(read=False, write=False)),
        ("no-store, no-cache", Directives(read=False, write=False)),
        ("No-Cache , ONLY-IF-CACHED", Directives(read=False, only_if_cached=True)),
        ("max-age=0", Directives(max_age=0.0)),
        ("max-age=90, max-age=60", Directives(max_age=60.0)),
        ('max-age="60"', Directives(max_age=60.0)),
        ("max-age=99999999999999999999", Directives(max_age=315_360_000.0)),
        ("semantic", Directives(semantic=True)),
        ("semantic,exact", Directives(semantic=False)),
        ("namespace=docs/v2", Directives(namespace="docs/v2")),
        ("namespace = a", Directives(namespace="a")),
        ("tag=a, tag=b:1", Directives(tags=("a", "b:1"))),
        ("tag=" + "a" * 64, Directives(tags=("a" * 64,))),
    ],
)
def test_what_is_said(text: str, expected: Directives) -> None:
    assert parse(text) == expected


def test_nothing_said_is_what_an_empty_header_says() -> None:
    assert parse("") == NOTHING_SAID


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("nocache", "'nocache' is not known"),
        ("private", "'private' is not known"),
        ("no-cache=1", "'no-cache=1' is not known"),
        ("no-store, stale-while-revalidate=9", "'stale-while-revalidate=9' is not known"),
        ("max-age", "'max-age' is not known"),
        ("namespace", "'namespace' is not known"),
        ("=x", "not known"),
        ("max-age=", "max-age is a whole number of seconds, not ''"),
        ("max-age=-1", "max-age is a whole number of seconds, not '-1'"),
        ("max-age=1.5", "max-age is a whole number of seconds, not '1.5'"),
        ("max-age=\u0661", "max-age is a whole number"),
        ("max-age=\u00b2", "max-age is a whole number"),
        ("max-age=1h", "max-age is a whole number"),
        ("namespace=", "namespace is 1 to 64 letters"),
        ("namespace=a b", "namespace is 1 to 64 letters"),
        ("namespace=../a", "namespace is 1 to 64 letters"),
        ("namespace=a\nb", "namespace is 1 to 64 letters"),
        ("tag=*", "tag is 1 to 64 letters"),
        ("tag=" + "a" * 65, "tag is 1 to 64 letters"),
        ("tag=\u00e9", "tag is 1 to 64 letters"),
    ],
)
def test_what_is_not_known_is_refused_and_named(text: str, names: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse(text)
    assert raised.value.param == "x-turnout-cache"
    assert raised.value.message.startswith("x-turnout-cache: ")
    assert names in raised.value.message
