"""`turnout serve`: runs the gateway."""

import argparse
import asyncio
import os
import sys
from importlib.metadata import version
from pathlib import Path

from proxy.config import Config, ConfigError, find
from proxy.home import Home
from proxy.keys import KeyStore
from proxy.server import Settings
from proxy.server import run as run_server
from proxy.storage.engine import StorageError, open_database
from proxy.telemetry.logs import format_of, set_up_logging
from proxy.vault import Vault


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the command."""
    parser = commands.add_parser("serve", help="run the gateway")
    parser.add_argument("--config", metavar="FILE", help="default: ./config.yaml, else built in")
    parser.add_argument("--host", metavar="H", help="address to listen on")
    parser.add_argument("--port", metavar="N", type=int, help="port to listen on")
    parser.add_argument("--workers", metavar="N", type=int, help="processes that serve")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Exit code 1 when the configuration, the database or the address is at fault."""
    try:
        set_up_logging(format_of("text", os.environ))
        path = find(args.config, os.environ, Path.cwd())
        given = None if path is None else str(path)
        settings = Settings(given, args.host, args.port, args.workers)
        config = settings.load()
        set_up_logging(format_of(config.telemetry.logs.format, os.environ))
        home = Home.find(os.environ)
        first_key = asyncio.run(_first_key(config, home))
        banner = _banner(config, home, first_key)
        return run_server(
            settings, config, home, lambda url: print(_filled(banner, url), flush=True)
        )
    except (ConfigError, StorageError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


async def _first_key(config: Config, home: Home) -> str | None:
    """A first virtual key for a database that has none; shown once, like every key."""
    engine = await open_database(config.storage.database, home.path)
    try:
        sealing = config.auth.encryption_key or home.secret("encryption_key")
        vault = await Vault.open(engine, sealing)
        keys = KeyStore(engine, vault.digest_key)
        if await keys.list():
            return None
        return (await keys.create(name="first key")).secret
    finally:
        await engine.dispose()


def _banner(config: Config, home: Home, first_key: str | None) -> str:
    """What is printed when the server is up, for `_filled`."""
    source = str(config.path or "built in").replace("{", "{{").replace("}", "}}")
    lines = [f"Turnout {version('turnout')}, configuration {source} (version {config.version})"]
    lines += ["  " + note.replace("{", "{{").replace("}", "}}") for note in config.notes]
    if config.auth.master_key is None:
        home.secret("master_key")
        lines.append(f"  master key: in {home.path / 'master_key'}")
    lines.append("")
    lines.append("  web page: {page}  (the dashboard)")
    if first_key is None:
        lines += [
            "  base URL: {url}",
            "  API key:  one you have; turnout keys create makes another",
        ]
        return "\n".join(lines)
    lines += [
        "  base URL: {url}",
        f"  API key:  {first_key}  (shown this once)",
        "",
        f"export OPENAI_BASE_URL={{url}} OPENAI_API_KEY={first_key}",
    ]
    return "\n".join(lines)


def _filled(banner: str, url: str) -> str:
    """A banner with the base URL, and with the address without `v1`, where the dashboard is."""
    return banner.format(url=url, page=url.removesuffix("v1"))
