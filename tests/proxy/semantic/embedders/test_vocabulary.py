"""Word pieces: their ids, by literals that the model's own tokenizer.json gave."""

import hashlib
import sys
from collections.abc import Callable

import pytest

from proxy.semantic.embedders.vocabulary import encoder, pieces
from proxy.semantic.meaning import EmbedderUnavailable

IDS: list[tuple[str, list[int]]] = [
    ("How do I reset my password?", [101, 2129, 2079, 1045, 25141, 2026, 20786, 1029, 102]),
    (
        "ORDER #48213, not 48231!",
        [101, 2344, 1001, 4466, 17465, 2509, 1010, 2025, 4466, 21926, 2487, 999, 102],
    ),
    ("na\xefve caf\xe9 r\xe9sum\xe9 \xdcn\xefc\xf6d\xe9", [101, 15743, 7668, 13746, 27260, 102]),
    ("e\u0301 vs \xe9", [101, 1041, 5443, 1041, 102]),
    ("\u6771\u4eac\u306e\u5929\u6c17\u306f?", [101, 1879, 1755, 1671, 1811, 100, 1672, 1029, 102]),
    ("\u4f60\u597d\uff0c\u4e16\u754c", [101, 100, 100, 1989, 1745, 100, 102]),
    (
        "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440",
        [101, 1194, 16856, 10325, 25529, 15290, 22919, 1010, 1191, 10325, 16856, 102],
    ),
    (
        "\U0001f600 is happy \U0001f469\u200d\U0001f469\u200d\U0001f467",
        [101, 100, 2003, 3407, 100, 102],
    ),
    (
        "3.14159e-10 \xd7 2\xb2",
        [101, 1017, 1012, 15471, 28154, 2063, 1011, 2184, 1095, 1016, 10701, 102],
    ),
    ("don't can\u2019t I'd", [101, 2123, 1005, 1056, 2064, 1521, 1056, 1045, 1005, 1040, 102]),
    ("", [101, 102]),
    ("   \t\n ", [101, 102]),
    ("a\xa0b\u200bc\x00d", [101, 1037, 4647, 2094, 102]),
    (
        "supercalifragilisticexpialidocious",
        [101, 3565, 9289, 10128, 29181, 24411, 4588, 10288, 19312, 21273, 10085, 6313, 102],
    ),
    (
        "x" * 100,
        [
            101,
            22038,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            20348,
            102,
        ],
    ),
    ("x" * 101, [101, 100, 102]),
    ("[SEP] [MASK] [sep]", [101, 102, 103, 1031, 19802, 1033, 102]),
    ("\ufb01ne \xdf \u0130stanbul \ufdfa", [101, 1984, 2638, 1096, 9960, 100, 102]),
    (
        "\u0939\u093f\u0928\u094d\u0926\u0940 \u0928\u092e\u0938\u094d\u0924\u0947",
        [101, 1339, 29877, 29863, 29861, 29878, 1327, 29867, 29874, 29859, 102],
    ),
    (
        "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4",
        [
            101,
            1463,
            30006,
            30021,
            29992,
            30010,
            30025,
            30005,
            30006,
            29997,
            30009,
            29999,
            30013,
            100,
            102,
        ],
    ),
    (
        "l1\u2028l2 U.S.A. $5,000.50 50%",
        [
            101,
            1048,
            2487,
            1048,
            2475,
            1057,
            1012,
            1055,
            1012,
            1037,
            1012,
            1002,
            1019,
            1010,
            2199,
            1012,
            2753,
            2753,
            1003,
            102,
        ],
    ),
]
"""Accents, CJK, emoji, digits, signs of no width, line ends that are none, words too long."""


@pytest.fixture(scope="module")
def encode() -> Callable[[str], list[int]]:
    return encoder()


@pytest.mark.parametrize(("text", "ids"), IDS)
def test_ids(encode: Callable[[str], list[int]], text: str, ids: list[int]) -> None:
    assert encode(text) == ids


def test_nothing_is_cut(encode: Callable[[str], list[int]]) -> None:
    assert encode("a " * 1000) == [101, *[1037] * 1000, 102]


def test_the_vocabulary_is_google_s() -> None:
    found = pieces()
    assert len(found) == 30522
    assert list(found.values()) == list(range(30522))
    assert [found[piece] for piece in ("[PAD]", "[UNK]", "the", "##s", "##\uff5e")] == [
        0,
        100,
        1996,
        2015,
        30521,
    ]
    text = "".join(f"{piece}\n" for piece in found).encode()
    assert (
        hashlib.sha256(text).hexdigest()
        == "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
    )


def test_without_the_library_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(EmbedderUnavailable, match=r"type: pip install 'turnout\[semantic\]'$"):
        encoder()
