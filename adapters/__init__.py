"""Dialects: what goes to an upstream and what comes back, as pure functions.

One literal registry, no discovery. A vendor of a known dialect is a line of configuration, not
a module.
"""

from adapters.base import Adapter
from adapters.llamacpp import LlamaCpp
from adapters.openai import OpenAI

ADAPTERS: dict[str, Adapter] = {
    "openai": OpenAI(),
    "llamacpp": LlamaCpp(),
}
"""Dialect -> adapter."""
