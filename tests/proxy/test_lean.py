"""What is left out of libraries is there elsewhere, and is not missed here."""

import subprocess
import sys
from importlib import import_module

import pytest

from proxy import lean

HEAVY = {"sqlalchemy.orm", "httpx", "httpx2", "alembic", "cryptography", "redis", "numpy", "tqdm"}


def loaded(code: str) -> set[str]:
    """The modules that a new process has after `code`."""
    code += "; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_server_loads_nothing_that_it_does_not_need() -> None:
    assert loaded("import proxy.__main__, proxy.app") & HEAVY == set()


def test_who_uses_it_as_a_library_has_all() -> None:
    code = "import proxy.app; from sqlalchemy.ext.asyncio import AsyncSession; AsyncSession()"
    assert "sqlalchemy.orm" in loaded(code)


@pytest.mark.parametrize("name", lean.LEFT_OUT)
def test_the_names_are_those_of_the_real_module(name: str) -> None:
    real = import_module(name)
    assert [a for a in lean.LEFT_OUT[name] if not hasattr(real, a)] == []


def test_what_is_left_out_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"proxy/lean\.py"):
        lean.LeftOut()
