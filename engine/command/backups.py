"""`pagefold backup` and `pagefold restore`: copies the store into a folder, and back."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
from cyclopts import Parameter
from rich.text import Text

from pagefold.engine.audit.audit_log import AuditLog
from pagefold.engine.command.console import duration, print_message, write_json
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options
from pagefold.engine.command.progress import share_meter
from pagefold.engine.command.verify import print_lines
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import StoreError
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.stores import open_store
from pagefold.engine.stores.backup_folder import RestoreResult, back_up
from pagefold.engine.stores.backup_folder import restore as restore_store
from pagefold.engine.stores.backup_manifest import Manifest

Folder: TypeAlias = Annotated[Path, Parameter(name="DIR", show_default=False)]
Tools: TypeAlias = Annotated[Path | None, Parameter(name="--pg-bin", show_default=False)]


def backup(
    folder: Folder,
    /,
    *,
    pg_bin: Tools = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Copy the whole store into a new folder, while it is in use.

    The copy has the log, pages, dead letters and tokens, all as of one moment. The manifest in the folder proves that
    it is complete. SQLite: both files, by SQLite's online backup; any other copy of a running store's files may lose
    acknowledged events. PostgreSQL: the schema, by `pg_dump`, which must not be older than the server. The
    configuration is not part of it.

    Parameters
    ----------
    folder
        The folder to copy to: a new or empty one.
    pg_bin
        The folder of PostgreSQL's programs, instead of PATH.
    as_json
        Print the manifest and seconds as one JSON document.
    """
    return run(lambda: _backup(options, folder, pg_bin, as_json=as_json))


def restore(
    folder: Folder,
    /,
    *,
    pg_bin: Tools = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Replace the store by a backup.

    First checks that the backup is complete, and of the same kind of store. The current store is kept under another
    name, which is printed. Stop workers before; a server may go on reading. Events that were acknowledged after the
    backup are not in it: `pagefold rebuild` gets them from the sources again.

    Parameters
    ----------
    folder
        The folder of a backup.
    pg_bin
        The folder of PostgreSQL's programs, instead of PATH.
    as_json
        Print one JSON document: backup (its manifest), keptAside, seconds.
    """
    return run(lambda: _restore(options, folder, pg_bin, as_json=as_json))


async def _backup(options: Options, folder: Path, tools: Path | None, *, as_json: bool) -> int:
    started = time.monotonic()
    config = options.load()
    with share_meter("backup") if not as_json else nullcontext() as meter:

        def advance(done: int, total: int) -> None:
            if meter is not None:
                meter.update(done, f"{done / 2**20:,.0f} MB", total)

        async with _opened_audit(config) as audit, audit.action("backup", str(folder), is_needed=False) as action:
            manifest = await back_up(config, folder, tools=tools, advance=advance)
            action.details |= _details(manifest)
    seconds = time.monotonic() - started
    if as_json:
        write_json(msgspec.to_builtins(manifest) | {"seconds": seconds})
    else:
        print_lines(Text(f"{folder}: {_about(manifest)}, in {duration(seconds)}"))
    return Exit.DONE


async def _restore(options: Options, folder: Path, tools: Path | None, *, as_json: bool) -> int:
    started = time.monotonic()
    config = options.load()
    restored: RestoreResult = await restore_store(config, folder, tools=tools)
    async with _opened_audit(config) as audit:  # of the store that counts from now on
        await _end_backup(audit, restored.backup)
        async with audit.action("restore", str(folder), is_needed=False) as action:
            action.details |= _details(restored.backup) | {"replaced": restored.kept_aside}
    seconds = time.monotonic() - started
    if as_json:
        write_json(msgspec.to_builtins(restored) | {"seconds": seconds})
        return Exit.DONE
    print_lines(Text(f"restored {_about(restored.backup)}, in {duration(seconds)}"))
    if restored.kept_aside is not None:
        print_message(f"the previous store is kept: {restored.kept_aside}")
    print_message("events after the backup are not in it: `pagefold rebuild` gets them from the sources again")
    return Exit.DONE


@asynccontextmanager
async def _opened_audit(config: Config) -> AsyncGenerator[AuditLog, None]:
    """The audit of an existing store. Entries are not needed there: a full disk must not keep anybody from a copy."""
    store = await open_store(config, create=False)
    try:
        yield AuditLog(store.audit)
    finally:
        await store.close()


async def _end_backup(audit: AuditLog, manifest: Manifest) -> None:
    """Ends the entry of the backup, which was open when it was copied with the rest of the store."""
    with suppress(StoreError):
        await audit.end_copied("backup", manifest.made_at, _details(manifest))


def _details(manifest: Manifest) -> dict[str, int | str | None]:
    size = sum(file.bytes for file in manifest.files.values())
    return {"position": manifest.position, "bytes": size, "made at": manifest.made_at, "log": manifest.log_id}


def _about(manifest: Manifest) -> str:
    size = sum(file.bytes for file in manifest.files.values())
    return f"the log up to position {manifest.position:,}, {size / 2**20:,.1f} MB, of {manifest.made_at}"
