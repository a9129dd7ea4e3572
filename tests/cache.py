"""Where tests keep what they fetch once a machine."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """`$TURNOUT_TEST_CACHE`, or a folder of the user's cache."""
    return Path(os.environ.get("TURNOUT_TEST_CACHE", platformdirs.user_cache_path("turnout-tests")))
