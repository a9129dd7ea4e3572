"""A file -> a configuration, or every fault of it in one go."""

from pathlib import Path

import pytest

from proxy.config import Config, ConfigError, find, load

CANARY = "sk-canary-0123456789"
UP = 'providers: {up: {dialect: openai, base_url: "http://u.test/v1"}}\n'


def written(folder: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    (folder / "config.yaml").write_text(text)
    return load(folder / "config.yaml", environ or {})


def faults(folder: Path, text: str) -> dict[str, tuple[int | None, str]]:
    with pytest.raises(ConfigError) as caught:
        written(folder, text, {"CANARY": CANARY})
    assert CANARY not in str(caught.value)
    return {p.path: (p.line, p.message) for p in caught.value.problems}


def test_every_fault_in_one_go(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        """\
server:
  prot: 1
  drain: soon
providers:
  up: {dialect: openai, base_ur: "http://u.test/v1"}
  ok: {dialect: openai, base_url: "http://u.test/v1", models: [gpt-4o], api_key: "${CANARY}"}
models:
  a: [okk/x, ok/gpt-4]
  b: {strategy: random, targets: [ok/gpt-4o]}
  c: ok
""",
    )
    assert {path: line for path, (line, _) in found.items()} == {
        "server.prot": 2,
        "server.drain": 3,
        "providers.up.base_ur": 5,
        "models.a[0]": 8,
        "models.a[1]": 8,
        "models.b.strategy": 9,
        "models.c": 10,
    }
    assert 'did you mean "port"' in found["server.prot"][1]
    assert 'did you mean "ok"' in found["models.a[0]"][1]
    assert 'did you mean "gpt-4o"' in found["models.a[1]"][1]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("providers: {up: {dialect: openai, base_url: 'ftp://x'}}", "providers.up.base_url"),
        ("providers: {up: {dialect: openai, base_url: 'http://u:p@x'}}", "providers.up.base_url"),
        ("providers: {up: {dialect: klingon, base_url: 'http://x'}}", "providers.up.dialect"),
        (UP.replace("v1", 'v1", api_key: "  '), "providers.up.api_key"),
        (UP + "models: {'a*b*': up}", "models.a*b*"),
        (UP + "models: {a: up/x*}", "models.a"),
        (UP + "models: {a: []}", "models.a.targets"),
        ("server: {host: 0.0.0.0}\nauth: {anonymous: true}", "auth.anonymous"),
        ("server: {host: 0.0.0.0}\nauth: {service_keys: [changeme]}", "auth.service_keys[0]"),
        ("- 1", ""),
        ("retry: {attempts: 0}", "retry.attempts"),
    ],
)
def test_single_faults(tmp_path: Path, text: str, path: str) -> None:
    assert path in faults(tmp_path, text)


def test_an_unset_key_switches_a_provider_off(tmp_path: Path) -> None:
    text = UP.replace('v1"', 'v1", api_key: "${NO_KEY}"') + "models: {a: up/x}\n"
    config = written(tmp_path, text)
    assert config.providers["up"].off == "NO_KEY is not set"
    assert "provider up is off: NO_KEY is not set" in config.notes
    assert "model a is off: so is every target of it" in config.notes
    on = written(tmp_path, text, {"NO_KEY": CANARY})
    assert on.providers["up"].off is None
    assert CANARY not in repr(on)


def test_env_beside_the_file_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HOST=::1\nPORT=9\n")
    config = written(tmp_path, 'server: {host: "${HOST}", port: "${PORT}"}', {"PORT": "10"})
    assert (config.server.host, config.server.port) == ("::1", 10)


def test_without_providers_the_shipped_ones_serve(tmp_path: Path) -> None:
    config = written(tmp_path, "server: {port: 1}", {"OPENAI_API_KEY": CANARY})
    assert config.providers["openai"].off is None
    assert config.providers["groq"].off == "GROQ_API_KEY is not set"
    assert config.providers["local"].off is None
    assert "qualification" in config.tasks


def test_a_shipped_provider_that_is_absent_is_no_error(tmp_path: Path) -> None:
    config = written(tmp_path, UP + "models: {a: [openrouter/x, up/y]}")
    assert [entry.target for entry in config.models["a"].targets] == ["openrouter/x", "up/y"]


def test_throw_away_secrets_get_a_warning_on_loopback(tmp_path: Path) -> None:
    config = written(tmp_path, "auth: {service_keys: [dev-gateway-key]}")
    assert any(note.startswith("warning: auth.service_keys") for note in config.notes)


def test_the_command_line_is_checked_too(tmp_path: Path) -> None:
    config = written(tmp_path, "auth: {anonymous: true}")
    assert config.with_server(port=1).server.port == 1
    with pytest.raises(ConfigError, match="anonymous"):
        config.with_server(host="0.0.0.0")
    with pytest.raises(ConfigError, match="--port"):
        config.with_server(port=99999)


def test_the_version_is_the_contents(tmp_path: Path) -> None:
    first = written(tmp_path, "server: {port: 1}").version
    assert written(tmp_path, "server: {port: 2}").version != first
    assert written(tmp_path, "server: {port: 1}").version == first
    assert load(None, {}).version.startswith("default-")


def test_the_order_of_search(tmp_path: Path) -> None:
    assert find(None, {}, tmp_path) is None
    (tmp_path / "config.yaml").touch()
    assert find(None, {}, tmp_path) == tmp_path / "config.yaml"
    assert find(None, {"TURNOUT_CONFIG": "b.yaml"}, tmp_path) == tmp_path / "b.yaml"
    assert find("a.yaml", {"TURNOUT_CONFIG": "b.yaml"}, tmp_path) == tmp_path / "a.yaml"


def test_the_example_is_valid_with_nothing_in_the_environment() -> None:
    config = load(Path(__file__).parents[2] / "config.yaml", {})
    on = [name for name, provider in config.providers.items() if not provider.off]
    assert on == ["ollama", "local"]
