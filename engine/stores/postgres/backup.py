"""Backups of a PostgreSQL store, by the server's own programs: `pg_dump` and `pg_restore` of its schema.

The programs find the server through a private service file that exists while they run. The secrets of the store's URL
are neither in their arguments nor in their environment.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE
from tempfile import TemporaryDirectory
from urllib.parse import parse_qsl, unquote, urlsplit

import anyio

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import BackupError
from pagefold.engine.stores.backup_manifest import CopyResult, Manifest, OnProgress
from pagefold.engine.stores.postgres.connections import Connections, Session
from pagefold.engine.stores.postgres.log_proof import adopt

DUMP = "store.dump"

SECRETS = re.compile(r"(password\S*\s*[=:]\s*)\S+", re.IGNORECASE)

LIBPQ = frozenset(
    [
        *("host", "port", "dbname", "user", "password", "passfile", "options", "sslmode", "sslcert", "sslkey"),
        *("sslpassword", "sslrootcert", "sslcrl", "target_session_attrs", "gssencmode", "krbsrvname", "gsslib"),
        *("channel_binding", "connect_timeout", "ssl_min_protocol_version", "ssl_max_protocol_version"),
        *("sslnegotiation", "require_auth", "service", "servicefile"),
    ]
)
"""The parameters of a URL that concern the connection. All others are session settings."""


class PostgresBackups:
    """Dumps a schema, and restores it. `tools` is the folder of the programs; None uses the PATH."""

    def __init__(self, tools: Path | None) -> None:
        self._tools = tools

    async def copy(self, config: Config, folder: Path, advance: OnProgress) -> CopyResult:
        """Dumps the schema to one file, from one snapshot."""
        connections = Connections(config)
        try:
            async with connections.readers.session() as session:
                tool = await self._program("pg_dump", await _major(session))
                async with session.transaction():
                    return await self._dump(session, config, folder, tool, advance)
        finally:
            await connections.close()

    async def put_back(self, config: Config, folder: Path, manifest: Manifest, stamp: str) -> str | None:
        """Replaces the schema, and renames the replaced one."""
        if manifest.schema != config.store.schema:
            problem = (
                f"{folder} is a backup of the schema {manifest.schema!r}, but store.schema is {config.store.schema!r}"
            )
            raise BackupError(problem)
        connections = Connections(config)
        try:
            async with connections.writer.session() as session:
                tool = await self._program("pg_restore", manifest.tool or await _major(session))
                return await self._restore(session, config, folder / DUMP, tool, stamp)
        finally:
            await connections.close()

    async def _dump(
        self, session: Session, config: Config, folder: Path, tool: "_Program", advance: OnProgress
    ) -> CopyResult:
        """Dumps what this session sees: both use the same snapshot."""
        await session.fetch("see_one_moment")
        await session.fetch("change_setting", "idle_in_transaction_session_timeout", "0")  # a dump takes long
        [(snapshot, log_id, position, size)] = await session.fetch("moment")
        advance(0, size)
        target = ("--format=custom", f"--schema={config.store.schema}", f"--file={folder / DUMP}")
        await tool.run(config, *target, f"--snapshot={snapshot}", "--no-password")
        advance(size, size)
        return CopyResult(str(log_id), int(position), tool.major)

    async def _restore(self, session: Session, config: Config, dump: Path, tool: "_Program", stamp: str) -> str | None:
        schema = config.store.schema
        aside = f"{schema[:40]}_replaced_{stamp}"
        [(is_there,)] = await session.fetch("has_schema", schema)
        if is_there:
            await _rename(session, schema, aside)
        try:
            where = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-password")
            await tool.run(config, *where, str(dump))
        except BaseException:
            if is_there:
                with anyio.CancelScope(shield=True):
                    await _rename(session, aside, schema)
            raise
        await adopt(session)
        if (await session.fetch("has_deliveries"))[0][0]:  # targets may hold newer pages than a backup knows
            await session.execute("forget_receipts")
        return f"schema {aside}" if is_there else None

    async def _program(self, name: str, at_least: int) -> "_Program":
        """Finds a program. Raises `BackupError` if it is missing, or too old."""
        found = shutil.which(name, path=None if self._tools is None else str(self._tools))
        if found is None:
            where = "on the PATH" if self._tools is None else f"in {self._tools}"
            problem = f"no {name} {where}: install PostgreSQL's programs, or set their folder with --pg-bin"
            raise BackupError(problem)
        printed = await anyio.run_process([found, "--version"], check=False)
        version = re.search(rb"(\d+)(\.\d+|devel|beta|rc)", printed.stdout)
        if version is None:
            problem = f"{found} does not report its version"
            raise BackupError(problem)
        if int(version[1]) < at_least:
            problem = (
                f"{found} is of version {int(version[1])}, and {at_least} or newer is needed: install it, or name its "
                "folder (--pg-bin)"
            )
            raise BackupError(problem)
        return _Program(found, int(version[1]))


class _Program:
    """A program of PostgreSQL, and its major version."""

    def __init__(self, path: str, major: int) -> None:
        self._path = path
        self.major = major

    async def run(self, config: Config, *arguments: str) -> None:
        """Runs it against the store's database. Raises `BackupError` with its output."""
        with _service(config.store.url) as environment:
            command = [self._path, *arguments, "--dbname=service=pagefold"]
            if self._path.endswith("pg_restore"):
                command = [self._path, "--dbname=service=pagefold", *arguments]
            env = {**os.environ, **environment}
            done = await anyio.run_process(command, check=False, stdin=DEVNULL, stderr=PIPE, env=env)
        if done.returncode:
            output = SECRETS.sub(r"\1***", done.stderr.decode(errors="replace").strip())
            problem = f"{Path(self._path).name} failed: {output or f'exit code {done.returncode}'}"
            raise BackupError(problem)


async def _rename(session: Session, schema: str, name: str) -> None:
    [(statement,)] = await session.fetch("set_aside", schema, name)
    await session.run(statement)


async def _major(session: Session) -> int:
    return int((await session.fetch("server"))[0]["version"]) // 10_000


@contextmanager
def _service(url: str) -> Iterator[Mapping[str, str]]:
    """An environment in which the service `pagefold` is the server of a URL."""
    with TemporaryDirectory(prefix="pagefold-") as folder:
        file = Path(folder) / "service"
        file.touch(mode=0o600)
        lines = [f"{name}={value}" for name, value in parameters_of(url).items()]
        file.write_text("\n".join(["[pagefold]", *lines, ""]), encoding="utf-8")
        yield {"PGSERVICEFILE": str(file)}


def parameters_of(url: str) -> dict[str, str]:
    """The libpq parameters of a URL, as asyncpg reads it."""
    parts = urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    hosts = [re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d*))?", each) for each in place.split(",")] if place else []
    ports = [each[2] for each in hosts if each]
    found = {
        "host": ",".join(unquote(each[1]).strip("[]") for each in hosts if each),
        "port": ",".join(port or "5432" for port in ports) if any(ports) else "",
        "dbname": unquote(parts.path.lstrip("/")),
        "user": unquote(name),
        "password": unquote(password),
    }
    given = {key: value for key, value in parse_qsl(parts.query, keep_blank_values=True) if key in LIBPQ}
    found.update({("dbname" if key == "database" else key): value for key, value in given.items()})
    return {key: value for key, value in found.items() if value and "\n" not in value}
