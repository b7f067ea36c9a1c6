"""A MariaDB server of this machine (Debian: mariadb-server-core), for the length of a test module."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import pymysql

USER, PASSWORD = "shop", "p@ss/w%rd"
SECONDS_TO_START = 30.0
SHARED = (Path("/usr/share/mysql"), Path("/usr/share/mariadb"))
TABLES = ("mysql_system_tables.sql", "mysql_system_tables_data.sql")

MISSING = "needs a MariaDB server: on Debian and Ubuntu, apt-get install mariadb-server-core"


def mariadb_program() -> str | None:
    """The server's program, if it is installed with its system tables."""
    program = shutil.which("mariadbd", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    return program if _folder_of_tables() is not None else None


def _folder_of_tables() -> Path | None:
    return next((folder for folder in SHARED if all((folder / name).exists() for name in TABLES)), None)


class MariaDBServer:
    """A server on a socket and on a port of this machine, with TLS. Its one user has a password with odd characters."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pagefold-maria-"))
        self._numbers = count(1)
        self.socket = self._folder / "socket"
        self.certificate = self._folder / "certificate.pem"
        self.port = 0

    def __enter__(self) -> Self:
        (self._folder / "data").mkdir()
        self._make_certificate()
        self._run("--bootstrap", "--skip-networking", statements=self._first_statements())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        key = self._folder / "key.pem"
        options = [
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--ssl-cert={self.certificate}",
            f"--ssl-key={key}",
        ]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(self._command(*options), stdout=log, stderr=log)
        deadline = time.monotonic() + SECONDS_TO_START
        while not self.socket.exists():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder)

    def database(self) -> str:
        """The name of a new database."""
        name = f"shop_{next(self._numbers)}"
        self.execute("", f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return name

    def url(self, database: str, *, password: str = PASSWORD, **options: str) -> str:
        """The URL of a database, by the socket; by the port with `ssl`."""
        query = options if "ssl" in options else {"socket": str(self.socket), **options}
        address = f"{USER}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"
        return f"mysql://{address}?" + "&".join(f"{name}={quote(value)}" for name, value in query.items())

    def execute(self, database: str, *statements: str) -> list[tuple[Any, ...]]:
        """Runs statements; returns the rows of the last one."""
        connection = pymysql.connect(
            unix_socket=str(self.socket), user=USER, password=PASSWORD, database=database or None, autocommit=True
        )
        with connection, connection.cursor() as cursor:
            for statement in ("SET sql_mode = ''", *statements):
                cursor.execute(statement)
            return list(cursor.fetchall())

    def _command(self, *options: str) -> list[str]:
        program = mariadb_program()
        assert program is not None
        common = ["--no-defaults", f"--datadir={self._folder / 'data'}", "--skip-log-bin", "--innodb-log-file-size=4M"]
        user = ["--user=root"] if os.geteuid() == 0 else []
        return [program, *common, *user, f"--socket={self.socket}", *options]

    def _run(self, *options: str, statements: bytes) -> None:
        done = subprocess.run(self._command(*options), input=statements, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()

    def _first_statements(self) -> bytes:
        folder = _folder_of_tables()
        assert folder is not None
        tables = "".join((folder / name).read_text("utf-8") for name in TABLES)
        grants = "".join(
            f"CREATE USER '{USER}'@'{host}' IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO '{USER}'@'{host}';\n"
            for host in ("localhost", "127.0.0.1")
        )
        return f"CREATE DATABASE mysql;\nUSE mysql;\n{tables}\nFLUSH PRIVILEGES;\n{grants}".encode()

    def _make_certificate(self) -> None:
        key = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(self._folder / "key.pem")]
        name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        command = ["openssl", "req", "-x509", *key, *name, "-out", str(self.certificate), "-days", "2"]
        subprocess.run(command, check=True, capture_output=True)
