"""What an embedder makes of a text: the values."""

import numpy as np

from proxy.semantic.meaning import EmbedderUnavailable, Meaning


def test_a_meaning_may_be_a_vector_alone() -> None:
    vector = np.array([0.6, 0.8], dtype=np.float32)
    meaning = Meaning(vector)
    assert meaning.vector is vector
    assert meaning.states is None
    assert meaning.pieces == ()


def test_an_embedder_that_is_away_says_what_to_do() -> None:
    assert str(EmbedderUnavailable("type: pip install x")) == "type: pip install x"
