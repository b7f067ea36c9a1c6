"""The image: its Dockerfile, its locks, and the command on a read-only file system, without capabilities."""

import json
import os
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY, needs, program
from tests.deploy.image_locks import locks
from tests.docs.test_examples import check_command
from tests.support.command_line import ROOT
from tests.support.servers import Server, within

DOCKERFILE = DEPLOY / "image" / "Dockerfile"

can_mount = pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0,  # noqa: S607
    reason="mounts file systems",
)


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile: their words, and the rest in one line."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word]


@needs("hadolint")
def test_hadolint_finds_nothing() -> None:
    """Hadolint has nothing to say, and does have where something is wrong."""
    check = [str(program("hadolint")), "--no-color", "-"]
    good = DOCKERFILE.read_text("utf-8")
    for text, code in ((good, 0), (good.replace("--no-install-recommends ", ""), 1)):
        done = subprocess.run(check, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout


def test_the_locks_are_those_of_the_project() -> None:
    """The image installs the versions that are tested. `python -m tests.deploy` writes its locks."""
    for path, text in locks().items():
        assert path.read_text("utf-8") == text, f"{path.name} is outdated: scripts/docs writes it"


def test_what_is_copied_exists_and_nothing_else_is_sent() -> None:
    """Each file that COPY names is in the checkout, and not left out by the list beside the Dockerfile."""
    kept = re.findall(r"^!(.+)$", DOCKERFILE.with_name("Dockerfile.dockerignore").read_text("utf-8"), re.MULTILINE)
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    assert len(copied) > 4
    for name in (name for names in copied for name in names):
        assert (ROOT / name).exists(), name
        assert any(fnmatch(name, pattern) for pattern in kept), f"{name} is not sent to the builder"
    assert len(list(ROOT.glob("*"))) > len(kept)


def test_it_runs_as_nobody_special() -> None:
    """The last user is a number above those of the system; the command is one of Pagefold."""
    found = dict(instructions())
    assert int(found["USER"].partition(":")[0]) >= 10_000
    check_command([*json.loads(found["ENTRYPOINT"]), *json.loads(found["CMD"])], {})


READ_ONLY = """
set -e
mount --make-rprivate /
mount --bind "$STATE" "$STATE"
mount --bind "$TMPDIR" "$TMPDIR"
mount -o remount,ro,bind /
cd "$STATE"
if touch /etc/pagefold-was-here 2>/dev/null; then exit 99; fi
exec setpriv --bounding-set -all --inh-caps -all --no-new-privs "$@"
"""
"""Runs a command as a container does: only two folders can be written, and it has no capability."""


@can_mount
def test_a_read_only_root_is_enough(tmp_path: Path) -> None:
    """Where only the state can be written, the store and a token are made, and the server becomes ready, and ends."""
    state = tmp_path / "state"
    temporary = tmp_path / "tmp"
    for folder in (state, temporary):
        folder.mkdir()
    environment = {
        **os.environ,
        "STATE": str(state),
        "TMPDIR": str(temporary),
        "PAGEFOLD_CONFIG": str(DEPLOY / "compose" / "pagefold.toml"),
        "PAGEFOLD_STORE": f"sqlite:///{state}/shop",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    pagefold = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", sys.executable, "-m", "pagefold.engine.command"]
    for words in (["init"], ["tokens", "create", "--scope", "operate"]):
        subprocess.run([*pagefold, *words], env=environment, check=True, capture_output=True)
    serve = [*pagefold, "serve", "--work", "--host", "0.0.0.0", "--port", "0"]  # noqa: S104  # as in the image
    with subprocess.Popen(serve, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        server = Server(process)
        within(20, "it is ready", lambda: server.get("/readyz").status_code == 200)
        assert server.get("/metrics").status_code == 401
        assert server.ended() == 0
