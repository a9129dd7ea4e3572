"""`python -m tests.chaos.unspooled serve …`: Turnout without its spool.

There is no such switch. It shows that the oracle finds what gets lost.
"""

import sys
from pathlib import Path

from proxy import gateway
from proxy.__main__ import main
from proxy.ledger.books import Books
from proxy.ledger.writer import Writer


def _without(books: Books, folder: Path, on_full: str) -> Writer:
    return Writer(books, None)


if __name__ == "__main__":
    vars(gateway)["Writer"] = _without
    sys.exit(main())
