"""What the examples share: where Turnout is, by the environment, and faults told in one line.

    export OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=sk-turnout-…

is the line that `turnout serve` prints at its first start. The doors beside `/v1` are found so.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

import httpx

TIMEOUT = httpx.Timeout(120, connect=5)  # seconds; a model may think for a while


class Trouble(Exception):
    """What went wrong, in words for whoever runs the program."""


def setting(name: str) -> str:
    """A variable of the environment. Raises `Trouble` where it is unset or empty."""
    value = os.environ.get(name)
    if not value:
        raise Trouble(f"{name} is not set; examples/README.md says what goes there")
    return value


def root() -> str:
    """The address of the gateway itself: `OPENAI_BASE_URL` without its `/v1`."""
    return setting("OPENAI_BASE_URL").rstrip("/").removesuffix("/v1")


def gateway(**headers: str) -> httpx.Client:
    """A client of the gateway. An underscore in a header's name stands for a hyphen."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Client(base_url=root(), headers=named, timeout=TIMEOUT)


def answer_of(response: httpx.Response) -> Any:
    """The JSON of an answer. Raises `Trouble` with what Turnout says of an error."""
    if response.is_success:
        return response.json()
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = response.text[:200]
    raise Trouble(f"{response.request.url.path} answered {response.status_code}: {message}")


def run(main: Callable[[], None]) -> None:
    """Runs a program; exit code 1 and one line on stderr when something is wrong."""
    try:
        main()
    except Trouble as error:
        sys.exit(str(error))
    except httpx.HTTPError as error:
        sys.exit(f"no answer from {root()}: {error or type(error).__name__}")
