"""The configuration: a YAML file -> frozen values, with every fault under its path and line."""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator

from adapters import ADAPTERS
from adapters.base import Auth
from proxy import presets, yamlsource
from proxy.config_types import (
    Action,
    AlertsSection,
    AuthSection,
    Backend,
    BreakerSection,
    CacheSection,
    LedgerSection,
    LimitsSection,
    Pipeline,
    PricingSection,
    Provider,
    RetrySection,
    Route,
    RouteTarget,
    Section,
    ServerSection,
    SinksSection,
    StorageSection,
    Task,
    TelemetrySection,
    billed_by_name,
)

__all__ = [
    "Config",
    "ConfigError",
    "Problem",
    "Provider",
    "Route",
    "RouteTarget",
    "Task",
    "built_in",
    "find",
    "load",
]

_KEYS = ("api_key", "api_keys")

PASSES = 5  # of validation, each without what the one before found wrong
_GONE = object()

BUILT_IN = Path(__file__).with_name("default.yaml")
THROW_AWAY = frozenset(
    {"dev-gateway-key", "changeme", "change-me", "secret", "master", "password", "test", "default"}
)
"""Secrets that everybody knows: for a laptop only."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a configuration. `path` is dotted, `line` counts from 1."""

    path: str
    line: int | None
    message: str


class ConfigError(Exception):
    """A configuration that does not load; every fault is listed."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.line or 0, p.path)))
        super().__init__("\n".join(self._line(name, problem) for problem in self.problems))

    @staticmethod
    def _line(name: str, problem: Problem) -> str:
        where = f"{name}:{problem.line}" if problem.line else name
        return (
            f"{where}: {problem.path}: {problem.message}"
            if problem.path
            else f"{where}: {problem.message}"
        )


class Config(Section):
    """One valid configuration. `notes` say what is off and what is unwise."""

    server: ServerSection = ServerSection()
    storage: StorageSection = StorageSection()
    auth: AuthSection = AuthSection()
    providers: dict[str, Provider] = Field(default={})
    models: dict[str, Route] = Field(default={})
    tasks: dict[str, Task] = Field(default={})
    pipelines: dict[str, Pipeline] = Field(default={})
    actions: dict[str, Action] = Field(default={})
    backends: dict[str, Backend] = Field(default={})
    cache: CacheSection = CacheSection()
    limits: LimitsSection = LimitsSection()
    retry: RetrySection = RetrySection()
    breaker: BreakerSection = BreakerSection()
    pricing: PricingSection = PricingSection()
    ledger: LedgerSection = LedgerSection()
    alerts: AlertsSection = AlertsSection()
    sinks: SinksSection = SinksSection()
    telemetry: TelemetrySection = TelemetrySection()
    drop_params: bool = False

    _version: str = ""
    _path: Path | None = None
    _notes: tuple[str, ...] = ()

    _billed = field_validator("tasks")(billed_by_name)

    @property
    def version(self) -> str:
        """Twelve hex digits of the file's SHA-256."""
        return self._version

    @property
    def path(self) -> Path | None:
        """The file; None for the built-in configuration."""
        return self._path

    @property
    def notes(self) -> tuple[str, ...]:
        return self._notes

    def with_server(
        self, host: str | None = None, port: int | None = None, workers: int | None = None
    ) -> "Config":
        """A copy with the command line's choices. Raises `ConfigError`."""
        chosen = {"host": host, "port": port, "workers": workers}
        given = {name: value for name, value in chosen.items() if value is not None}
        try:
            server = ServerSection.model_validate(self.server.model_dump() | given)
        except ValidationError as error:
            problems = [Problem(f"--{e['loc'][0]}", None, _words(e)) for e in error.errors()]
            raise ConfigError("command line", problems) from None
        changed = self.model_copy(update={"server": server})
        problems = list(_unsafe(changed, yamlsource.Source()))
        if problems:
            raise ConfigError("command line", problems)
        return changed


