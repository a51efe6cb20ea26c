"""docker-compose.yml and the image, as far as they can be checked without Docker.

The faults of a compose file are sentences, so that the tests can plant each one and see it found.
"""

import copy
import re
import shutil
import subprocess
import tomllib
from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka.admin import ConfigResource

from sealwax.cli.child import ARGUMENTS
from sealwax.config import load
from sealwax.config.table import SETTINGS

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "deploy/docker/Dockerfile").read_text()
README = (ROOT / "README.md").read_text()
PROMETHEUS = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
CLICKHOUSE = (ROOT / "deploy/clickhouse/config.xml").read_text()
MAKE_ENV = ROOT / "deploy/docker/make-env"

OUR_SETTINGS = {setting.name for setting in SETTINGS}
# What the images of others are told by. KAFKA_* are names of settings: the broker itself is asked.
OF_IMAGES = re.compile(
    r"KAFKA_[A-Z_]+|POSTGRES_(USER|DB|PASSWORD)|CLICKHOUSE_(USER|DB|PASSWORD)|REDIS_PASSWORD"
    r"|GF_(SECURITY_ADMIN_PASSWORD|USERS_ALLOW_SIGN_UP|ANALYTICS_REPORTING_ENABLED)"
    r"|GF_PLUGINS_PREINSTALL_SYNC|GRAFANA_CLICKHOUSE_PASSWORD|MP_(DATABASE|MAX_MESSAGES)"
)
OF_KAFKA_S_SCRIPTS = {"KAFKA_HEAP_OPTS"}
REQUIRED = re.compile(r"\$\{([A-Z_]+):\?[^}]+\}")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|API_KEY|MASTER_KEY")
IN_URL = re.compile(r"://[^:/@]*:(.+)@")


def faults(compose: dict[str, Any], prometheus: dict[str, Any] = PROMETHEUS) -> list[str]:
    """What is wrong with a compose file and with what Prometheus reads in it, one sentence each."""
    services = compose["services"].items()
    checks = (_pinned, _mounted, _known, _published, _without_secrets, _looked_after, _reached)
    found = [f"{name} {fault}" for name, service in services for check in checks
             for fault in check(service, compose)]  # fmt: skip
    listed = set(re.findall(r"^\| (\d+) \|", README, re.MULTILINE))
    published = {port.split(":")[1] for _, service in services for port in service.get("ports", [])}
    if listed != published:
        found.append(f"README names other ports than are published: {sorted(listed ^ published)}")
    return [*found, *_scraped(compose["services"], prometheus)]


def _pinned(service: dict[str, Any], _: dict[str, Any]) -> Iterator[str]:
    if "build" in service:
        build = service["build"]
        if not (ROOT / build["context"] / build["dockerfile"]).is_file():
            yield "is built from a file that is not there"
        if f" AS {build['target']}\n" not in DOCKERFILE:
            yield "is built to a stage that is not there"
    elif not re.search(r":v?\d+\.\d+[\w.-]*$", service["image"]):
        yield "has an image of no version"


def _mounted(service: dict[str, Any], compose: dict[str, Any]) -> Iterator[str]:
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith((".", "/")):
            if not (ROOT / source).exists():
                yield f"mounts {source}, which is not there"
            if not volume.endswith(":ro"):
                yield f"may write to {source}"
        elif source not in compose["volumes"]:
            yield f"mounts {source}, which is no volume"


def _known(service: dict[str, Any], _: dict[str, Any]) -> Iterator[str]:
    for name in service.get("environment", {}):
        known = name in OUR_SETTINGS if "build" in service else OF_IMAGES.fullmatch(name)
        if not known:
            yield f"is told {name}, which nothing knows"


def _published(service: dict[str, Any], _: dict[str, Any]) -> Iterator[str]:
    for port in service.get("ports", []):
        if not port.startswith("127.0.0.1:"):
            yield f"listens beyond this machine ({port})"


def _without_secrets(service: dict[str, Any], _: dict[str, Any]) -> Iterator[str]:
    for name, value in service.get("environment", {}).items():
        in_url = IN_URL.search(str(value))
        secret = in_url[1] if in_url else str(value) if SECRET.search(name) else None
        if secret is not None and not REQUIRED.fullmatch(secret):
            yield f"has a secret of everybody's in {name}"


def _looked_after(service: dict[str, Any], _: dict[str, Any]) -> Iterator[str]:
    if not service.get("healthcheck", {}).get("test"):
        yield "has no health check"
    if set(service.get("deploy", {}).get("resources", {}).get("limits", {})) != {"cpus", "memory"}:
        yield "has no limits of memory and processors"
    if service.get("restart") != "unless-stopped":
        yield "is not started again"
    grace = load().drain + timedelta(seconds=15)
    if "build" in service and service.get("stop_grace_period") != f"{grace.seconds}s":
        yield "is killed before its drain ends"


