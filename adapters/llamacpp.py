"""The dialect of llama.cpp's server: OpenAI's, with error codes of its own."""

from collections.abc import Mapping
from dataclasses import replace

from adapters.base import Endpoint, Failure, FailureKind, Retry
from adapters.openai import OpenAI


class LlamaCpp(OpenAI):
    """What differs from OpenAI: a number for a code, and 501 for what the model can't do."""

    endpoints = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS})

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        failure = super().failure(status, headers, body)
        if status == 501:
            return replace(failure, kind=FailureKind.INVALID_REQUEST, retry=Retry.NEVER, code=None)
        return replace(failure, code=None if (failure.code or "").isdecimal() else failure.code)
