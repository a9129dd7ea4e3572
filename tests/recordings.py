"""The recorded calls in tests/data/recordings, as values."""

import base64
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

FOLDER = Path(__file__).parent / "data" / "recordings"


@dataclass(frozen=True)
class Recording:
    """One call. `request` is the parsed JSON body, `reply` the answer's bytes."""

    vendor: str
    name: str
    number: int
    method: str
    uri: str
    request: Any
    status: int
    content_type: str
    reply: bytes

    @property
    def id(self) -> str:
        return f"{self.vendor}/{self.name}#{self.number}"

    @property
    def path(self) -> str:
        return urlsplit(self.uri).path

    @property
    def is_stream(self) -> bool:
        return "event-stream" in self.content_type or "eventstream" in self.content_type


@cache
def recordings() -> tuple[Recording, ...]:
    """All of them, in the order of their names."""
    return tuple(
        _recording(path, number, entry)
        for path in sorted(FOLDER.rglob("*.json"))
        for number, entry in enumerate(json.loads(path.read_text(encoding="utf-8")))
    )


def of_path(*parts: str) -> list[Recording]:
    """Those whose path has one of `parts` in it."""
    return [found for found in recordings() if any(part in found.path for part in parts)]


def _recording(path: Path, number: int, entry: dict[str, Any]) -> Recording:
    if "reply_base64" in entry:
        reply = base64.b64decode(entry["reply_base64"])
    elif "reply_text" in entry:
        reply = entry["reply_text"].encode()
    else:
        reply = orjson.dumps(entry.get("reply"))
    return Recording(
        vendor=path.parent.name,
        name=path.stem,
        number=number,
        method=entry["method"],
        uri=entry["uri"],
        request=entry["request"],
        status=entry["status"],
        content_type=entry["content_type"] or "",
        reply=reply,
    )
