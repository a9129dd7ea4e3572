"""The benchmark's files import each other by name, as they do when `run.py` is run."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
