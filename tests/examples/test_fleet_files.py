"""The files of ``examples/fleet``, checked without running a container."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import click
import jsonschema_rs
import msgspec
import pytest
import yaml
from dockerfile_parse import DockerfileParser

from replicate_job.cli.main import cli
from replicate_job.fleet.queue import GRACE

ROOT = Path(__file__).resolve().parents[2]
FLEET = ROOT / "examples" / "fleet"
COMPOSE = yaml.safe_load((FLEET / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((FLEET / "kubernetes.yaml").read_text()))
PODS = [manifest["spec"]["template"]["spec"] for manifest in MANIFESTS if "template" in manifest["spec"]]
CONTAINERS = [container for pod in PODS for container in pod["containers"]]


def instructions() -> list[tuple[str, str]]:
    parser = DockerfileParser(fileobj=BytesIO((FLEET / "Containerfile").read_bytes()))
    return [(line["instruction"], line["value"]) for line in parser.structure]


def commands() -> Iterator[list[str]]:
    """The arguments of ``replicate-job`` in these files."""
    yield from (service["command"] for name, service in SERVICES.items() if name != "database")
    yield SERVICES["worker"]["healthcheck"]["test"][2:]
    for container in CONTAINERS:
        yield container["args"]
        if "livenessProbe" in container:
            yield container["livenessProbe"]["exec"]["command"][1:]


def test_the_compose_file_follows_the_specification() -> None:
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    validator = jsonschema_rs.validator_for(schema.read_text("utf-8"))
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []
    assert not validator.is_valid(COMPOSE | {"services": {"worker": {"replicas": 2}}})


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: str(manifest["kind"]))
def test_each_kubernetes_manifest_is_valid(manifest: dict[str, Any]) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate, 108 MB, is not installed")
    validator.validate(manifest, "1.33", strict=True)


def test_a_pod_template_has_the_labels_that_select_it() -> None:
    (deployment,) = (manifest for manifest in MANIFESTS if manifest["kind"] == "Deployment")
    (budget,) = (manifest for manifest in MANIFESTS if manifest["kind"] == "PodDisruptionBudget")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels == budget["spec"]["selector"]["matchLabels"]


def test_each_mounted_volume_is_defined_and_each_volume_is_mounted() -> None:
    for pod in PODS:
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]} == volumes
    mounted = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert mounted == COMPOSE["volumes"].keys()


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_each_command_and_its_options_exist(words: list[str]) -> None:
    command = cli.get_command(click.Context(cli), words[0])
    assert command
    command.make_context(words[0], words[1:])


def test_probes_use_the_port_where_a_worker_listens() -> None:
    (worker,) = (container for container in CONTAINERS if container["name"] == "worker")
    (port,) = worker["ports"]
    assert worker["args"][-2:] == ["--health-port", f"0.0.0.0:{port['containerPort']}"]
    asked = [worker[name]["httpGet"] for name in ("startupProbe", "readinessProbe")]
    assert asked == [{"path": "/healthz", "port": port["name"]}] * 2


def test_the_grace_period_of_a_container_is_longer_than_that_of_its_worker() -> None:
    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > GRACE
    assert all(pod["terminationGracePeriodSeconds"] > GRACE for pod in PODS if pod["containers"][0]["name"] == "worker")


def test_published_ports_can_be_reached_only_from_the_same_machine() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_no_secret_has_a_value_or_a_default_in_the_files() -> None:
    given = {name: value for service in SERVICES.values() for name, value in service["environment"].items()}
    secrets = {name: value for name, value in given.items() if re.search("PASSWORD|TOKEN", name)}
    assert secrets.keys() == {"REPLICATE_API_TOKEN", "PGPASSWORD", "POSTGRES_PASSWORD"}
    assert all(re.fullmatch(r"\$\{[A-Z_]+:\?.+\}", value) for value in secrets.values()), "required, without a default"
    environment = [variable for container in CONTAINERS for variable in container["env"]]
    assert {variable["name"] for variable in environment if "value" in variable} == {"REPLICATE_JOB_JOURNAL_FILE"}
    assert "Secret" not in {manifest["kind"] for manifest in MANIFESTS}


def test_containers_run_with_a_read_only_file_system_and_without_privileges() -> None:
    for service in SERVICES.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
    for pod in PODS:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == int(dict(instructions())["USER"].partition(":")[0])
    for container in CONTAINERS:
        confined = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["securityContext"] == confined


def test_every_file_and_extra_that_the_image_needs_exists() -> None:
    done = instructions()
    copied = [shlex.split(value)[:-1] for instruction, value in done if instruction == "COPY"]
    sources = [source for words in copied for source in words if not words[0].startswith("--from")]
    assert all((ROOT / source).exists() for source in sources)
    ignored = (FLEET / "Containerfile.dockerignore").read_text().split()
    assert {f"!{source}" for source in sources} < set(ignored)
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]
    assert {project["readme"], *project["license-files"], "src"} < set(sources)
    (install,) = (value for instruction, value in done if instruction == "RUN" and "pip install" in value)
    extras = re.search(r"/source\[([\w,]+)\]", install)
    assert extras
    assert set(extras[1].split(",")) <= project["optional-dependencies"].keys()
    build = SERVICES["worker"]["build"]
    assert (FLEET / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).exists()