def find(given: str | None, environ: Mapping[str, str], folder: Path) -> Path | None:
    """The file to load: `--config`, `$TURNOUT_CONFIG`, `./config.yaml`; None for the built-in."""
    named = given or environ.get("TURNOUT_CONFIG")
    if named:
        return (folder / named).resolve()
    here = folder / "config.yaml"
    return here.resolve() if here.is_file() else None


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration of a file, or the built-in one. Raises `ConfigError`, `OSError`."""
    file = path or BUILT_IN
    raw = file.read_bytes()
    beside = {} if path is None else dotenv_values(path.with_name(".env"), interpolate=False)
    known = {name: value for name, value in beside.items() if value is not None} | dict(environ)
    source = yamlsource.read(raw.decode(errors="replace"), known)
    problems = [Problem(_dotted(f.path), f.line, f.message) for f in source.faults]
    config = None
    if source.data is not None and not isinstance(source.data, dict):
        problems.append(Problem("", 1, "the configuration must be a mapping"))
    elif not any(fault.path == () for fault in source.faults):
        config, more = _validated(source, known, path is None)
        problems += more
    if problems or config is None:
        raise ConfigError(file.name, problems)
    config._version = ("" if path else "default-") + hashlib.sha256(raw).hexdigest()[:12]
    config._path = path
    return config


def _validated(
    source: yamlsource.Source, environ: Mapping[str, str], built_in: bool
) -> tuple[Config | None, list[Problem]]:
    data = dict(source.data or {})
    shipped = {} if built_in else _shipped()
    if data.get("providers") is None:
        own = yamlsource.read(BUILT_IN.read_text(), environ)
        data["providers"] = own.data["providers"]
        source.unset |= {path: name for path, name in own.unset.items() if path[0] == "providers"}
        source.filled |= {path for path in own.filled if path[0] == "providers"}
    data = {name: value for name, value in data.items() if value is not None}
    _add_shipped(data, shipped)
    providers, dark, unknown = _from_presets(data["providers"], source, environ)
    data["providers"] = providers
    config, problems = _as_far_as_valid(data, source)
    problems += unknown
    if config is None:
        return None, problems
    config = _switched_off(config, source, environ, dark)
    problems += [*_routes_problems(config, source), *_unsafe(config, source)]
    problems += _work_problems(config, source)
    problems += [*_unshippable(config, source), *_untraceable(config, source)]
    config._notes = (*_notes(config), *([] if built_in else _left_out(source)))
    return config, problems


def _add_shipped(data: dict[str, Any], shipped: Mapping[str, Any]) -> None:
    """What `/api/llm` serves besides what the file says, name by name. Where the file has a task
    of the name of a shipped pipeline or action, the task is meant."""
    written = data.get("tasks")
    own = written if isinstance(written, dict) else {}
    for section in ("tasks", "pipelines", "actions"):
        given = data.get(section, {})
        if isinstance(given, dict):
            kept = {n: e for n, e in shipped.get(section, {}).items() if n not in own}
            data[section] = kept | given


def _as_far_as_valid(
    data: dict[str, Any], source: yamlsource.Source
) -> tuple[Config | None, list[Problem]]:
    """The configuration without the values that don't fit, so that the rest is checked too."""
    problems: list[Problem] = []
    told: list[yamlsource.Path] = []
    for _ in range(PASSES):
        try:
            return Config.model_validate(data), problems
        except ValidationError as error:
            faults = {tuple(fault["loc"]): fault for fault in error.errors()}
            for path, fault in faults.items():
                if not any(before[: len(path)] == path for before in told):
                    problems.append(_problem(fault, source))  # not a mere consequence
            told += faults
            data = _without(data, list(faults))
    return None, problems


def _without(data: Any, paths: list[yamlsource.Path]) -> Any:
    """A copy of nested data without what stands at `paths`, or at the nearest place to it."""
    if () in paths or not isinstance(data, dict | list):
        return _GONE
    below: dict[str | int, list[yamlsource.Path]] = {}
    for step, *rest in paths:
        below.setdefault(step, []).append(tuple(rest))
    steps = list(data) if isinstance(data, dict) else range(len(data))
    if not below.keys() <= set(steps):
        return _GONE  # something is missing here
    kept = {s: _without(data[s], below[s]) if s in below else data[s] for s in steps}
    kept = {step: value for step, value in kept.items() if value is not _GONE}
    return kept if isinstance(data, dict) else list(kept.values())


@cache
def built_in() -> "Config":
    """The built-in configuration where the environment says nothing."""
    return load(None, {})


@cache
def _shipped() -> dict[str, Any]:
    """The sections of the built-in configuration as plain data, nothing filled in."""
    source = yamlsource.read(BUILT_IN.read_text(), {})
    data: dict[str, Any] = source.data
    return data


def _from_presets(
    providers: Any, source: yamlsource.Source, environ: Mapping[str, str]
) -> tuple[Any, dict[str, str], list[Problem]]:
    """The providers with what their presets know, those that are off and why, and the faults.

    An entry whose preset is unknown gets a stand-in, so that the rest of it is checked too.
    """
    if not isinstance(providers, dict):
        return providers, {}, []
    filled: dict[str, Any] = {}
    dark: dict[str, str] = {}
    problems = []
    for name, entry in providers.items():
        if isinstance(entry, dict) and entry.get("dialect") == "bedrock":
            entry = {"preset": "bedrock"} | entry  # there is one vendor of it
        if not isinstance(entry, dict) or entry.get("preset") is None:
            filled[name] = entry
            continue
        wrong = presets.unknown(entry["preset"])
        if wrong:
            problems.append(_at(source, ("providers", name, "preset"), wrong))
            stand_in = {"dialect": "openai", "base_url": "http://preset.invalid"} | entry
            filled[name] = {key: value for key, value in stand_in.items() if key != "preset"}
            continue
        unset = {str(path[2]) for path in source.unset if path[:2] == ("providers", name)}
        written = frozenset(entry) | unset
        filled[name], off = presets.with_environment(entry, environ, written)
        if "api_key" in filled[name] and "api_key" not in entry:
            source.filled.add(("providers", name, "api_key"))
        if off:
            dark[name] = off
    return filled, dark, problems


