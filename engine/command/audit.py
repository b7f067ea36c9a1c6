"""`pagefold audit`: who did what, when and why, and what came of it."""

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from cyclopts import Parameter

import pagefold
from pagefold.engine.audit.audit_log import MAX_LISTED
from pagefold.engine.audit.audit_views import AuditSummary, audit_summary
from pagefold.engine.command.console import print_message, printable, shortened, show_table, write_bytes
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, UsageError
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.shop import Shop
from pagefold.engine.stores.audit_records import AuditFilter

MAX_CELL_CHARACTERS = 80


def audit(  # the command's options
    *,
    actor: Annotated[str | None, Parameter(name="--by")] = None,
    action: Annotated[str | None, Parameter(name="--action")] = None,
    target: Annotated[str | None, Parameter(name="--target")] = None,
    limit: Annotated[int, Parameter(name="--limit")] = 50,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """List who did what, newest first: what operators do that changes something, and runs of verify, rebuild and sync.

    Each was recorded before anything was done. The outcome is done; refused, and nothing was changed; failed or
    stopped, and it may be done in part; or open while it is going on, or if its process is gone. After `[audit]
    keep_days`, by default 400, a worker removes entries, and there is an entry about that.

    Parameters
    ----------
    actor
        Only what this person did, or this token, such as `tok_3f9ca17b20d4`.
    action
        Only this action, such as `releases publish`, or all of a command, such as `dead-letters`.
    target
        Only what was about this, such as `ingest-7`.
    limit
        List at most this many, the newest.
    as_json
        Print one JSON object a line: number, startedAt, endedAt, actor, via (command, http, dashboard, schedule or
        program), action, target, reason, command, outcome, error, details (counts and samples).
    """
    if limit < 1:
        raise UsageError("--limit", f"{limit} is less than 1")
    return run(lambda: _audit(AuditFilter(actor, action, target), limit, options, as_json=as_json))


async def _audit(wanted: AuditFilter, limit: int, options: Options, *, as_json: bool) -> int:
    async with pagefold.open(options.load(), create=False) as shop:
        if as_json:
            async for entry in _newest(shop, wanted, limit):
                write_bytes(msgspec.json.encode(entry))
            return Exit.DONE
        rows = [_row(entry) async for entry in _newest(shop, wanted, limit)]
    if rows:
        show_table(("at", "by", "action", "target", "outcome", "reason"), rows, wrapped=("target", "outcome", "reason"))
    else:
        print_message("nothing was done yet")
    return Exit.DONE


async def _newest(shop: Shop, wanted: AuditFilter, limit: int) -> AsyncIterator[AuditSummary]:
    """The newest entries, at most `limit`; one chunk of them is in memory."""
    after: str | None = None
    while limit > 0:
        chunk = await shop.audit.page(wanted, after=after, limit=min(limit, MAX_LISTED))
        for entry in chunk.entries:
            yield audit_summary(entry)
        if chunk.next is None:
            return
        after, limit = chunk.next, limit - len(chunk.entries)


def _row(entry: AuditSummary) -> tuple[str, ...]:
    outcome = (entry.outcome or "open") + (f": {entry.error}" if entry.error else "")
    counts = ", ".join(f"{name} {value:,}" for name, value in entry.details.items() if isinstance(value, int))
    outcome += f" ({counts})" if counts else ""
    cells = (entry.actor, entry.action, entry.target or "-", outcome, entry.reason or "-")
    return entry.started_at[:19].replace("T", " "), *(shortened(printable(cell), MAX_CELL_CHARACTERS) for cell in cells)
