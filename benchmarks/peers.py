"""Other gateways beside Turnout, when they are installed in environments of their own.

They get the same upstream, the same load and the same core. LiteLLM checks a key and routes with
a fallback, but keeps no ledger (that needs PostgreSQL); Portkey routes with a fallback and has
neither: both do less than Turnout does in the same run.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

from process import Command, NotStarted, Process, clean_env, free_port
from servers import Place, Server

LITELLM = "TURNOUT_BENCH_LITELLM"
PORTKEY = "TURNOUT_BENCH_PORTKEY"
MASTER_KEY = "sk-bench"
LITELLM_CONFIG = """\
model_list:
  - model_name: bench
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "{base}", api_key: bench}}
  - model_name: spare
    litellm_params: {{model: openai/gpt-4o, api_base: "{base}", api_key: bench}}
router_settings:
  fallbacks: [{{bench: [spare]}}]
general_settings:
  master_key: {key}
"""


def start_litellm(place: Place) -> Server | None:
    """LiteLLM's proxy from the virtual environment that TURNOUT_BENCH_LITELLM names."""
    venv = os.environ.get(LITELLM)
    if not venv:
        return None
    program = Path(venv).absolute() / "bin" / "litellm"
    config = place.folder / "litellm.yaml"
    base = f"http://127.0.0.1:{place.upstream}/v1"
    config.write_text(LITELLM_CONFIG.format(base=base, key=MASTER_KEY))
    port = free_port()
    # It would fetch its price list from the network at every start; it carries one with it.
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
    arguments = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    process = _start(
        place,
        "litellm",
        [str(program), *arguments, "--num_workers", "1", "--telemetry", "False"],
        env,
        port,
        "/health/liveliness",
    )
    headers = [f"authorization: Bearer {MASTER_KEY}"]
    return Server("litellm", process, headers=headers, starts=[process.start_seconds])


def start_portkey(place: Place) -> Server | None:
    """Portkey's gateway from the node_modules that TURNOUT_BENCH_PORTKEY names."""
    modules = os.environ.get(PORTKEY)
    if not modules:
        return None
    script = Path(modules).absolute() / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    port = free_port()
    process = _start(
        place, "portkey", ["node", str(script), f"--port={port}", "--headless"], {}, port, "/"
    )
    target = {
        "provider": "openai",
        "api_key": "bench",
        "custom_host": f"http://127.0.0.1:{place.upstream}/v1",
    }
    targets = [
        {**target, "override_params": {"model": "gpt-4o-mini"}},
        {**target, "override_params": {"model": "gpt-4o"}},
    ]
    config = {"strategy": {"mode": "fallback"}, "targets": targets}
    headers = [f"x-portkey-config: {json.dumps(config, separators=(',', ':'))}"]
    return Server("portkey", process, headers=headers, starts=[process.start_seconds])


def _start(
    place: Place, name: str, argv: list[str], env: dict[str, str], port: int, health: str
) -> Process:
    command = Command(
        name=name,
        argv=argv,
        env=clean_env(place.folder, env),
        port=port,
        health=health,
        folder=place.folder,
        cores=place.cores.server,
        patience=120,
    )
    try:
        return Process(command)
    except FileNotFoundError as error:
        raise NotStarted(f"{name}: {error}") from None


PEERS: dict[str, Callable[[Place], Server | None]] = {
    "litellm": start_litellm,
    "portkey": start_portkey,
}