def _reached(service: dict[str, Any], compose: dict[str, Any]) -> Iterator[str]:
    for name, value in service.get("environment", {}).items():
        hosts = (
            re.findall(r"(?:^|@|=|//)([a-z]+)(?=:\d|/)", str(value)) if "build" in service else []
        )
        for host in hosts:
            other = compose["services"].get(host)
            if other is None:
                yield f"names the host {host} in {name}, which is no service"
            elif not set(other["networks"]) & set(service["networks"]):
                yield f"shares no network with {host}"
    for other in service.get("depends_on", {}):
        if other not in compose["services"]:
            yield f"waits for {other}, which is no service"


def _scraped(services: dict[str, Any], prometheus: dict[str, Any]) -> Iterator[str]:
    read = set()
    for job in prometheus["scrape_configs"]:
        for host, port in _targets(job):
            name = "prometheus" if host == "localhost" else host
            read.add(name)
            service = services.get(name)
            if service is None:
                yield f"prometheus reads {host}, which is no service"
            elif port not in _serves(name, service):
                yield f"prometheus reads {host}:{port}, where nothing is served"
            elif not set(service["networks"]) & set(services["prometheus"]["networks"]):
                yield f"prometheus shares no network with {host}"
    for name, service in services.items():
        if "SEALWAX_METRICS" in service.get("environment", {}) and name not in read:
            yield f"{name} has figures that prometheus does not read"


def _targets(job: dict[str, Any]) -> Iterator[tuple[str, int]]:
    for static in job.get("static_configs", []):
        for target in static["targets"]:
            host, port = target.split(":")
            yield host, int(port)
    for dns in job.get("dns_sd_configs", []):
        for name in dns["names"]:
            yield name, dns["port"]


def _serves(name: str, service: dict[str, Any]) -> set[int]:
    """Ports where others find figures; of ours only where all networks are listened on."""
    if "build" in service:
        host, _, port = service["environment"].get("SEALWAX_METRICS", "").rpartition(":")
        return {int(port)} if host == "0.0.0.0" else set()
    ports = {int(port.split(":")[2]) for port in service["ports"]}
    if name == "clickhouse":
        ports.add(int(re.findall(r"<prometheus>.*<port>(\d+)", CLICKHOUSE, re.DOTALL)[0]))
    return ports


def test_the_compose_file_has_no_fault():
    assert faults(COMPOSE) == []


@pytest.mark.parametrize(
    ("service", "change", "fault"),
    [
        ("kafka", {"image": "apache/kafka"}, "kafka has an image of no version"),
        ("kafka", {"image": "apache/kafka:latest"}, "kafka has an image of no version"),
        ("kafka", {"ports": ["9092:9092"]}, "kafka listens beyond this machine (9092:9092)"),
        ("kafka", {"ports": ["127.0.0.1:9999:9092"]}, "README names other ports"),
        ("kafka", {"volumes": ["nix:/data"]}, "kafka mounts nix, which is no volume"),
        ("kafka", {"volumes": ["./nix:/x:ro"]}, "kafka mounts ./nix, which is not there"),
        ("kafka", {"volumes": ["./docs:/x"]}, "kafka may write to ./docs"),
        ("kafka", {"environment": {"KAFKA": "1"}}, "kafka is told KAFKA, which nothing knows"),
        ("grafana", {"environment": {"GF_NIX": "1"}}, "grafana is told GF_NIX, which nothing knows"),
        ("kafka", {"healthcheck": {}}, "kafka has no health check"),
        ("kafka", {"deploy": {}}, "kafka has no limits"),
        ("kafka", {"restart": "no"}, "kafka is not started again"),
        ("api", {"build": {**COMPOSE["services"]["api"]["build"], "target": "nix"}}, "api is built"),
        ("api", {"environment": {"SEALWAX_NIX": "1"}}, "api is told SEALWAX_NIX, which nothing"),
        ("api", {"environment": {"REDIS_URL": "redis://nix:6379"}}, "api names the host nix"),
        ("api", {"environment": {"REDIS_URL": "redis://:geheim@redis:6379"}}, "api has a secret"),
        ("api", {"environment": {"SEALWAX_API_KEY": "x"}}, "api has a secret of everybody's"),
        ("api", {"networks": ["mail"]}, "api shares no network with kafka"),
        ("api", {"stop_grace_period": "10s"}, "api is killed before its drain ends"),
        ("api", {"depends_on": {"nix": {}}}, "api waits for nix, which is no service"),
        ("postgres", {"environment": {"POSTGRES_PASSWORD": "x"}}, "postgres has a secret"),
        (
            "postgres",
            {"environment": {"POSTGRES_PASSWORD": "${POSTGRES_PASSWORD:-postgres}"}},
            "postgres has a secret",
        ),
    ],
)  # fmt: skip
def test_a_fault_that_is_planted_is_found(service, change, fault):
    compose = copy.deepcopy(COMPOSE)
    compose["services"][service].update(change)
    assert any(found.startswith(fault) for found in faults(compose)), faults(compose)


