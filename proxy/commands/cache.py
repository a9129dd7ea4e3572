"""`turnout cache`: what the running server's cache does, filling it, dropping from it.

A cache lives in the server's memory, so these commands ask the server over HTTP.
"""

import argparse
import http.client
import os
import ssl
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from proxy.commands import table
from proxy.config import Config, ConfigError, find, load
from proxy.home import Home

PURGES = ("pattern", "model", "task", "tag", "epoch")
BATCH = 1000  # prompts of one request
PATIENCE = 900.0  # seconds without a word: a prompt may take ten minutes, a large purge some
EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (not bound here)
"""Where to find a server that listens on all addresses."""


class ServerError(Exception):
    """No server, or one that says no: what to tell, and what to do."""


class FileError(ValueError):
    """A file of prompts that can't be read as one."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running gateway, and the key that opens it."""

    url: str
    key: str = field(repr=False)

    @contextmanager
    def answer(
        self, method: str, path: str, body: Any = None
    ) -> Iterator[http.client.HTTPResponse]:
        """What it answers, unread. Raises `ServerError` for anything but a whole 200."""
        connection = self._connection()
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        content = None if body is None else orjson.dumps(body)
        begun = False
        try:
            connection.request(method, urlsplit(self.url).path.rstrip("/") + path, content, headers)
            answer = connection.getresponse()
            begun = True
            if answer.status != 200:
                raise ServerError(self._said(answer.status, answer.read()))
            yield answer
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(self._away(begun, error)) from None
        finally:
            connection.close()

    def _away(self, begun: bool, error: Exception) -> str:
        if begun:
            return f"the server at {self.url} broke off ({error}); what it did until then stays"
        return (
            f"no Turnout answers at {self.url} ({error}). Start one with 'turnout serve', or say "
            "with --url where it is: what is cached is in the running server"
        )

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What it answers, as JSON."""
        with self.answer(method, path, body) as answer:
            return orjson.loads(answer.read())

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ServerError(f"--url is an http or https URL, not {self.url!r}")
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=PATIENCE, context=context
        )

    def _said(self, status: int, body: bytes) -> str:
        """A refusal, in words."""
        try:
            said = orjson.loads(body)["error"]["message"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return f"what answers at {self.url} is no Turnout: status {status}"
        if status == 401:
            return (
                f"the server at {self.url} has another master key than this configuration; run "
                "the command with the server's own --config and TURNOUT_HOME"
            )
        return f"{said} (status {status})"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the command and its own commands."""
    parser = commands.add_parser("cache", help="what a running server's cache does; fill or purge")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    report = actions.add_parser("report", help="hits, misses, what was saved, how right it is")
    report.add_argument("--days", metavar="N", type=int, default=30, help="of the ledger; 30")
    report.add_argument("--format", choices=("table", "json"), default="table")
    report.set_defaults(func=run, action=_report)
    warm = actions.add_parser("warm", help="ask prompts now, so that their answers are kept")
    warm.add_argument("file", metavar="FILE", help="one prompt a line, or JSON lines; - is stdin")
    named = warm.add_mutually_exclusive_group(required=True)
    named.add_argument("--model", metavar="M", help="the name that is asked for")
    named.add_argument("--task", metavar="T", help="or the task")
    owner = warm.add_mutually_exclusive_group()
    owner.add_argument("--key", metavar="ID", help="the virtual key that will ask (its id)")
    owner.add_argument("--user", metavar="ID", help="or the user")
    warm.add_argument("--concurrency", metavar="N", type=int, default=4, help="at a time; 4")
    warm.set_defaults(func=run, action=_warm)
    purge = actions.add_parser("purge", help="drop answers: those that agree in all that is given")
    purge.add_argument("--pattern", metavar="P", help="of ids, such as 'llm:cache:TASK:*'")
    purge.add_argument("--model", metavar="M", help="asked for, or answered by")
    purge.add_argument("--task", metavar="T", help="of that task; - for those of none")
    purge.add_argument("--tag", metavar="T", help="marked with that tag")
    purge.add_argument("--epoch", metavar="E", help="of that cache.epoch")
    purge.add_argument("--all", action="store_true", help="everything")
    purge.set_defaults(func=run, action=_purge)
    for action in (report, warm, purge):
        action.add_argument("--config", metavar="FILE")
        action.add_argument("--url", metavar="URL", help="of the server, if not the configured one")


