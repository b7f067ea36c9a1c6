"""The commands of docs/deployment.md, which tests cannot run, name files and commands that exist."""

import re
import shlex

from tests.deploy.files import DEPLOY
from tests.docs.test_examples import check_command
from tests.support.documents import ROOT, blocks

LINES = [
    line.partition("    #")[0]
    for _, block in blocks((ROOT / "docs" / "deployment.md").read_text("utf-8"), "text")
    for line in block.splitlines()
]


def test_every_file_that_a_command_names_exists() -> None:
    """Patterns find a file, too."""
    named = [name for line in LINES for name in re.findall(r"(?<!exec )\bdeploy/[\w./*-]+", line)]
    assert len(named) > 5
    for name in named:
        assert list(ROOT.glob(name.rstrip("/"))), name


def test_what_is_run_in_containers_parses() -> None:
    """What follows `exec worker` of compose, or `--` of kubectl, is a command of Pagefold."""
    run = [found[1] for line in LINES if (found := re.search(r" exec (?:worker|deploy/[\w-]+ --) (.+)", line))]
    assert len(run) > 2
    for command in run:
        check_command(shlex.split(command), {})


def test_units_that_are_enabled_exist() -> None:
    """Instances have their template."""
    [enabled] = [line for line in LINES if "enable --now" in line]
    for name in enabled.split("--now ")[1].split():
        unit = re.sub(r"@\d", "@", name)
        assert (DEPLOY / "systemd" / (unit if "." in unit else f"{unit}.service")).is_file(), name
