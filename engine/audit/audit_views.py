"""Entries of the audit in the form shown to people and programs."""

import msgspec

from pagefold.engine.runtime.origin import Via
from pagefold.engine.stores.audit_records import AuditEntry, AuditOutcome


class AuditSummary(msgspec.Struct, frozen=True, rename="camel"):
    """An entry: who did what by which way, when, why, and what came of it.

    `outcome` and `endedAt` are null while it is going on, or if its process is gone. `details` are counts, and samples
    of differences.
    """

    number: int
    started_at: str
    ended_at: str | None
    actor: str
    via: Via
    action: str
    target: str
    reason: str | None
    command: str | None
    outcome: AuditOutcome | None
    error: str | None
    details: dict[str, int | float | str | bool | list[str] | None]


def audit_summary(entry: AuditEntry) -> AuditSummary:
    """The entry as shown in a list."""
    fields = entry._asdict()
    details = msgspec.json.decode(fields.pop("details"), type=dict[str, int | float | str | bool | list[str] | None])
    return AuditSummary(**fields, details=details)
