"""The command `pagefold` in forked processes, as a shell would run it."""

import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.forked_processes import ForkedProcess

SECONDS = 60


def plain_arguments(command: str) -> list[str] | None:
    """The arguments of a `pagefold` command; None if a shell has more to do than to split it."""
    command = command.replace("\\\n", " ")
    if not command.startswith("pagefold ") or re.search(r"[|&;<>()$`\\*?\[#~\n]", command):
        return None
    return shlex.split(command)[1:]


def run_forked(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder, with this environment alone and nothing on standard input."""
    process = ForkedProcess(arguments, folder=folder, environment=environment)
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(["pagefold", *arguments], process.wait(), out, err)
