"""`pagefold rebuild`: what the sources say now beside the log, what differs mended, and every page gone over."""

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
    """Compare what the sources say now with the log, mend what differs, and go over the pages.

    Every source that has a snapshot in the configuration is read, one after the other, while workers and readers go
    on. What the log does not have is appended, and so is a version newer than the log's; another content at the same
    version becomes a correction, its next revision; where the log is newer, it stays. What the source no longer has, an
    orphan, is withdrawn: it no longer counts on any page, stays in the log, and comes back when its source names it
    again. Then all that is folded, and sections that were damaged or lost in the store are folded again.

    A record that was deleted and made again, whose versions begin anew, lives in the next epoch of its stream, where a
    complete snapshot proves that it is there. Other rows that are older than the log, although the snapshot was taken
    later, are named: the source looks reset.

    Nothing is withdrawn when the snapshot is not known to be whole: it has no end marker or is cut off, its rows have
    shifted between pages, or the product of a row cannot be read. Nor are streams that it cannot name, or that have
    an event since the run began, or shortly before. A run that would take something away from more streams than
    --max-orphans is held, whether they are orphans, or corrections would remove values that they have: it has repaired
    the rest, and waits for `--resume RUN --yes`.

    Each source has a run of its own, which is recorded: `pagefold rebuilds` lists and shows them. Ctrl-C and SIGTERM
    end it at once, and `--resume RUN` goes on where it was, whatever has ended it. Running it again is safe.

    Exit codes:

    * 0: all is done.
    * 1: done, but something needs a look: refused rows, an incomplete snapshot, a run that is held, a source that looks
      reset; in a dry run, any drift. Or nothing was done: another process is at it, or the run cannot be resumed.
    * 2: bad usage or configuration.
    * 3: a source or the store failed. Other sources are rebuilt all the same.
    * 130 or 143: ended early by Ctrl-C or SIGTERM.

    Parameters
    ----------
    as_json
        Print one JSON document: runs (each with counts, samples, refusals, losses, which are what corrections of a held
        run would take away, and drift, which names every drifted stream), pages (sections, changed, behind, and drift,
        which names every drifted section), errors, seconds, exitCode.
    """
    _check(chosen)
    return run(lambda: _run(chosen, options, as_json=as_json))


async def _run(chosen: RebuildOptions, options: Options, *, as_json: bool) -> int:
    from pagefold.engine.command.rebuild_job import do  # noqa: PLC0415  # other commands need not wait for what it imports

    return await do(chosen, options, as_json=as_json)


def _check(chosen: RebuildOptions) -> None:
    """Raises `UsageError` for what cannot be meant."""
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
        _alone("--from log", "asks no source", ("--source", "--max-orphans", "--resume", "--yes", "--new-epoch"), given)
    if chosen.resume is not None:
        others = ("--source", "--domain", "--sku", "--dry-run", "--max-orphans", "--new-epoch")
        _alone("--resume", "goes on with a run as it was begun", others, given)
    if chosen.new_epoch:
        _alone("--new-epoch", "is about a whole source", ("--domain", "--sku"), given)
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
    if too_much := [name for name in others if given[name]]:
        raise UsageError(option, f"{why}; {' and '.join(too_much)} cannot go with it")