def _switched_off(
    config: Config, source: yamlsource.Source, environ: Mapping[str, str], dark: Mapping[str, str]
) -> Config:
    """Providers whose key is an unset variable are off, and say so; so are those of a preset
    that the environment says too little for, those that nothing can sign for, and those whose
    dialect no adapter speaks. `drop_params` of all is put into each."""
    providers = {}
    for name, provider in config.providers.items():
        missing = [
            variable
            for path, variable in source.unset.items()
            if path[:2] == ("providers", name) and path[2] in _KEYS
        ]
        if missing and not provider.keys:
            words = " and ".join(missing)
            provider = provider.switched_off(f"{words} is not set", lacks_key=True)
        elif reason := dark.get(name) or _unsigned(provider, environ):
            provider = provider.switched_off(reason)
        elif provider.dialect not in ADAPTERS:
            provider = provider.switched_off(f"dialect {provider.dialect} is not spoken yet")
        if config.drop_params:
            provider = provider.model_copy(update={"drop_params": True})
        if any(path[:2] == ("providers", name) and path[2] in _KEYS for path in source.filled):
            provider = provider.filled_by_environment()
        providers[name] = provider
    return config.model_copy(update={"providers": providers})


def _unsigned(provider: Provider, environ: Mapping[str, str]) -> str | None:
    """Why a provider's requests can't be signed for AWS; None when they can, or needn't be.

    Whether there are credentials is only guessed, from what needs no network: `auth: sigv4` in
    the file says that there are, such as those of an instance's role.
    """
    if provider.sent_by is not Auth.SIGV4:
        return None
    if provider.aws_region is None:
        return "it has no region"
    if provider.auth is None and not presets.may_have_aws_credentials(environ):
        return f"{presets.BEDROCK_KEY} is not set, and there are no AWS credentials"
    if find_spec("botocore") is None:
        return "signing for AWS needs botocore: pip install 'turnout[bedrock]'"
    return None


def _routes_problems(config: Config, source: yamlsource.Source) -> Iterator[Problem]:
    written = {str(path[1]) for path in source.lines if len(path) == 2 and path[0] == "providers"}
    for section, routes in (("models", config.models), ("tasks", config.tasks)):
        for name, route in routes.items():
            if name.count("*") > 1:
                yield _at(source, (section, name), "a name may have one * at most")
            for index, entry in enumerate(route.targets):
                message = _target_problem(config, written, name, entry.target)
                if message and (section, name) in source.lines:
                    yield _at(source, _target_path(source, section, name, index), message)


def _work_problems(config: Config, source: yamlsource.Source) -> Iterator[Problem]:
    """What pipelines and actions of the file name that is not there."""
    written = {path for path in source.lines if len(path) == 2}
    for name, pipeline in config.pipelines.items():
        if ("pipelines", name) not in written:
            continue
        for index, step in enumerate(pipeline.steps):
            if step.task not in config.tasks:
                message = f"there is no task {step.task!r}{_guess(step.task, config.tasks)}"
                yield _at(source, ("pipelines", name, "steps", index, "task"), message)
        if name in config.tasks:
            yield _at(source, ("pipelines", name), "a task has this name too")
    for name, action in config.actions.items():
        if ("actions", name) not in written:
            continue
        if action.backend not in config.backends and name not in _shipped()["actions"]:
            guess = _guess(action.backend, config.backends)
            message = f"there is no backend {action.backend!r}{guess}"
            yield _at(source, ("actions", name, "backend"), message)
        if name in config.tasks or name in config.pipelines:
            yield _at(source, ("actions", name), "a task or pipeline has this name too")


def _target_path(source: yamlsource.Source, section: str, name: str, index: int) -> yamlsource.Path:
    """A target's path as it was written: in full, in a list, or alone."""
    for path in ((section, name, "targets", index), (section, name, index)):
        if path in source.lines:
            return path
    return (section, name)


