"""docker-compose.yml and the image, as far as they can be checked without Docker."""

import re
import tomllib
from pathlib import Path

import yaml

from sealwax.config.table import SETTINGS

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "deploy/docker/Dockerfile").read_text()


def test_every_service_is_built_here_or_pinned():
    for name, service in COMPOSE["services"].items():
        if "build" in service:
            build = service["build"]
            assert (ROOT / build["context"] / build["dockerfile"]).is_file(), name
        else:
            assert re.search(r":[0-9][^:]*$", service["image"]), f"{name}: the image has no version"


def test_base_images_are_pinned():
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILE, re.MULTILINE))
    for image in set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) - stages:
        assert re.search(r":[0-9]+\.[0-9]", image), image


def test_no_secret_has_a_default():
    for name, service in COMPOSE["services"].items():
        for variable, value in service.get("environment", {}).items():
            secret = re.search(r"KEY|PASSWORD|SECRET|TOKEN", variable)
            assert not (secret and value), f"{name}: {variable}"


def test_only_settings_that_exist_are_set():
    known = {setting.name for setting in SETTINGS}
    for service in COMPOSE["services"].values():
        assert set(service.get("environment", {})) <= known


def test_a_stop_has_the_time_that_a_drain_needs():
    # drain (60 s by default) + 15 s, and a little for the supervisor itself
    assert COMPOSE["services"]["sealwax"]["stop_grace_period"] == "80s"


def test_ports_are_published_on_loopback_only():
    for service in COMPOSE["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_the_image_copies_everything_that_the_wheel_is_made_of():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for package in settings["tool"]["maturin"]["python-packages"]:
        assert re.search(rf"^COPY .*\b{package}\b", DOCKERFILE, re.MULTILINE)