@pytest.mark.parametrize(
    ("job", "fault"),
    [
        ({"static_configs": [{"targets": ["nix:9464"]}]}, "prometheus reads nix, which is no"),
        ({"static_configs": [{"targets": ["dispatch:1"]}]}, "prometheus reads dispatch:1, where"),
        (
            {"dns_sd_configs": [{"names": ["api"], "port": 9464}]},
            "prometheus reads api:9464, where",
        ),
        (
            {"static_configs": [{"targets": ["mail:8025"]}]},
            "prometheus shares no network with mail",
        ),
        ({}, "dispatch has figures that prometheus does not read"),
    ],
)
def test_a_fault_in_what_prometheus_reads_is_found(job, fault):
    assert any(found.startswith(fault) for found in faults(COMPOSE, {"scrape_configs": [job]}))


def test_figures_of_a_service_that_only_itself_can_reach_are_found():
    compose = copy.deepcopy(COMPOSE)
    compose["services"]["dispatch"]["environment"]["SEALWAX_METRICS"] = "127.0.0.1:9464"
    assert faults(compose) == ["prometheus reads dispatch:9464, where nothing is served"]


def not_of_kafka(environment: Iterable[str], settings: Collection[str]) -> set[str]:
    """Names that the image would give to the broker and that are none of its settings."""
    given = set(environment) - OF_KAFKA_S_SCRIPTS
    return {n for n in given if n.removeprefix("KAFKA_").lower().replace("_", ".") not in settings}


def test_the_broker_has_each_setting_that_it_is_told(kafka):
    service = COMPOSE["services"]["kafka"]
    assert service["image"].split(":")[1] in (ROOT / "deploy/kafka/pom.xml").read_text()
    broker = ConfigResource(ConfigResource.Type.BROKER, "1")
    admin = kafka.admin()  # its requests end with it
    settings = admin.describe_configs([broker])[broker].result(30)
    assert not_of_kafka(service["environment"], settings) == set()
    mistyped = "KAFKA_LOG_FLUSH_INTERVAL_MESSAGE"
    assert not_of_kafka([*service["environment"], mistyped], settings) == {mistyped}


def test_each_process_of_the_platform_is_a_service_that_is_started_as_up_starts_it():
    ours = {name: s for name, s in COMPOSE["services"].items() if "build" in s}
    assert {name: tuple(s["entrypoint"][1:]) for name, s in ours.items()} == dict(ARGUMENTS)
    assert {s["entrypoint"][0] for s in ours.values()} == {"python"}


def test_what_the_issue_asks_for_is_there():
    assert set(COMPOSE["services"]) - set(ARGUMENTS) == {
        "kafka", "redis", "postgres", "clickhouse", "prometheus", "grafana", "mail",
    }  # fmt: skip


def test_every_secret_is_written_by_make_env_once_and_for_its_owner_alone(tmp_path):
    script = tmp_path / "deploy" / "docker" / MAKE_ENV.name
    script.parent.mkdir(parents=True)
    shutil.copy(MAKE_ENV, script)
    subprocess.run([script], check=True, capture_output=True)
    written = tmp_path / ".env"
    lines = dict(line.split("=") for line in written.read_text().splitlines())
    asked = {name for name, _ in re.findall(r"\$\{([A-Z_]+)(:\?)", yaml.safe_dump(COMPOSE))}
    assert set(lines) == asked
    assert len(set(lines.values())) == len(lines)
    assert all(re.fullmatch(r"[0-9a-f]{48}", secret) for secret in lines.values())
    assert written.stat().st_mode & 0o777 == 0o600
    assert subprocess.run([script], capture_output=True).returncode == 1
    assert dict(line.split("=") for line in written.read_text().splitlines()) == lines


def test_no_password_is_in_the_repository_or_the_image():
    for ignored in (".gitignore", ".dockerignore"):
        assert re.search(r"^/?\.env$", (ROOT / ignored).read_text(), re.MULTILINE)


def test_base_images_are_pinned():
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILE, re.MULTILINE))
    for image in set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) - stages:
        assert re.search(r":[0-9]+\.[0-9]", image), image


def test_the_image_runs_as_a_user_without_a_compiler_and_says_whether_it_is_well():
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER sealwax$", last, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", last, re.MULTILINE)
    assert "apt-get" not in last
    assert "rust" not in last


def test_the_image_copies_everything_that_the_wheel_is_made_of():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for package in settings["tool"]["maturin"]["python-packages"]:
        assert re.search(rf"^COPY .*\b{package}\b", DOCKERFILE, re.MULTILINE)
