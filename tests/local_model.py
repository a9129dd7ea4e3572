"""The real model for tests that need it, fetched once a machine."""

import os
from pathlib import Path

import platformdirs
import pytest

from proxy.models import ModelError, pull

CACHE = Path(os.environ.get("TURNOUT_TEST_MODELS", platformdirs.user_cache_path("turnout-tests")))
INSTALL = "pip install -e '.[dev]' && turnout models pull smollm2"


def lend(home: Path) -> None:
    """Puts the model where a gateway with this home looks for it, or skips aloud."""
    try:
        pulled = pull(CACHE, "smollm2")
    except ModelError as error:
        pytest.skip(f"the local model is missing ({error}); type: {INSTALL}")
    target = home / "models" / pulled.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.symlink_to(pulled)
