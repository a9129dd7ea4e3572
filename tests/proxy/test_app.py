"""The composition: what is served, and by whom it is found."""

from pathlib import Path

import pytest
from starlette.routing import Route

from proxy.app import build_app
from proxy.config import ConfigError, load
from proxy.home import Home


def test_the_routes(tmp_path: Path) -> None:
    app = build_app(lambda: load(None, {}), Home(tmp_path))
    paths = {route.path for route in app.routes if isinstance(route, Route)}
    assert {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/models"} <= paths
    assert {"/health", "/api/v1/health/live", "/api/v1/keys/{id}"} <= paths


def test_a_faulty_configuration_is_told_before_anything_is_made(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("nonsense: 1")
    with pytest.raises(ConfigError):
        build_app(lambda: load(path, {}), Home(tmp_path / "home"))
