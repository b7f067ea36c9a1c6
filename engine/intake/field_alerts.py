"""Ends the alerts of fields: a decision, which is in the audit."""

from pagefold.engine.audit.audit_log import AuditLog
from pagefold.engine.errors import CountChanged
from pagefold.engine.intake.operators import check_reason
from pagefold.engine.stores.field_ledger import ALERT_WORDS, FieldFilter, FieldLedger


async def end_alerts(
    fields: FieldLedger,
    audit: AuditLog,
    selection: FieldFilter,
    *,
    by: str | None = None,
    reason: str | None = None,
    expected: int | None = None,
) -> int:
    """Ends the alerts of the selected fields, which are as they shall be: their types are accepted. Returns how many.

    Raises `CountChanged` if there are other than `expected`, and `Rejected` for a reason that is blank or no text.
    """
    if reason is not None:
        check_reason(reason)
    with_alerts = selection._replace(alerts=True)
    async with audit.action("contracts fields --acknowledge", selection.source or "", by=by, reason=reason) as action:
        if expected is not None:
            found = len([each async for each in fields.all_entries(with_alerts)])
            if found != expected:
                raise CountChanged(expected, found)
        number = await fields.acknowledge(with_alerts, ALERT_WORDS)
        action.details["alerts"] = number
    return number
