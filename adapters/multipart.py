"""A `multipart/form-data` body in its bytes: its text fields read, one of them replaced.

What a client uploads is forwarded as it came; only the model's name may have to change.
Source: RFC 7578.
"""

import itertools
import re
from collections.abc import Collection, Iterator

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]+)"|([^";\s]+))', re.IGNORECASE)
_DISPOSITION = re.compile(rb"^content-disposition:(.*)$", re.IGNORECASE | re.MULTILINE)
_NAME = re.compile(rb';\s*name="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_FILE = re.compile(rb";\s*filename\*?=", re.IGNORECASE)


def boundary_of(content_type: str) -> bytes | None:
    """What separates the parts; None when the type names nothing."""
    if not content_type.lower().startswith("multipart/form-data"):
        return None
    found = _BOUNDARY.search(content_type)
    return (found[1] or found[2]).encode("latin-1") if found else None


def read_fields(raw: bytes, boundary: bytes) -> dict[str, str]:
    """The text fields by name; of one that stands twice the first counts. Files are left out."""
    fields: dict[str, str] = {}
    for name, start, end in _text_parts(raw, boundary):
        fields.setdefault(name, raw[start:end].decode(errors="replace"))
    return fields


def repeated(raw: bytes, boundary: bytes, names: Collection[str]) -> str | None:
    """The first of `names` that is a field twice: parsers disagree on which of two counts."""
    found = [name for name, _, _ in _text_parts(raw, boundary)]
    return next((name for name in names if found.count(name) > 1), None)


def replace_field(raw: bytes, boundary: bytes, name: str, value: str) -> bytes:
    """`raw` with another text in each field `name`."""
    for found, start, end in reversed(list(_text_parts(raw, boundary))):
        if found == name:
            raw = raw[:start] + value.encode() + raw[end:]
    return raw


def _text_parts(raw: bytes, boundary: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, start and end of each field that is no file."""
    separators = _separators(raw, boundary)
    for begin, end in itertools.pairwise(separators):
        head_end = raw.find(b"\r\n\r\n", begin[1], end[0])
        if head_end < 0:
            continue
        found = _DISPOSITION.search(raw, begin[1], head_end + 1)
        disposition = found[1] if found else b""
        name = _NAME.search(disposition)
        if name is not None and not _FILE.search(disposition):
            yield name[1].decode(errors="replace"), head_end + 4, end[0]


def _separators(raw: bytes, boundary: bytes) -> list[tuple[int, int]]:
    """Where each line of the boundary begins, its own line break before it counted in, and ends.

    A line that only begins like it is content.
    """
    line = re.compile(rb"(?:\A|\r\n)--" + re.escape(boundary) + rb"(?:--)?[ \t]*(?=\r\n|\Z)")
    return [found.span() for found in line.finditer(raw)]
