"""Durations, sizes and shares."""

from collections.abc import Callable

import pytest

from proxy.units import parse_duration, parse_share, parse_size


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_duration, "500ms", 0.5),
        (parse_duration, "30s", 30),
        (parse_duration, "5m", 300),
        (parse_duration, "1.5h", 5400),
        (parse_duration, "400d", 34_560_000),
        (parse_duration, 7, 7),
        (parse_duration, "7", 7),
        (parse_size, "20MiB", 20 * 2**20),
        (parse_size, "1GB", 10**9),
        (parse_size, "512KiB", 2**19),
        (parse_size, 10, 10),
        (parse_share, "20%", 0.2),
        (parse_share, 0.2, 0.2),
        (parse_share, "1%", 0.01),
    ],
)
def test_what_is_taken(parse: Callable[[object], float], text: object, value: float) -> None:
    assert parse(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_duration, "soon"),
        (parse_duration, "-1s"),
        (parse_duration, True),
        (parse_duration, None),
        (parse_duration, "5 parsecs"),
        (parse_size, "20M"),
        (parse_size, "ten"),
        (parse_share, "120%"),
        (parse_share, "20s"),
    ],
)
def test_what_is_not_says_what_would_be(parse: Callable[[object], float], text: object) -> None:
    with pytest.raises(ValueError, match=r"such as|write"):
        parse(text)
