"""Vetoes of the cache by meaning: what plainly forbids serving an old answer to a new question.

Both questions are free text, mostly English, that an embedder takes for alike. What is compared
is what it is blind to: numbers, units, dates, "not", opposites, names, order, and how the answer
is wished for.
"""

from proxy.semantic.guards.doubts import DOUBTS, doubts
from proxy.semantic.guards.reading import Reading, read
from proxy.semantic.guards.vetoes import REASONS, veto

__all__ = ["DOUBTS", "REASONS", "Reading", "doubts", "read", "veto"]
