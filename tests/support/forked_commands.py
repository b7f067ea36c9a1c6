"""The command `pagefold` in processes that are forked from one that has imported it, which takes half a second."""

import multiprocessing
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pagefold.engine.command.app import main

SECONDS = 60

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["pagefold.engine.command.app"])


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
    with TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        process = _context.Process(target=_run, args=(arguments, folder, environment, out, err))
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["pagefold", *arguments], SECONDS)
        return subprocess.CompletedProcess(
            ["pagefold", *arguments], process.exitcode, out.read_text("utf-8"), err.read_text("utf-8")
        )


def _run(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], out: Path, err: Path) -> None:
    """Becomes the process that a shell would start."""
    for number, file in enumerate((Path(os.devnull), out, err)):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["pagefold", *arguments]
    main()
