"""`pagefold backup` and `pagefold restore`: a store as a folder, and back."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
from cyclopts import Parameter
from rich.text import Text

from pagefold.engine.command.console import duration, print_message, write_json
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options
from pagefold.engine.command.progress import share_meter
from pagefold.engine.command.verify import show_lines
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.stores.backup_folder import RestoreResult, back_up
from pagefold.engine.stores.backup_folder import restore as put_back
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
    """Copy the whole store into a new folder, while everybody works on.

    Log, pages, dead letters and tokens, all as they were at one moment. The manifest in the folder proves it whole.
    SQLite: both files, by SQLite's own online backup; to copy the files of a running store in any other way loses what
    was acknowledged. PostgreSQL: the schema, by `pg_dump`, which must not be older than the server. The configuration
    is a file of your own, and not part of it.

    Parameters
    ----------
    folder
        Where to: a folder that is not there yet, or is empty.
    pg_bin
        The folder of PostgreSQL's programs, instead of those on the PATH.
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
    """Put a backup in the place of the store.

    It is checked first: whole, and of the same kind of store. What stands there now is kept aside, under a name that
    is told. End workers before; a server may go on reading. What was acknowledged after the backup is not in it: let
    the sources say it again (`pagefold rebuild`).

    Parameters
    ----------
    folder
        A folder that `pagefold backup` has made.
    pg_bin
        The folder of PostgreSQL's programs, instead of those on the PATH.
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

        manifest = await back_up(config, folder, tools=tools, advance=advance)
    seconds = time.monotonic() - started
    if as_json:
        write_json(msgspec.to_builtins(manifest) | {"seconds": seconds})
    else:
        show_lines(Text(f"{folder}: {_about(manifest)}, in {duration(seconds)}"))
    return Exit.DONE


async def _restore(options: Options, folder: Path, tools: Path | None, *, as_json: bool) -> int:
    started = time.monotonic()
    restored: RestoreResult = await put_back(options.load(), folder, tools=tools)
    seconds = time.monotonic() - started
    if as_json:
        write_json(msgspec.to_builtins(restored) | {"seconds": seconds})
        return Exit.DONE
    show_lines(Text(f"restored {_about(restored.backup)}, in {duration(seconds)}"))
    if restored.kept_aside is not None:
        print_message(f"what stood there is kept: {restored.kept_aside}")
    print_message(
        "what was acknowledged after the backup is not in it: let the sources say it again (`pagefold rebuild`)"
    )
    return Exit.DONE


def _about(manifest: Manifest) -> str:
    size = sum(file.bytes for file in manifest.files.values())
    return f"the log up to position {manifest.position:,}, {size / 2**20:,.1f} MB, of {manifest.made_at}"
