"""`collector-config/compose.yaml`: what it says is what the other configurations say. It is not run: there is no Docker here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parent.parent.parent
CONFIGS = ROOT / "collector-config"
TEXT = (CONFIGS / "compose.yaml").read_text()
# As Compose does, a variable that is not set has its default.
FILE = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", TEXT))
SERVICES = FILE["services"]


def mounted(service):
    """The files of this folder, by where the container has them."""
    mounts = [each.split(":") for each in SERVICES[service]["volumes"]]
    return {inside: CONFIGS / outside for outside, inside, *_ in mounts if outside.startswith("./")}


@pytest.mark.parametrize("service", SERVICES)
def test_the_files_that_a_container_has_are_beside_it_and_are_not_written(service):
    assert all(path.is_file() for path in mounted(service).values())
    of_files = [each for each in SERVICES[service]["volumes"] if each.startswith("./")]
    assert all(each.endswith(":ro") for each in of_files)


@pytest.mark.parametrize("service", SERVICES)
def test_each_is_started_with_a_configuration_that_it_has(service):
    (named,) = re.findall(r"--config(?:\.file)?=(\S+)", " ".join(SERVICES[service]["command"]))
    assert named in mounted(service)


@pytest.mark.parametrize("service", ["collector", "jaeger"])
def test_what_is_set_is_what_the_configuration_reads(service):
    (config,) = mounted(service).values()
    settings = set(re.findall(r"\$\{env:([A-Z0-9_]+)", config.read_text()))
    assert set(SERVICES[service]["environment"]) <= settings


def test_the_rules_are_where_prometheus_looks_for_them():
    by_place = mounted("prometheus")
    rules = yaml.safe_load(by_place["/etc/prometheus/prometheus.yaml"].read_text())["rule_files"]
    assert all(f"/etc/prometheus/{each}" in by_place for each in rules)


def test_all_are_in_one_network_and_no_port_is_open_to_others():
    assert {SERVICES[each].get("network_mode") for each in SERVICES} == {None, "service:collector"}
    ports = SERVICES["collector"]["ports"]
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", each) for each in ports)
    listening = " ".join([*SERVICES["collector"]["environment"].values(), *SERVICES["jaeger"]["environment"].values(), *SERVICES["prometheus"]["command"]])  # fmt: skip
    assert {each.split(":")[-1] for each in ports} == set(re.findall(r"0\.0\.0\.0:(\d+)", listening))


def test_the_collectors_version_is_that_of_the_tests():
    builder = (ROOT / "tools" / "otelcol-builder.yaml").read_text()
    (version,) = re.findall(r"^  version: (\S+)$", builder, re.MULTILINE)
    assert SERVICES["collector"]["image"].endswith(f":{version}")


def test_named_volumes_are_declared():
    named = {each.split(":")[0] for service in SERVICES.values() for each in service["volumes"] if each[0] != "."}
    assert named == set(FILE["volumes"])
