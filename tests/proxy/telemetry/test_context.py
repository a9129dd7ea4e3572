"""Whether there are traces, and which request is under way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.config import ConfigError, load
from proxy.config_types import TracesSection
from proxy.telemetry.context import UNDER_WAY, endpoint_of, request_id, trace_id
from proxy.types import Record, Trace

OTLP = "OTEL_EXPORTER_OTLP_"


@pytest.mark.parametrize(
    ("configured", "environ", "expected"),
    [
        (None, {}, None),
        (None, {OTLP + "ENDPOINT": ""}, None),
        ("http://c:4318", {}, "http://c:4318/v1/traces"),
        ("http://c:4318/", {}, "http://c:4318/v1/traces"),
        ("http://c/v1/traces", {}, "http://c/v1/traces"),
        ("http://c", {OTLP + "ENDPOINT": "http://d"}, "http://c/v1/traces"),
        (None, {OTLP + "ENDPOINT": "http://d/x/"}, "http://d/x/v1/traces"),
        (None, {OTLP + "TRACES_ENDPOINT": "http://e/t", OTLP + "ENDPOINT": "http://d"}, "http://e/t"),
        (None, {OTLP + "ENDPOINT": "http://d", "OTEL_TRACES_EXPORTER": "none"}, None),
        (None, {OTLP + "ENDPOINT": "http://d", "OTEL_TRACES_EXPORTER": "otlp"}, "http://d/v1/traces"),
        (None, {OTLP + "ENDPOINT": "http://d", OTLP + "PROTOCOL": "grpc"}, None),
        (None, {OTLP + "ENDPOINT": "http://d", OTLP + "TRACES_PROTOCOL": "grpc"}, None),
        ("http://c", {"OTEL_SDK_DISABLED": "true"}, None),
    ],
)  # fmt: skip
def test_where_traces_go(
    configured: str | None, environ: dict[str, str], expected: str | None
) -> None:
    section = TracesSection.model_validate({"endpoint": configured})
    assert endpoint_of(section, environ) == expected


def test_a_request_is_named_while_it_is_served() -> None:
    record = Record("01a1ff1")
    token = UNDER_WAY.set(record)
    try:
        assert (request_id(), trace_id()) == ("01a1ff1", None)
        record.trace = Trace(0xABC, 1, None, True)
        assert trace_id() == "00000000000000000000000000000abc"
        record.status = 200
        assert (request_id(), trace_id()) == (None, None)
    finally:
        UNDER_WAY.reset(token)
    assert (request_id(), trace_id()) == (None, None)


TEXT = """
providers: {up: {dialect: openai, base_url: "http://127.0.0.1:9/v1", api_key: k}}
telemetry:
  traces: {endpoint: "http://collector:4318", headers: {authorization: "${TOKEN}"}}
"""


def test_traces_want_their_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    config = load(path, {"TOKEN": "sk-collector"})
    assert "sk-collector" not in repr(config)
    monkeypatch.setattr("proxy.config.find_spec", lambda _: None)
    with pytest.raises(ConfigError) as caught:
        load(path, {"TOKEN": "sk-collector"})
    assert str(caught.value) == (
        "config.yaml:4: telemetry.traces.endpoint: needs an extra: pip install 'turnout[otel]'"
    )


def test_a_gateway_without_traces_loads_no_opentelemetry(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from proxy.app import build_app\n"
        "from proxy.config import load\n"
        "from proxy.home import Home\n"
        "from pathlib import Path\n"
        "from starlette.testclient import TestClient\n"
        f"app = build_app(lambda: load(None, {{}}), Home(Path({str(tmp_path)!r})))\n"
        "with TestClient(app) as client:\n"
        "    assert client.get('/health/live').status_code == 200\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    given = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=given, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "[]\n", done.stderr
