"""BERT's uncased word pieces, which all-MiniLM reads: the ids of a text.

The vocabulary is data of ours (`data/ORIGIN.md`), so that nothing is fetched. The rules are those
of the library `tokenizers`, with which the model was trained: clean, lower case, strip accents,
CJK signs apart, then the longest piece first.
"""

import gzip
from collections.abc import Callable
from pathlib import Path

from proxy.semantic.embedders.worker import missing

FILE = Path(__file__).parent.parent / "data" / "bert-uncased-vocabulary.txt.gz"
UNKNOWN = 100  # [UNK], the id of every word that can't be made of pieces

Encode = Callable[[str], list[int]]
"""A text's ids, with [CLS] (101) before and [SEP] (102) behind, never cut."""


def pieces() -> dict[str, int]:
    """Each of the 30,522 word pieces, and its id. Reads a file."""
    # Not splitlines, which would split where a piece is a sign that some call a line's end.
    lines = gzip.decompress(FILE.read_bytes()).decode("utf-8").removesuffix("\n").split("\n")
    return {piece: number for number, piece in enumerate(lines)}


def encoder() -> Encode:
    """Takes some 20 ms. Raises `EmbedderUnavailable` where the library is missing."""
    try:
        # An optional dependency, with a native library.
        from tokenizers import BertWordPieceTokenizer
    except ImportError as error:
        raise missing("semantic") from error
    tokenizer = BertWordPieceTokenizer(pieces(), lowercase=True)

    def encode(text: str) -> list[int]:
        # One at a time: encode_batch would start threads of its own.
        ids: list[int] = tokenizer.encode(text).ids
        return ids

    return encode
