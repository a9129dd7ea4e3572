"""The configuration as it is shown: what is masked, and what is not."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.config import load
from proxy.doors.config import masked


def shown(folder: Path, text: str, **environ: str) -> Any:
    path = folder / "config.yaml"
    path.write_text(text)
    return yaml.safe_load(masked(load(path, environ)))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///turnout-a.db", "sqlite:///turnout-a.db"),
        ("postgresql://u:hunter2@db.test:5/x", "postgresql://***@db.test:5/x"),
        ("postgresql://u:hun@ter2@db.test/x", "postgresql://***@db.test/x"),
        ("postgresql://u:hun/ter2?@db.test/x", "postgresql://***@db.test/x"),
        ("postgresql://u:hun ter2@db.test/x", "postgresql://***@db.test/x"),
        ("postgresql://hunter2@db.test/x", "postgresql://***@db.test/x"),
        ("postgresql://db.test/x?password=hunter2&a=b", "postgresql://db.test/x?***"),
        ("postgresql://u:p@db.test/x?passfile=/hunter2#y", "postgresql://***@db.test/x?***"),
    ],
)
def test_where_the_database_is_but_not_what_opens_it(tmp_path: Path, url: str, said: str) -> None:
    assert shown(tmp_path, f'storage: {{database: "{url}"}}')["storage"] == {"database": said}


def test_secrets_by_type_and_by_name(tmp_path: Path) -> None:
    said = shown(
        tmp_path,
        """
storage: {redis: "redis://:hunter2@cache.test:6379/0"}
auth: {master_key: "${M}", service_keys: [first-hunter2, second-hunter2]}
alerts: {webhook: "https://hooks.test/hunter2", secret: hunter2-hunter2}
providers:
  up:
    dialect: openai
    base_url: https://up.test/v1
    api_key: "${M}"
    timeout: {first_token: 5s}
    headers: {authorization: hunter2, x-any: hunter2}
tasks:
  t:
    targets: [up/m]
    defaults:
      apiKey: hunter2
      API_KEY: [hunter2, {a: hunter2, b: 5, c: null, d: true}]
      password: hunter2
      max_tokens: 5
      key: hunter2
      deep: [{client_secret: hunter2, plain: as it is}]
""",
        M="the-master-hunter2",
    )
    assert "hunter2" not in yaml.safe_dump(said)
    assert said["storage"] == {"redis": "***"}
    assert said["auth"] == {"master_key": "***", "service_keys": ["***", "***"]}
    assert said["alerts"] == {"webhook": "***", "secret": "***"}
    up = said["providers"]["up"]
    assert (up["api_key"], up["timeout"]) == ("***", {"first_token": 5.0})
    assert up["headers"] == {"authorization": "***", "x-any": "***"}
    assert said["tasks"]["t"]["defaults"] == {
        "apiKey": "***",
        "API_KEY": ["***", {"a": "***", "b": "***", "c": None, "d": True}],
        "password": "***",
        "max_tokens": 5,
        "key": "***",
        "deep": [{"client_secret": "***", "plain": "as it is"}],
    }


def test_what_is_shipped_is_not_shown(tmp_path: Path) -> None:
    text = "providers: {up: {dialect: openai, base_url: 'http://127.0.0.1:9/v1'}}\n"
    said = shown(tmp_path, text + "tasks: {simple: {targets: [up/m]}, t: {targets: [up/m]}}")
    assert said["tasks"] == {name: {"targets": [{"target": "up/m"}]} for name in ("simple", "t")}
    assert "pipelines" not in said
    assert "actions" not in said
    assert shown(tmp_path, text).keys() == {"providers"}


def test_a_secret_that_stands_elsewhere_too(tmp_path: Path) -> None:
    said = shown(
        tmp_path,
        """
auth: {master_key: a-long-enough-secret, service_keys: [short]}
providers:
  up: {dialect: openai, base_url: "https://up.test/a-long-enough-secret/v1"}
tasks:
  t:
    targets: [up/m]
    prompt: {system: "Say a-long-enough-secret at http://u:p@x.test/?k=v to a short man"}
    defaults: {a-long-enough-secret: 1}
""",
    )
    assert said["providers"]["up"]["base_url"] == "https://up.test/***/v1"
    system = "Say *** at http://***@x.test/?*** to a short man"
    assert said["tasks"]["t"]["prompt"] == {"system": system}
    assert said["tasks"]["t"]["defaults"] == {"***": "***"}


def test_what_is_as_by_default_is_left_out(tmp_path: Path) -> None:
    said = shown(tmp_path, "server: {port: 8000, drain: 10s}\nlimits: {rpm: 5}\nmodels: {}")
    assert said["server"] == {"drain": 10.0}
    assert said["limits"] == {"rpm": 5}
    assert not {"storage", "cache", "retry", "models"} & set(said)


def test_it_is_a_configuration_again(tmp_path: Path) -> None:
    """Of one without secrets nothing is lost."""
    text = """
providers:
  up: {dialect: openai, base_url: "https://up.test/v1", models: [m]}
models:
  a: {strategy: weighted, targets: [{target: up/m, weight: 2}, up/m]}
tasks:
  t: {targets: [up/m], cache: {ttl: 5m}, schema: {type: object, properties: {a: {type: string}}}}
pipelines:
  p: {steps: [{task: t, name: first, with: {x: job.y}}]}
cache: {ttl: 10s}
"""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    before = load(path, {})
    path.write_text(masked(before))
    assert load(path, {}).model_dump() == before.model_dump()
