"""Pages of the documentation: their blocks, and the folder in which a reader types their commands.

What a block is, its language says. `console`: commands, each with what it prints. `sh`: commands that print nothing,
or one that starts the server. `python`: the file `program.py`. `shell`: commands that the tests run elsewhere, or not
at all. Everything else is only shown.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from tests.support.forked_commands import SECONDS, plain_arguments, run_forked

ROOT = Path(__file__).resolve().parent.parent.parent
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
ADDRESS = "127.0.0.1:8080"

_block = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str, *languages: str) -> Iterator[tuple[str, str]]:
    """The code blocks of a page in these languages, or in any, as (language, content), in order."""
    for language, content in _block.findall(text):
        if not languages or language in languages:
            yield language, content


def prose(text: str) -> str:
    """A page without its code blocks."""
    return _block.sub("", text)


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that the page shows below it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.rstrip("\n").split("\n")
        length = 1
        while lines[length - 1].endswith("\\"):
            length += 1
        yield "\n".join(lines[:length]), lines[length:]


def matches(expected: list[str], printed: list[str]) -> bool:
    """Whether the lines are equal; `…` matches anything, and alone on a line any lines."""
    regex = ".*".join(map(re.escape, "\n".join(expected).split("…")))
    flags = re.DOTALL if "…" in expected else 0
    return re.fullmatch(regex, "\n".join(printed), flags) is not None


class Walkthrough:
    """A reader who types the commands of a page in one folder, from top to bottom.

    Use it as a context: the server that a page starts ends with it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ran = 0
        self.address = ADDRESS
        self._server = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def follow(self, page: Path) -> None:
        """Run every block of a page. Raises `AssertionError` if a command prints something else."""
        for language, block in blocks(page.read_text("utf-8")):
            self.do(language, block)

    def do(self, language: str, block: str) -> None:
        """Run one block."""
        match language:
            case "console":
                for command, expected in commands(block):
                    self.check(command, expected)
            case "sh" if "pagefold serve" in block:
                self._serve(block)
            case "sh":
                self.check(block, [""])
            case "python":
                (self.folder / "program.py").write_text(block, encoding="utf-8")
            case _:
                pass

    def check(self, command: str, expected: list[str]) -> None:
        """Run a command. Raises `AssertionError` if it prints something else."""
        code, printed = self.type(command.replace(ADDRESS, self.address))
        shown = "\n".join([f"$ {command}", *printed])
        assert matches(expected or [""], printed), shown
        assert code == 0 or set(expected) - {"…"}, f"{shown}\nfailed, and the page does not show why"
        self.ran += 1

    def type(self, command: str) -> tuple[int, list[str]]:
        """Runs a command. Returns its exit code, and the lines of its output, standard output first."""
        environment = self._environment()
        if (arguments := plain_arguments(command)) is not None:
            done = run_forked(arguments, self.folder, environment)
        else:
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                cwd=self.folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        return done.returncode, (done.stdout + done.stderr).rstrip("\n").split("\n")

    def _serve(self, block: str) -> None:
        """Start the server of the block in place of the one before, on a free port."""
        self._server.close()
        words = shlex.split(block, comments=True)
        start = words.index("pagefold")
        variables = dict(word.split("=", 1) for word in words[:start])
        port = self._server.enter_context(_serving(self.folder, words[start + 1 :], self._environment() | variables))
        self.address = f"127.0.0.1:{port}"

    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(self.folder), "COLUMNS": "200"}


@contextmanager
def _serving(folder: Path, arguments: list[str], environment: dict[str, str]) -> Iterator[int]:
    """The port of `pagefold serve` with these arguments."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pagefold.engine.command", *arguments, "--port", "0", "--log-level", "error"],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        try:
            yield int(process.stderr.readline().rpartition(":")[2])
        finally:
            process.terminate()
