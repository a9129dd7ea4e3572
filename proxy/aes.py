"""AES-256-GCM: 96 random bits of nonce, then the ciphertext with its tag.

A module of its own, to be imported when a secret is first sealed or opened: `cryptography` is 7 MB
of memory and 30 ms of start, which a gateway without such secrets does without.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE, TAG = 12, 16  # bytes


def seal(key: bytes, secret: bytes, about: bytes) -> bytes:
    """`about` is not in what is made, but has to be the same to open it."""
    nonce = os.urandom(NONCE)
    return nonce + AESGCM(key).encrypt(nonce, secret, about)


def unseal(key: bytes, sealed: bytes, about: bytes) -> bytes | None:
    """None for what was changed, cut off, or sealed under another key or about another thing."""
    if len(sealed) < NONCE + TAG:
        return None
    try:
        return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], about)
    except InvalidTag:
        return None
