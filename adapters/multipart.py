"""A `multipart/form-data` body in its bytes: its text fields read, one of them replaced.

What a client uploads is forwarded as it came; only the model's name may have to change.
Source: RFC 7578.
"""

import re
from collections.abc import Iterator

_BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^;\s]+))', re.IGNORECASE)
_NAME = re.compile(rb'\bname="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_FILE = re.compile(rb"\bfilename\*?=", re.IGNORECASE)


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


def replace_field(raw: bytes, boundary: bytes, name: str, value: str) -> bytes:
    """`raw` with another text in each field `name`."""
    for found, start, end in reversed(list(_text_parts(raw, boundary))):
        if found == name:
            raw = raw[:start] + value.encode() + raw[end:]
    return raw


def _text_parts(raw: bytes, boundary: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, start and end of each field that is no file."""
    line = b"--" + boundary
    begin = raw.find(line)
    while begin >= 0:
        begin += len(line)
        end = raw.find(b"\r\n" + line, begin)
        head_end = raw.find(b"\r\n\r\n", begin)
        if end < 0 or head_end < 0:
            return
        head = raw[begin:head_end]
        name = _NAME.search(head)
        if name is not None and head_end + 4 <= end and not _FILE.search(head):
            yield name[1].decode(errors="replace"), head_end + 4, end
        begin = end + 2
