"""`python -m proxy.local_server FILE NAME CONTEXT`: llama.cpp's server, for `proxy.local`.

A process of its own, because loading a model holds Python's interpreter lock for 0.9 s, in which
no other request of the gateway would move; and because a crash in native code ends this process
and not the gateway. It prints its address, and ends when its standard input does, which is when
the gateway does, however that ended.

Tools are taken and never called: SmolLM2's template has no place for them, and llama.cpp does not
hold to `tool_choice: required`, with this template or another (its issue 27217). A JSON schema is
held to.
"""

import os
import signal
import sys
from pathlib import Path

import xllamacpp

SLOTS = 4  # requests that are answered at once; more wait in llama.cpp's queue
QUIET = -1  # llama.cpp's verbosity: nothing on our streams
KEY = "TURNOUT_LOCAL_KEY"
"""Environment variable with the key that the server asks for."""


def serve(path: Path, name: str, context: int, key: str) -> xllamacpp.Server:
    """llama.cpp's server on a free port of loopback. Raises `RuntimeError`."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {name}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.n_ctx = context
    params.n_parallel = SLOTS
    params.kv_unified = True  # one context that the slots share, instead of a quarter each
    params.cpuparams.n_threads = _threads()
    params.cache_ram_mib = 0
    params.verbosity = QUIET
    params.ui = False
    params.endpoint_slots = False
    params.warmup = False
    return xllamacpp.Server(params)


def _threads() -> int:
    """Half of the cores: llama.cpp's threads wait for each other by spinning.

    On two cores, tokens a second with one thread and with two: 87 and 144 when nothing else runs,
    92 and 19 to 52 beside one busy process (with four requests at once 85 and 14 to 23).
    """
    return max(1, (os.cpu_count() or 2) // 2)


def main() -> None:
    """Serves until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a stop is the gateway's to answer: it drains
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    path, name, context = sys.argv[1:]
    server = serve(Path(path), name, int(context), os.environ.pop(KEY))
    print(server.listening_address, flush=True)
    sys.stdin.buffer.read()
    os._exit(0)  # without waiting for what is being generated


if __name__ == "__main__":
    main()
