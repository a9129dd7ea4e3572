"""Parts of libraries that a gateway never uses, left out before they are loaded.

Imported first by the command line, and by nothing else: whoever uses `proxy` as a library has the
whole of everything. Measured together: 12 MB and a seventh of the time that `turnout serve` takes
to start.
"""

import sys
from types import ModuleType

LEFT_OUT = {
    # SQLAlchemy's object mapper, which its asyncio package loads: the books are in SQLAlchemy Core.
    "sqlalchemy.ext.asyncio.scoping": ("async_scoped_session",),
    "sqlalchemy.ext.asyncio.session": (
        "async_object_session",
        "async_session",
        "async_sessionmaker",
        "AsyncAttrs",
        "AsyncSession",
        "AsyncSessionTransaction",
        "close_all_sessions",
    ),
    # What fetches prices, with an HTTP client: the catalogue comes with its package.
    "genai_prices.update_prices": (
        "UpdatePrices",
        "wait_prices_updated_async",
        "wait_prices_updated_sync",
    ),
}
"""Module -> the names that others import of it."""


class LeftOut:
    """Stands for a name of such a module; it can't be used."""

    def __init__(self, *_: object, **__: object) -> None:
        raise NotImplementedError("this part of a library is left out (proxy/lean.py)")


def leave_out() -> None:
    """Puts empty modules in their places, where they are not loaded yet."""
    for name, attributes in LEFT_OUT.items():
        if name not in sys.modules:
            module = ModuleType(name, "Left out: proxy/lean.py says why.")
            vars(module).update(dict.fromkeys(attributes, LeftOut))
            sys.modules[name] = module


leave_out()
