"""`pagefold rebuild`: compares the sources' snapshots with the log, repairs the log, and then the pages."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from cyclopts import Parameter

from pagefold.engine.command.console import printable
from pagefold.engine.command.options import AsJSON, Injected, Options, UsageError
from pagefold.engine.command.rebuild_options import RebuildOptions
from pagefold.engine.configuration.snapshot_config import OrphanLimit
from pagefold.engine.runtime.event_loop import run
from pagefold.projections.streams import sku_error


def rebuild(
    *,
    chosen: Annotated[RebuildOptions, Parameter(name="*")] = RebuildOptions(),  # noqa: B008  # it is immutable
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Compare the sources' snapshots with the log, repair what differs, and repair the pages.

    Reads every source with a snapshot in the configuration, one after the other, while workers and readers continue.
    Streams that are missing in the log, or older there, are appended; other content at the same version becomes a
    correction, the next revision of that version; where the log is newer, it is kept. An orphan, which the snapshot no
    longer has, is withdrawn: it stays in the log, counts on no page, and returns when its source sends it again. Then
    all of that is folded, and sections that were damaged or lost in the store are folded again.

    A record that was deleted and created again, so that its versions restarted, is put into the next epoch of its
    stream, if the snapshot is complete. Other rows that are older than the log, in a snapshot that was taken later, are
    listed: the source looks reset.

    Nothing is withdrawn unless the snapshot is known to be complete: not if it has no end marker or is cut off, if rows
    have shifted between pages, or if the SKU of a row cannot be read. Streams that the snapshot cannot name, and those
    with an event since the run began or shortly before, are not withdrawn either. A run that would withdraw, or remove
    values from, more streams than --max-orphans allows is held: it repairs the rest, and waits for
    `--resume RUN --yes`.

    Each source has its own recorded run: see `pagefold rebuilds`. Ctrl-C and SIGTERM stop a run at once; `--resume RUN`
    continues it, whatever has stopped it. Running the command again is safe.

    Exit codes:

    * 0: done.
    * 1: done, but something needs a person: refused rows, an incomplete snapshot, a held run, a source that looks
      reset; in a dry run, any drift. Or nothing was done: another process has the run, or it cannot be resumed.
    * 2: bad usage or configuration.
    * 3: a source or the store failed. Other sources are rebuilt all the same.
    * 130 or 143: stopped by Ctrl-C or SIGTERM.

    Parameters
    ----------
    as_json
        Print one JSON document: runs (each with counts, samples, refusals, losses, which are the values that a held run
        would remove, and drift, with every drifted stream), pages (sections, changed, behind, and drift, with every
        drifted section), errors, seconds, exitCode.
    """
    _check(chosen)
    return run(lambda: _run(chosen, options, as_json=as_json))


async def _run(chosen: RebuildOptions, options: Options, *, as_json: bool) -> int:
    from pagefold.engine.command.rebuild_job import run_rebuild  # noqa: PLC0415  # its imports take time, which other commands save

    return await run_rebuild(chosen, options, as_json=as_json)


def _check(chosen: RebuildOptions) -> None:
    """Raises `UsageError` for contradictory options."""
    given = {
        "--source": chosen.source is not None,
        "--domain": chosen.domain is not None,
        "--sku": chosen.sku is not None,
        "--dry-run": chosen.dry_run,
        "--max-orphans": chosen.max_orphans is not None,
        "--resume": chosen.resume is not None,
        "--yes": chosen.yes,
        "--new-epoch": chosen.new_epoch,
    }
    if chosen.origin is not None:
        _alone(
            "--from log", "reads no source", ("--source", "--max-orphans", "--resume", "--yes", "--new-epoch"), given
        )
    if chosen.resume is not None:
        others = ("--source", "--domain", "--sku", "--dry-run", "--max-orphans", "--new-epoch")
        _alone("--resume", "continues a run as it was started", others, given)
    if chosen.new_epoch:
        _alone("--new-epoch", "concerns a whole source", ("--domain", "--sku"), given)
        if chosen.source is None:
            raise UsageError("--new-epoch", "name the source, with --source")
    if chosen.sku is not None and (fault := sku_error(chosen.prefix.rstrip())) is not None:
        raise UsageError("--sku", f"'{printable(chosen.sku)}' {fault}")
    if chosen.max_orphans is not None:
        try:
            OrphanLimit.parse(chosen.max_orphans)
        except ValueError as error:
            raise UsageError("--max-orphans", str(error)) from None


def _alone(option: str, why: str, others: Sequence[str], given: Mapping[str, bool]) -> None:
    """Raises `UsageError` if any of the others is given too."""
    if conflicting := [name for name in others if given[name]]:
        raise UsageError(option, f"{why}; {' and '.join(conflicting)} cannot be combined with it")
