"""AES-GCM: what opens a secret, and what does not."""

import pytest

from proxy import aes

KEY, OTHER = bytes(32), b"k" * 32


def test_only_the_same_key_and_owner_open_it() -> None:
    sealed = aes.seal(KEY, b"secret", b"about")
    assert aes.unseal(KEY, sealed, b"about") == b"secret"
    assert aes.unseal(OTHER, sealed, b"about") is None
    assert aes.unseal(KEY, sealed, b"abouT") is None
    assert b"secret" not in sealed


def test_no_two_are_alike() -> None:
    assert len({aes.seal(KEY, b"secret", b"") for _ in range(100)}) == 100


@pytest.mark.parametrize("size", [0, 1, 27])
def test_what_was_cut_off_is_none(size: int) -> None:
    assert aes.unseal(KEY, bytes(size), b"") is None


def test_what_was_changed_is_none() -> None:
    sealed = aes.seal(KEY, b"secret", b"about")
    for at in range(len(sealed)):
        assert (
            aes.unseal(KEY, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], b"") is None
        )
