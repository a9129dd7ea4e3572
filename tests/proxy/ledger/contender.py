"""`python -m tests.proxy.ledger.contender URL HOME SEED BATCHES`: one process that writes rows of
a few customers, in one hour, as fast as it can. Prints nothing; exit 0 when all are written."""

import asyncio
import random
import sys
from pathlib import Path

from proxy.ledger.books import Books
from proxy.storage.engine import open_database
from tests.proxy.ledger.synthetic import request

CUSTOMERS = 30
ROWS = 40  # of a batch
AT = 1_700_000_000_000


async def main(url: str, home: str, seed: int, batches: int) -> None:
    engine = await open_database(url, Path(home))
    books = Books(engine)
    chance = random.Random(seed)
    for batch in range(batches):
        rows = [
            request(
                f"{AT << 80 | seed << 40 | batch * ROWS + number:032x}",
                AT,
                user_id=f"u{chance.randrange(CUSTOMERS)}",
                input_tokens=7,
            )
            for number in range(ROWS)
        ]
        await books.write(rows, [])
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3], *map(int, sys.argv[3:5])))  # type: ignore[arg-type]
