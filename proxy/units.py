"""Durations, sizes and shares, as people write them in a configuration."""

import re
from typing import Annotated

from pydantic import BeforeValidator

_AMOUNT = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([A-Za-z%]*)\s*$")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
_BYTES = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9,
    "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip


def parse_duration(value: object) -> float:
    """Seconds in `500ms`, `30s`, `5m`, `1h`, `400d` or a number. Raises `ValueError`."""
    number, unit = _split(value, "a duration such as 500ms, 30s, 5m, 1h or 7d")
    if unit not in _SECONDS:
        raise ValueError(f"{value!r} is no duration; write 500ms, 30s, 5m, 1h or 7d")
    return number * _SECONDS[unit]


def parse_size(value: object) -> int:
    """Bytes in `20MiB`, `1GB` or a number. Raises `ValueError`."""
    number, unit = _split(value, "a size such as 512KiB, 20MiB or 1GB")
    if unit.lower() not in _BYTES:
        raise ValueError(f"{value!r} is no size; write 512KiB, 20MiB or 1GB")
    return int(number * _BYTES[unit.lower()])


def parse_share(value: object) -> float:
    """A share from 0 to 1 in `20%` or `0.2`. Raises `ValueError`."""
    number, unit = _split(value, "a share such as 20% or 0.2")
    share = number / 100 if unit == "%" else number
    if unit not in ("", "%") or share > 1:
        raise ValueError(f"{value!r} is no share; write 20% or 0.2")
    return share


def _split(value: object, wanted: str) -> tuple[float, str]:
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value), ""
    match = _AMOUNT.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not {wanted}")
    return float(match.group(1)), match.group(2)


Seconds = Annotated[float, BeforeValidator(parse_duration)]
Bytes = Annotated[int, BeforeValidator(parse_size)]
Share = Annotated[float, BeforeValidator(parse_share)]
