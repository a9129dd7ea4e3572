"""The deployment's files by themselves: held to their schemas and to each other, and read by the
tools that they are for, where those are here."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.config import load
from proxy.config_types import Provider
from tests.deploy import files, walked
from tests.deploy.files import KUBERNETES, ROOT
from tests.deploy.walked import FULL, Nginx
from tests.test_dockerfile import parse

VERSIONS = ("1.31", "1.37")  # of Kubernetes; strict: an unknown field is an error
DRAIN = 60.0


def services() -> dict[str, Any]:
    found: dict[str, Any] = files.compose(FULL)["services"]
    return found


# compose.yaml


def test_compose_is_as_the_specification_has_it() -> None:
    """`compose-spec` reads it as Compose would, all but the variables."""
    compose_spec = pytest.importorskip("compose_spec", reason="pip install compose-spec")
    given = files.compose(FULL)
    read = compose_spec.PyCompose.from_json(orjson.dumps(given).decode())
    read.validate()
    assert sorted(read.service_names()) == ["nginx", "postgres", "redis", "turnout-1", "turnout-2"]
    for key, value, told in (("stop_grace_period", "soon", "soon"), ("restrat", "no", "restrat")):
        broken = given | {"services": given["services"] | {"nginx": {key: value}}}
        with pytest.raises(ValueError, match=told):
            compose_spec.PyCompose.from_json(orjson.dumps(broken).decode())


def test_compose_insists_on_every_secret() -> None:
    for name in ("TURNOUT_MASTER_KEY", "TURNOUT_ENCRYPTION_KEY", "TURNOUT_JWT_SECRET",
                 "POSTGRES_PASSWORD", "REDIS_PASSWORD"):  # fmt: skip
        with pytest.raises(files.Unset, match=name):
            files.compose(FULL | {name: ""})
        assert files.example_environ()[name] == "", "the example has no value"


def test_both_replicas_are_the_same_but_for_their_addresses() -> None:
    first, second = services()["turnout-1"], services()["turnout-2"]
    own = {"networks", "depends_on"}
    assert {k: v for k, v in first.items() if k not in own} == {
        k: v for k, v in second.items() if k not in own
    }
    hosts = dict(entry.split(":") for entry in services()["nginx"]["extra_hosts"])
    assert hosts == {
        name: services()[name]["networks"]["front"]["ipv4_address"]
        for name in ("turnout-1", "turnout-2")
    }


def test_whoever_keeps_something_has_a_volume_and_nobody_is_reached_but_nginx() -> None:
    found = files.compose(FULL)
    assert {name for name, service in found["services"].items() if "ports" in service} == {"nginx"}
    assert found["services"]["nginx"]["ports"] == ["127.0.0.1:8080:8080"]
    assert found["networks"]["back"] == {"internal": True}
    for name, volume in (("redis", "redis:/data"), ("postgres", "postgres:/var/lib/postgresql"),
                         ("turnout-1", "home:/data")):  # fmt: skip
        assert volume in found["services"][name]["volumes"]
    for service in found["services"].values():
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"]
    image = {s.name: s.value for s in parse((ROOT / "Dockerfile").read_text(encoding="utf-8"))}
    assert found["services"]["turnout-1"]["environment"]["TURNOUT_HOME"] == image["VOLUME"]


@pytest.mark.parametrize("path", [ROOT / "deploy/compose/config.yaml", KUBERNETES / "config.yaml"])
def test_the_configuration_takes_every_secret_from_the_environment(path: Path) -> None:
    environ = FULL | {
        "TURNOUT_DATABASE": "postgresql://turnout:pw@db:5432/turnout",
        "TURNOUT_REDIS": "redis://:pw@redis:6379/0",
    }
    config = load(path, environ)
    assert config.storage.database == environ["TURNOUT_DATABASE"]
    assert config.auth.master_key is not None
    assert config.auth.master_key.get_secret_value() == FULL["TURNOUT_MASTER_KEY"]
    assert config.auth.encryption_key is not None
    assert config.auth.encryption_key.get_secret_value() == FULL["TURNOUT_ENCRYPTION_KEY"]
    assert config.auth.jwt is not None
    assert config.server.drain == DRAIN
    assert config.providers["openai"].off is None
    assert config.providers["anthropic"].off is not None


def test_who_stops_a_replica_waits_longer_than_it_drains() -> None:
    assert files.seconds(services()["turnout-1"]["stop_grace_period"]) >= DRAIN + 20
    assert files.seconds(services()["nginx"]["stop_grace_period"]) >= DRAIN
    spec = files.manifest("StatefulSet")["spec"]["template"]["spec"]
    [before] = [float(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])]
    assert spec["terminationGracePeriodSeconds"] >= before + DRAIN + 20


# nginx


def test_nginx_takes_its_file(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path / "nginx", [1, 2])
    who = [] if os.geteuid() else ["-g", "user root;"]
    done = subprocess.run(
        [walked.nginx_binary(), "-t", "-p", tmp_path, "-c", nginx.path, *who],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


def test_nginx_is_more_patient_and_takes_more_than_turnout() -> None:
    text = files.NGINX.read_text(encoding="utf-8")
    said = dict(re.findall(r"^ *(\w+) +([^;{]+);", text, re.MULTILINE))
    timeout = Provider(dialect="ollama", base_url="http://127.0.0.1:1").timeouts
    assert files.seconds(said["proxy_read_timeout"]) > timeout.total
    assert files.seconds(said["worker_shutdown_timeout"]) >= files.seconds("660s")
    config = load(ROOT / "deploy/compose/config.yaml", FULL)
    assert int(said["client_max_body_size"].removesuffix("m")) << 20 > config.server.body_limit
    assert "non_idempotent" not in said["proxy_next_upstream"]
    assert said["proxy_buffering"] == "off"


# Kubernetes


def test_the_manifests_are_as_the_schemas_have_them() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    for version in VERSIONS:
        for each in files.manifests():
            validate.validate(each, version, strict=True)
    broken = files.manifest("StatefulSet")
    broken["spec"]["template"]["spec"]["terminationGracePeriod"] = 1
    with pytest.raises(validate.ValidationError):
        validate.validate(broken, VERSIONS[-1], strict=True)


def test_kustomize_makes_one_of_all() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not here")
    made = subprocess.run(
        [kubectl, "kustomize", KUBERNETES], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    kinds = [line.split()[1] for line in made.stdout.splitlines() if line.startswith("kind:")]
    assert sorted(kinds) == ["ConfigMap", "HorizontalPodAutoscaler", "Namespace", "NetworkPolicy",
                             "PodDisruptionBudget", "Service", "Service",
                             "StatefulSet"]  # fmt: skip
    assert "Secret" not in kinds


def test_what_names_another_object_names_one_that_is_there() -> None:
    stateful = files.manifest("StatefulSet")
    labels = stateful["spec"]["template"]["metadata"]["labels"].items()
    by_name = {(each["kind"], each["metadata"]["name"]): each for each in files.manifests()}
    governing = by_name["Service", stateful["spec"]["serviceName"]]
    assert governing["spec"]["clusterIP"] == "None"
    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
        for each in [found for (known, _), found in by_name.items() if known == kind]:
            spec = each["spec"]
            chosen = spec.get("podSelector", spec.get("selector", {}))
            assert chosen.get("matchLabels", chosen).items() <= labels, each
    target = files.manifest("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) in by_name
    [path] = files.manifest("Ingress")["spec"]["rules"][0]["http"]["paths"]
    assert ("Service", path["backend"]["service"]["name"]) in by_name
    most = files.manifest("HorizontalPodAutoscaler")["spec"]["maxReplicas"]
    config = files.documents(KUBERNETES / "config.yaml")[0]
    assert config["storage"]["replicas"] == most
    [container] = stateful["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    image = {s.name: s.value for s in parse((ROOT / "Dockerfile").read_text(encoding="utf-8"))}
    assert ports == {"http": int(image["EXPOSE"])}


def test_the_secret_has_names_and_no_values() -> None:
    secret = files.manifest("Secret")
    assert set(secret["stringData"].values()) == {""}
    named = (KUBERNETES / "config.yaml").read_text(encoding="utf-8")
    for name in secret["stringData"]:
        vendor = name.removesuffix("_API_KEY").lower()
        assert name in named or f"preset: {vendor}" in named, name


# systemd


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """The program is not installed here, so one that is stands in its place."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here")
    text = files.UNIT.read_text(encoding="utf-8")
    assert text.count("/opt/turnout/bin/turnout") == 1
    unit = tmp_path / "turnout.service"
    unit.write_text(text.replace("/opt/turnout/bin/turnout", "/bin/true"))
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_waits_longer_than_the_default_drain() -> None:
    said = dict(
        line.split("=", 1)
        for line in files.UNIT.read_text(encoding="utf-8").splitlines()
        if "=" in line
    )
    assert int(said["TimeoutStopSec"]) >= 30 + 20
    assert said["ExecStart"].split()[1:3] == ["serve", "--config"]
    assert "TURNOUT_HOME=/var/lib/" + said["StateDirectory"] in said["Environment"].split()
