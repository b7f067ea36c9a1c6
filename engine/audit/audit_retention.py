"""Removes old entries of the audit, in small steps, and says so in the audit."""

from pagefold.engine.audit.audit_log import AuditLog
from pagefold.engine.configuration.audit_config import AuditConfig
from pagefold.engine.runtime.clock import days_ago
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.origin import Origin, acting
from pagefold.engine.stores.audit_records import AuditRecords

STEP_ENTRIES = 500
MAX_STEPS = 20
"""Steps of one call."""

BY_ITSELF = Origin("schedule", "retention")

log = Logger(__name__)


class AuditRetention:
    """Applies the configured retention to the audit of one store."""

    def __init__(self, records: AuditRecords, config: AuditConfig) -> None:
        self._records = records
        self._config = config

    async def enforce(self) -> bool:
        """Removes the entries that began before the retention. Returns whether none is left. Raises `StoreError`.

        If there are any, an entry says before that which are removed, and then how many were.
        """
        before = days_ago(self._config.keep_days)
        oldest = await self._records.oldest()
        if oldest is None or oldest >= before:
            return True
        with acting(BY_ITSELF):
            async with AuditLog(self._records).action("audit retention", f"before {before[:10]}") as action:
                for _ in range(MAX_STEPS):
                    removed = await self._records.forget(before, STEP_ENTRIES)
                    action.count("removed", removed)
                    if removed < STEP_ENTRIES:
                        break
        log.info("old entries of the audit were removed", before=before, removed=action.details["removed"])
        return removed < STEP_ENTRIES
