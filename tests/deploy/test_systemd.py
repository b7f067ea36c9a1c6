"""The units of systemd: read by systemd itself, shut in, and with commands that parse."""

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY, needs, program
from tests.docs.test_examples import check_command

SYSTEMD = DEPLOY / "systemd"
SERVICES = sorted(SYSTEMD.glob("*.service"))
INSTALLED = "/opt/pagefold/bin/pagefold"
MAX_EXPOSURE = 20
"""In tenths; systemd calls 20 and less OK."""

each_service = pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)


def settings(unit: Path) -> Mapping[str, list[str]]:
    """The values of each key of a unit."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", unit.read_text("utf-8"), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What `systemd-analyze` says."""
    command = [str(program("systemd-analyze")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs("systemd-analyze")
def test_systemd_reads_every_unit(tmp_path: Path) -> None:
    """Nothing is unknown or missing, if the program is where the units expect it; a slip is found."""
    pagefold = str(Path(sys.executable).with_name("pagefold"))
    for unit in (*SERVICES, *SYSTEMD.glob("*.timer")):
        (tmp_path / unit.name).write_text(unit.read_text("utf-8").replace(INSTALLED, pagefold))
    units = [str(path) for path in tmp_path.iterdir()]
    done = analyze("verify", "--man=no", *units)
    assert (done.returncode, done.stderr) == (0, "")
    slip = tmp_path / "pagefold-server.service"
    slip.write_text(slip.read_text().replace("ProtectHome", "ProtectHouse"))
    assert "ProtectHouse" in analyze("verify", "--man=no", str(slip)).stderr


@needs("systemd-analyze")
@each_service
def test_a_service_is_shut_in(unit: Path) -> None:
    """By systemd's own measure, little is exposed."""
    done = analyze("security", "--offline=true", f"--threshold={MAX_EXPOSURE}", str(unit))
    assert done.returncode == 0, done.stdout[-200:]


@each_service
def test_a_service_runs_pagefold(unit: Path) -> None:
    """Its commands parse, and it is the user that owns the store, with the configuration in /etc."""
    found = settings(unit)
    words = [re.sub(r"\$\$\(.*\)", "now", line).replace("%%", "%").replace("%i", "1") for line in found["ExecStart"]]
    commands = [shlex.split(each) for line in words for each in re.findall(rf"{INSTALLED}[^']*", line)]
    assert commands
    for command in commands:
        check_command(command, {name: name for name in (each.partition("=")[0] for each in found["Environment"])})
    assert (found["User"], found["StateDirectory"]) == (["pagefold"], ["pagefold"])


def test_services_are_restarted_but_not_with_a_bad_configuration() -> None:
    """What runs for ever is restarted whatever happens, except after exit code 2, which says that people must act."""
    for name in ("pagefold-server.service", "pagefold-worker@.service"):
        found = settings(SYSTEMD / name)
        assert (found["Restart"], found["RestartPreventExitStatus"]) == (["always"], ["2"])
        assert int(found["TimeoutStopSec"][0]) >= 30


@needs("systemd-sysusers", "systemd-tmpfiles")
def test_the_user_and_the_folder_of_backups_are_made(tmp_path: Path) -> None:
    """systemd's own programs make both, in a root of their own."""
    (tmp_path / "etc").mkdir()
    for name in ("sysusers", "tmpfiles"):
        command = [str(program(f"systemd-{name}")), f"--root={tmp_path}", str(SYSTEMD / f"{name}.conf")]
        subprocess.run([*command, *(["--create"] if name == "tmpfiles" else [])], check=True, capture_output=True)
    assert "pagefold:" in (tmp_path / "etc" / "passwd").read_text()
    assert (tmp_path / "var" / "backups" / "pagefold").is_dir()