def run(args: argparse.Namespace) -> int:
    """Exit code 1 when something is at fault, which stderr tells; 130 when it was interrupted."""
    try:
        config = load(find(args.config, os.environ, Path.cwd()), os.environ)
        master = config.auth.master_key or Home.find(os.environ).secret("master_key")
        server = Server(args.url or _url(config), master.get_secret_value())
        code: int = args.action(args, server)
    except (ConfigError, ServerError, FileError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was answered until now is kept", file=sys.stderr)
        return 130
    return code


def _url(config: Config) -> str:
    """Where the configured server listens."""
    host, port = config.server.host, config.server.port
    if port == 0:
        raise ServerError("the configuration takes any free port; say with --url which it is")
    host = EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


# Reporting.


def _report(args: argparse.Namespace, server: Server) -> int:
    found = server.ask("GET", f"/api/v1/cache/metrics?days={args.days}")
    if args.format == "json":
        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return 0
    print(table.render(("since the server began", ""), _lines(found)))
    semantic = found["semantic"]
    if semantic["state"] != "off":
        print("\n" + table.render(("by meaning", ""), _meaning(semantic)))
    for head, group in (("misses", found["misses"]), ("bypasses", found["bypasses"])):
        if group:
            rows = sorted(group.items(), key=lambda pair: -pair[1])
            print("\n" + table.render((head, "count"), [(name, f"{n:,}") for name, n in rows]))
    if found["stages"]:
        rows = [
            (name, f"{stage['count']:,}", _number(stage["p50_ms"]), _number(stage["p99_ms"]))
            for name, stage in found["stages"].items()
        ]
        print("\n" + table.render(("stage", "count", "p50 ms", "p99 ms"), rows))
    return 0


def _lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    hits = found["hits"]
    lines = [
        ("hits, exact", f"{hits['exact']:,}"),
        ("hits by meaning", f"{hits['semantic']:,}"),
        ("misses", f"{sum(found['misses'].values()):,}"),
        ("bypasses", f"{sum(found['bypasses'].values()):,}"),
        ("hit rate", f"{found['hit_rate']:.1%}"),
        ("answers stored", f"{found['stored']:,}"),
        ("answers kept now", _number(found["entries"])),
        ("bytes", _number(found["bytes"])),
        ("saved USD", f"{found['saved_usd']:.6f}"),
        ("saved USD, net of checks", f"{found['net_saved_usd']:.6f}"),
        ("saved tokens", f"{found['saved_tokens']:,}"),
    ]
    ledger = found["ledger"]
    if ledger is not None:
        days = f"{ledger['days']} days, all processes"
        lines += [
            (f"requests, {days}", f"{ledger['requests']:,}"),
            ("… answered from the cache", f"{ledger['cached']:,}"),
            ("… saved USD", f"{ledger['saved_usd']:.6f}"),
            ("… spent on checks, USD", f"{ledger['shadow_usd']:.6f}"),
        ]
    return lines


def _meaning(semantic: Mapping[str, Any]) -> list[tuple[str, str]]:
    wrong = semantic["wrong"]
    rate = "not known yet"
    if wrong["rate"] is not None:
        rate = f"{wrong['rate']:.2%} ({wrong['low']:.2%} to {wrong['high']:.2%})"
    thresholds = [
        (f"serves from, max_wrong {name}", "nothing" if score is None else f"{score:.4f}")
        for name, score in semantic["thresholds"].items()
    ]
    return [
        ("state", semantic["state"]),
        ("embedder", semantic["embedder"] or ""),
        ("questions", f"{semantic['entries']:,}"),
        ("labels", f"{semantic['labels']:,}"),
        ("quarantined", f"{semantic['quarantined']:,}"),
        ("wrong when served", rate),
        ("certified", "yes" if semantic["certified"] else "no"),
        *thresholds,
        ("checks", f"{semantic['shadow']['requests']:,}"),
        ("checks, USD", f"{semantic['shadow']['usd']:.6f}"),
    ]


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:,}"


# Warming.


def _warm(args: argparse.Namespace, server: Server) -> int:
    """Exit code 1 when a prompt failed."""
    from tqdm import tqdm

    prompts = read_prompts(args.file)
    named = {"model": args.model, "task": args.task, "key_id": args.key, "user_id": args.user}
    asked = {name: value for name, value in named.items() if value is not None}
    asked["concurrency"] = args.concurrency
    came: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    cost = 0.0
    with tqdm(total=len(prompts), unit="prompt", desc="warming", file=sys.stderr) as bar:
        for begin in range(0, len(prompts), BATCH):
            for line in _told(server, {"prompts": prompts[begin : begin + BATCH], **asked}):
                came[line["status"]] += 1
                cost += line["cost_usd"] or 0.0
                if line["status"] in ("failed", "not_kept"):
                    failed[f"{line['status']}: {line.get('reason')}"] += 1
                bar.update()
                bar.set_postfix({**came, "usd": f"{cost:.4f}"}, refresh=False)
    for reason, count in failed.most_common():
        print(f"{count:,} {reason}", file=sys.stderr)
    names = ("stored", "hit", "not_kept", "failed")
    print(", ".join(f"{came[name]:,} {name}" for name in names) + f", {cost:.6f} USD")
    return 1 if came["failed"] else 0


def _told(server: Server, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One line a prompt; the summary is for others. Raises `ServerError` when it breaks off."""
    done = False
    with server.answer("POST", "/api/v1/cache/warm", body) as answer:
        for raw in answer:
            line = orjson.loads(raw)
            done = "summary" in line
            if not done:
                yield line
    if not done:
        raise ServerError(f"the server at {server.url} broke off; what it did until then stays")


def read_prompts(name: str) -> list[Any]:
    """The prompts of a file, `-` for stdin: a text a line, or a JSON value a line where the name
    ends in `.jsonl` or the first line begins with `{`. Raises `FileError`, `OSError`."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise FileError(f"{name} is not a text in UTF-8") from None
    lines = [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise FileError(f"{name} has no prompts")
    if not name.endswith(".jsonl") and not lines[0][1].startswith("{"):
        return [line for _, line in lines]
    prompts = []
    for number, line in lines:
        try:
            prompts.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise FileError(f"{name}:{number}: not valid JSON: {error}") from None
    return prompts


# Purging.


def _purge(args: argparse.Namespace, server: Server) -> int:
    given = {name: getattr(args, name) for name in PURGES}
    named = {name: value for name, value in given.items() if value is not None}
    if bool(named) is args.all:
        print(
            f"say what to drop, by --{', --'.join(PURGES)}, or --all for everything",
            file=sys.stderr,
        )
        return 1
    dropped = server.ask("POST", "/api/v1/cache/invalidate", named)["invalidated"]
    print(f"{dropped:,} answers dropped")
    return 0
