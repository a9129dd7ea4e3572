"""Which sinks can be configured."""

from pathlib import Path
from typing import Any

import pytest

from proxy import config as configs
from proxy.config import ConfigError, load
from proxy.config_types import BigQuerySection, FirestoreSection

TEXT = """
sinks:
  bigquery: {project: my-project, dataset: llm, table: usage, credentials_file: /etc/sa.json}
  firestore: {project: my-project, emulator: "127.0.0.1:8080"}
"""


def test_both(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    sinks = load(path, {}).sinks
    assert sinks.bigquery == BigQuerySection(
        project="my-project", dataset="llm", table="usage", credentials_file="/etc/sa.json"
    )
    assert sinks.firestore is not None
    assert (sinks.firestore.database, sinks.firestore.collection) == ("(default)", "llm_usage")


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows would wait for ever: better to say so at once."""
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    monkeypatch.setattr(configs, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    told = [(problem.path, problem.message) for problem in caught.value.problems]
    assert told == [
        ("sinks.bigquery", "needs an extra: pip install 'turnout[google]'"),
        ("sinks.firestore", "needs an extra: pip install 'turnout[google]'"),
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"project": "../x"},
        {"project": "x/y"},
        {"project": "p"},
        {"collection": "a/b"},
        {"collection": ""},
        {"database": "a/b"},
        {"emulator": "http://127.0.0.1:80"},
        {"emulator": "127.0.0.1"},
    ],
)
def test_what_a_firestore_can_t_be(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        FirestoreSection(**({"project": "my-project"} | given))


@pytest.mark.parametrize(
    "given", [{"dataset": "a.b"}, {"table": "a/b"}, {"endpoint": "ftp://x"}, {"project": "a b c"}]
)
def test_what_a_table_can_t_be(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        BigQuerySection(**({"project": "my-project", "dataset": "d", "table": "t"} | given))


def test_projects_of_a_domain() -> None:
    FirestoreSection(project="example.com:my-project")
