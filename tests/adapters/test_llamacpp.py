"""What llama.cpp's server says otherwise than OpenAI."""

import pytest

from adapters.base import FailureKind, Retry
from adapters.llamacpp import LlamaCpp

TOO_LONG = (
    b'{"error":{"code":400,"message":"request (9031 tokens) exceeds the available context size '
    b'(2048 tokens), try increasing it","type":"exceed_context_size_error","n_ctx":2048}}'
)
NO_EMBEDDINGS = (
    b'{"error":{"code":501,"message":"This server does not support embeddings. Start it with '
    b'`--embeddings`","type":"not_supported_error"}}'
)


@pytest.mark.parametrize(
    ("status", "body", "kind", "retry"),
    [
        (400, TOO_LONG, FailureKind.CONTEXT_LENGTH, Retry.NEVER),
        (501, NO_EMBEDDINGS, FailureKind.INVALID_REQUEST, Retry.NEVER),
        (
            503,
            b'{"error":{"code":503,"message":"Loading model"}}',
            FailureKind.OVERLOADED,
            Retry.SAME_TARGET,
        ),
    ],
)
def test_errors_as_the_server_wrote_them(
    status: int, body: bytes, kind: FailureKind, retry: Retry
) -> None:
    failure = LlamaCpp().failure(status, {}, body)
    assert (failure.kind, failure.retry) == (kind, retry)
    assert failure.code is None, "its code is the status over again"
