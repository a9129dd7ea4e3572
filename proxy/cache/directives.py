"""`x-turnout-cache`: what a request asks of the cache, in the grammar of HTTP's Cache-Control.

no-cache            ask the provider, and keep what it answers
no-store            neither read nor write
max-age=SECONDS     an answer may be this old at most
only-if-cached      a kept answer or 504, never the provider
semantic, exact     also, or only not, what was asked in other words
namespace=NAME      a room of its own: nothing from it is served outside, or into it
tag=NAME            a mark to purge by; may be given several times
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from proxy.cache.types import Directives
from proxy.errors import InvalidRequest

HEADER = "x-turnout-cache"
NOTHING_SAID = Directives()

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")
_LONGEST = 10 * 365 * 86400.0  # seconds

_PLAIN: Mapping[str, Callable[[Directives], Directives]] = {
    "no-cache": lambda said: said._replace(read=False),
    "no-store": lambda said: said._replace(read=False, write=False),
    "only-if-cached": lambda said: said._replace(only_if_cached=True),
    "semantic": lambda said: said._replace(semantic=True),
    "exact": lambda said: said._replace(semantic=False),
}


@lru_cache(maxsize=1024)
def parse(text: str) -> Directives:
    """The header's value. Raises `InvalidRequest` naming what is not known of it."""
    found = NOTHING_SAID
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if name in _PLAIN and not equals:
            found = _PLAIN[name](found)
        elif name == "max-age" and equals:
            found = found._replace(max_age=_seconds(value))
        elif name == "namespace" and equals:
            found = found._replace(namespace=_word(name, value))
        elif name == "tag" and equals:
            found = found._replace(tags=(*found.tags, _word(name, value)))
        elif name or equals:
            known = "no-cache, no-store, max-age=N, only-if-cached, semantic, exact, namespace=N"
            raise _wrong(f"{part.strip()!r} is not known; known are {known}, tag=N")
    return found


def _seconds(value: str) -> float:
    if not value.isascii() or not value.isdigit():
        raise _wrong(f"max-age is a whole number of seconds, not {value!r}")
    return min(float(value), _LONGEST)


def _word(name: str, value: str) -> str:
    if not _NAME.fullmatch(value):
        raise _wrong(f"{name} is 1 to 64 letters, digits, '.', '_', ':', '/' or '-'")
    return value


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(f"{HEADER}: {message}", param=HEADER)
