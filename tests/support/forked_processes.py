"""Processes that are forked from one that has imported the program: starting Python with it takes half a second of CPU.

They have their own output, environment and folder, as started ones do, and end on the same signals. What an interpreter
does when it starts, such as reading `PYTHONIOENCODING`, is not done again.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from multiprocessing import reduction
from pathlib import Path
from typing import IO, Any, TypeAlias

from pagefold.engine.command.app import main

Streams: TypeAlias = tuple[int, int, int]
"""Standard input, output and errors: each a descriptor, `PIPE` or `DEVNULL`, as `subprocess` has them."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["pagefold.engine.command.app"])


class ForkedProcess:
    """A forked process. Its attributes and methods are those of `subprocess.Popen`.

    It runs a module, by default the command `pagefold`. Its standard input, output and errors are `streams`.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        module: str | None = None,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        streams: Streams = (subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE),
    ) -> None:
        self.arguments = arguments
        self.returncode: int | None = None
        with ExitStack() as theirs:
            self.stdin, read = _to_child(theirs, streams[0])
            self.stdout, out = _from_child(theirs, streams[1])
            self.stderr, err = _from_child(theirs, streams[2])
            inherited = [_Inherited(each) for each in (read, out, err)]
            given = (module, list(arguments), folder or Path.cwd(), dict(environment or os.environ), inherited)
            self._process = _context.Process(target=_run, args=given, daemon=True)
            self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        self.returncode = self._process.exitcode
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its exit code. Raises `TimeoutExpired`."""
        self._process.join(timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired(list(self.arguments), timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it like `kill -9`."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Asks it to end."""
        self.send_signal(signal.SIGTERM)

    def communicate(self, text: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """Writes the text, reads both streams to their ends, and waits. Raises `TimeoutExpired`."""
        out, err = _Rest(self.stdout), _Rest(self.stderr)
        if self.stdin is not None:
            with suppress(BrokenPipeError):
                self.stdin.write(text or "")
                self.stdin.close()
        for rest in (out, err):
            rest.join(timeout)
        self.wait(timeout)
        return out.text, err.text


class _Rest(threading.Thread):
    """Reads the rest of a stream, and closes it."""

    def __init__(self, stream: IO[str] | None) -> None:
        super().__init__(daemon=True)
        self.text = ""
        self._stream = stream
        self.start()

    def run(self) -> None:
        if self._stream is not None and not self._stream.closed:
            with self._stream:
                self.text = self._stream.read()


class _Inherited:
    """A descriptor that is passed to the forked process."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _detached, (reduction.DupFd(self._number),)


def _detached(descriptor: Any) -> int:  # noqa: ANN401  # of a class that `multiprocessing` does not name
    return int(descriptor.detach())


def _to_child(theirs: ExitStack, stream: int) -> tuple[IO[str] | None, int]:
    """Our end, if it is a pipe, and the descriptor for the child, which is closed with `theirs` if it was opened."""
    if stream == subprocess.PIPE:
        read, write = os.pipe()
        theirs.callback(os.close, read)
        return os.fdopen(write, "w", encoding="utf-8"), read
    return None, _opened(theirs, stream, os.O_RDONLY)


def _from_child(theirs: ExitStack, stream: int) -> tuple[IO[str] | None, int]:
    """Likewise, for its output."""
    if stream == subprocess.PIPE:
        read, write = os.pipe()
        theirs.callback(os.close, write)
        return os.fdopen(read, encoding="utf-8"), write
    return None, _opened(theirs, stream, os.O_WRONLY)


def _opened(theirs: ExitStack, stream: int, flags: int) -> int:
    if stream == subprocess.DEVNULL:
        stream = os.open(os.devnull, flags)
        theirs.callback(os.close, stream)
    return stream


def _run(
    module: str | None, arguments: list[str], folder: Path, environment: Mapping[str, str], streams: list[int]
) -> None:
    """Becomes the process that would be started."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in {*streams} - {0, 1, 2}:
        os.close(stream)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    sys.argv = [module or "pagefold", *arguments]
    if module is None:
        main()
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
