"""The shop of compose: the file is valid, its services are shut in, and what setup and server are told to do works."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from pagefold import Config
from tests.deploy.files import DEPLOY, document, needs, program
from tests.docs.test_examples import check_command
from tests.support.command_line import ROOT
from tests.support.servers import serving

COMPOSE = DEPLOY / "compose"
FILE = COMPOSE / "compose.yaml"
OWN = ("setup", "server", "worker")


@pytest.fixture
def services() -> Mapping[str, dict[str, Any]]:
    """The services by name."""
    found: Mapping[str, dict[str, Any]] = document(FILE)["services"]
    return found


def errors_in(text: str) -> str:
    """What compose would refuse; "" if nothing."""
    parser = pytest.importorskip("compose_spec", reason="not installed: scripts/install-linters").PyCompose
    try:
        parser.from_json(json.dumps(yaml.safe_load(text))).validate()
    except ValueError as error:
        return str(error)
    return ""


def test_the_file_is_what_compose_reads() -> None:
    """It follows the specification; a slip is found."""
    text = FILE.read_text("utf-8")
    assert errors_in(text) == ""
    assert "service_fine" in errors_in(text.replace("service_healthy", "service_fine"))


def test_services_are_shut_in(services: Mapping[str, dict[str, Any]]) -> None:
    """Each has a read-only root and gains no rights; all but PostgreSQL, which changes its user, have no capability."""
    for name, service in services.items():
        assert service["read_only"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("cap_drop") == (None if name == "postgres" else ["ALL"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert re.search(r":v?\d", service["image"]) or service["image"] == "pagefold", name


def test_what_is_mounted_exists(services: Mapping[str, dict[str, Any]]) -> None:
    """Each volume is a declared one or a file of the checkout, which is read only; the other services exist."""
    declared = document(FILE)["volumes"]
    for name, service in services.items():
        for source, _, rest in (mount.partition(":") for mount in service.get("volumes", ())):
            assert source in declared or ((COMPOSE / source).is_file() and rest.endswith(":ro")), f"{name}: {source}"
        assert set(service.get("depends_on", ())) <= services.keys(), name


def test_commands_and_configuration_are_pagefolds(services: Mapping[str, dict[str, Any]]) -> None:
    """The commands parse, the variables are read, and the configuration loads."""
    assert {name for name, service in services.items() if service["image"] == "pagefold"} == set(OWN)
    for name in ("server", "worker"):
        check_command(["pagefold", *services[name]["command"]], services[name]["environment"])
    Config.load(COMPOSE / "pagefold.toml", store="sqlite:///x")


@pytest.fixture
def tokens(
    services: Mapping[str, dict[str, Any]], tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The folder of tokens after setup has run twice, as by each `up`, with the configuration of compose."""
    folder = tmp_path / "tokens"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "PAGEFOLD_STORE": store_url,
        "PAGEFOLD_CONFIG": str(COMPOSE / "pagefold.toml"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }.items():
        monkeypatch.setenv(name, value)
    [script] = services["setup"]["command"]
    for _ in range(2):
        command = [
            *services["setup"]["entrypoint"],
            script.replace("/var/lib/pagefold-tokens", shlex.quote(str(folder))),
        ]
        subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
def test_setup_and_server_do_what_they_are_told(services: Mapping[str, dict[str, Any]], tokens: Path) -> None:
    """Setup makes one token, with which the server shows its metrics; the check of the server says that it is well."""
    [secret] = tokens.iterdir()
    _, *options = services["server"]["command"]
    with serving(*options) as server:
        bearer = {"authorization": f"Bearer {secret.read_text().strip()}"}
        assert "pagefold_lag_seconds" in httpx2.get(f"{server.url}/metrics", headers=bearer, timeout=10).text
        assert server.get("/metrics").status_code == 401
        _, python, *arguments = services["server"]["healthcheck"]["test"]
        check = [word.replace(":8080", f":{server.port}") for word in arguments]
        assert python == "python"
        subprocess.run([sys.executable, *check], check=True, capture_output=True)


@needs("promtool")
def test_prometheus_reads_its_configuration(tmp_path: Path) -> None:
    """`promtool` accepts it, with the token and the rules where compose mounts them."""
    place = tmp_path / "prometheus"
    (place / "tokens").mkdir(parents=True)
    (place / "tokens" / "metrics.token").write_text("x")
    for source in (COMPOSE / "prometheus.yml", DEPLOY / "monitoring" / "rules.yml"):
        (place / source.name).write_text(source.read_text("utf-8"))
    check = [str(program("promtool")), "check", "config", str(place / "prometheus.yml")]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
