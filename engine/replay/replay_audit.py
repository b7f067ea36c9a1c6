"""What the audit has of a comparison of pages with the log: counts, and samples of what differs."""

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager

from pagefold.engine.audit.audit_log import AuditAction, AuditLog
from pagefold.engine.replay.replayer import OnDrift, ReplayResult, SectionDrift


class ReplayEntry:
    """An entry of the audit that is being made."""

    def __init__(self, action: AuditAction, on_drift: OnDrift) -> None:
        self._action = action
        self._report = on_drift

    def on_drift(self, drift: SectionDrift) -> None:
        """Reports a difference, and adds it to the samples."""
        paths = ", ".join(change.path for change in drift.changes)
        page = f"{drift.sku}/{drift.channel} {drift.domain} {drift.kind}"
        self._action.sample(f"{page}: {paths}" if paths else page)
        self._report(drift)

    def note(self, result: ReplayResult) -> None:
        """Adds the counts of a result."""
        self._action.details |= {"sections": result.sections, "drifted": result.changed, "behind": result.behind}


@asynccontextmanager
async def verify_entry(
    audit: AuditLog, domains: Collection[str] | None, sample: int | None, on_drift: OnDrift
) -> AsyncGenerator[ReplayEntry, None]:
    """The entry of `verify`; it changes nothing, so it does not need the entry."""
    async with audit.action("verify", ", ".join(sorted(domains or ())), is_needed=False) as action:
        if sample is not None:
            action.details["sample"] = sample
        yield ReplayEntry(action, on_drift)