def _target_problem(config: Config, written: Collection[str], name: str, target: str) -> str | None:
    provider_name, slash, model = target.partition("/")
    provider = config.providers.get(provider_name)
    if provider is None:
        if provider_name in _shipped().get("providers", {}) or provider_name in written:
            return None  # of the shipped defaults and not in this file: off; or faulty itself
        return f"there is no provider {provider_name!r}{_guess(provider_name, config.providers)}"
    if not slash or not model:
        return None if "*" in name else f"{target!r} names no model; write {provider_name}/MODEL"
    if "*" in model and "*" not in name:
        return "a target may have a * only where its name has one"
    if provider.models and "*" not in model and model not in provider.models:
        return f"provider {provider_name} lists no model {model!r}{_guess(model, provider.models)}"
    return None


def _unsafe(config: Config, source: yamlsource.Source) -> Iterator[Problem]:
    """What may be on this machine only, where others can reach it."""
    if _is_loopback(config.server.host):
        return
    if config.auth.anonymous:
        message = f"callers without a key are for loopback only, and host is {config.server.host}"
        yield _at(source, ("auth", "anonymous"), message)
    for path, secret in _own_secrets(config):
        if _is_throw_away(secret):
            yield _at(
                source, path, "a secret that everybody knows is for loopback only; make your own"
            )


def _unshippable(config: Config, source: yamlsource.Source) -> Iterator[Problem]:
    """Sinks whose library is not installed: their rows would wait for ever."""
    for name, package in (
        ("bigquery", "google.cloud.bigquery"),
        ("firestore", "google.cloud.firestore_v1"),
    ):
        if getattr(config.sinks, name) is not None and not _is_installed(package):
            yield _at(source, ("sinks", name), "needs an extra: pip install 'turnout[google]'")


def _untraceable(config: Config, source: yamlsource.Source) -> Iterator[Problem]:
    """A place for traces, and nothing installed that sends them."""
    wanted = config.telemetry.traces.endpoint is not None
    packages = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
    if wanted and not all(map(_is_installed, packages)):
        path = ("telemetry", "traces", "endpoint")
        yield _at(source, path, "needs an extra: pip install 'turnout[otel]'")


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # not even what it is in
        return False


def _own_secrets(config: Config) -> Iterator[tuple[yamlsource.Path, SecretStr]]:
    auth = config.auth
    for name in ("master_key", "encryption_key"):
        secret = getattr(auth, name)
        if secret is not None:
            yield ("auth", name), secret
    if auth.jwt.secret is not None:
        yield ("auth", "jwt", "secret"), auth.jwt.secret
    for index, key in enumerate(auth.service_keys):
        yield ("auth", "service_keys", index), key


def _is_throw_away(secret: SecretStr) -> bool:
    return secret.get_secret_value().lower() in THROW_AWAY


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _notes(config: Config) -> Iterator[str]:
    for name, provider in config.providers.items():
        if provider.off:
            yield f"provider {name} is off: {provider.off}"
    for path, secret in _own_secrets(config):
        if _is_throw_away(secret):
            yield f"warning: {_dotted(path)} is a secret that everybody knows"
    for name, route in config.models.items():
        owners = {entry.target.partition("/")[0] for entry in route.targets}
        if all(o not in config.providers or config.providers[o].off for o in owners):
            yield f"model {name} is off: so is every target of it"


def _left_out(source: yamlsource.Source) -> Iterator[str]:
    """Of providers it is told already why they are off."""
    for path, variable in source.unset.items():
        if path[0] != "providers":
            yield f"{_dotted(path)} is as if not written: {variable} is not set"


def _problem(error: Any, source: yamlsource.Source) -> Problem:
    """One of pydantic's errors in plain words, at its line."""
    path = tuple(error["loc"])
    if error["type"] == "extra_forbidden":
        guess = _guess(str(path[-1]), _fields_at(path[:-1]))
        return _at(source, path, f"unknown field{guess}")
    if error["type"] == "missing":
        return _at(source, path, "is missing")
    return _at(source, path, _words(error))


def _words(error: Any) -> str:
    message: str = error["msg"]
    return message.removeprefix("Value error, ")


def _fields_at(path: yamlsource.Path) -> list[str]:
    """The fields that are known at a path."""
    known: Any = Config
    for step in path:
        known = _step(known, step)
        if known is None:
            return []
    return [field.alias or name for name, field in known.model_fields.items()]


def _step(model: type[BaseModel], step: str | int) -> Any:
    """The section below another one; tables of sections by name are passed through."""
    field = model.model_fields.get(str(step))
    if field is None:
        return model
    return next(_sections_in(field.annotation), None)


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _sections_in(inner)


def _at(source: yamlsource.Source, path: yamlsource.Path, message: str) -> Problem:
    return Problem(_dotted(path), source.line_of(path), message)


def _dotted(path: yamlsource.Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(
        "."
    )


def _guess(name: str, known: Any) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""
