"""What was frozen before the blind test was opened, and by which hash it is known.

python -m benchmarks.cache.frozen
"""

import hashlib
from pathlib import Path

from benchmarks.cache import corpus

SEMANTIC = Path(__file__).parents[2] / "proxy" / "semantic"


def digest() -> str:
    """SHA-256 of the guards, the pair score and its trained prior, file by file."""
    summed = hashlib.sha256()
    files = [*sorted((SEMANTIC / "guards").glob("*.py")), SEMANTIC / "pairs.py"]
    for path in [*files, SEMANTIC / "data" / "prior.npz"]:
        summed.update(path.relative_to(SEMANTIC).as_posix().encode() + b"\0" + path.read_bytes())
    return summed.hexdigest()


if __name__ == "__main__":
    print("guards, pair score and prior", digest())
    print("corpus", corpus.digest())
