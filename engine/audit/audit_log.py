"""Records decisions and batch runs: before anything is done, and what came of it."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeAlias

import anyio
import msgspec

from pagefold.engine.errors import PagefoldError, SourceFailed, StoreError, UnknownCursor
from pagefold.engine.runtime.clock import now
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.origin import current_origin
from pagefold.engine.runtime.redaction import redact_secrets
from pagefold.engine.stores.audit_records import (
    EVERY,
    AuditEnd,
    AuditEntry,
    AuditFilter,
    AuditOutcome,
    AuditRecords,
    NewAuditEntry,
)

MAX_LISTED = 500
"""Entries in a list."""

MAX_TEXT_CHARACTERS = 1_000
"""Characters of a target, a command or an error; what is longer is cut off."""

MAX_SAMPLES = 20
"""Differences of a batch run that an entry shows."""

MAX_NUMBER_DIGITS = 18

UNKNOWN_ACTOR = "unknown"

Detail: TypeAlias = int | float | str | bool | list[str] | None

_PASSWORD = re.compile(r"(?<=://)[^@/\s]*@")

log = Logger(__name__)


class AuditList(NamedTuple):
    """One chunk of entries, newest first, and the cursor of the next, None at the end."""

    entries: Sequence[AuditEntry]
    next: str | None


class AuditAction:
    """Something that is being done. `details` are counts and samples. `number` is None if it is not recorded."""

    def __init__(self, number: int | None) -> None:
        self.number = number
        self.details: dict[str, Detail] = {}
        self.refusal: str | None = None

    def refuse(self, reason: str) -> None:
        """Says that nothing was changed, and why, where no error does."""
        self.refusal = reason

    def count(self, name: str, number: int = 1) -> None:
        """Adds to a count."""
        before = self.details.get(name, 0)
        if isinstance(before, int):
            self.details[name] = before + number

    def sample(self, difference: str) -> None:
        """Adds a difference to the samples, up to `MAX_SAMPLES`."""
        samples = self.details.setdefault("samples", [])
        if isinstance(samples, list) and len(samples) < MAX_SAMPLES:
            samples.append(_storable(difference))


class AuditLog:
    """The audit of one store."""

    def __init__(self, records: AuditRecords) -> None:
        self._records = records

    @asynccontextmanager
    async def action(
        self,
        action: str,
        target: str = "",
        *,
        by: str | None = None,
        reason: str | None = None,
        is_needed: bool = True,
        unless_empty: bool = False,
    ) -> AsyncGenerator[AuditAction, None]:
        """What is done inside is recorded: before it begins, durably, and what came of it.

        `unless_empty` is for what is repeated by itself: it is recorded at its end, and only if it has details then.

        If the store cannot take that, nothing is done, unless the entry is not needed. Raises `StoreError`.

        `by` is who does it, the current origin's actor unless given; that one is the `caller` in the details then. The
        reason is the origin's, too, unless given. An error of Pagefold's refuses it, unless it is the store's or a
        source's; those, and any other error, fail it.
        """
        origin = current_origin()
        actor = by or origin.actor or UNKNOWN_ACTOR
        texts = [None if text is None else _storable(text) for text in (reason or origin.reason, origin.command)]
        entry = NewAuditEntry(now(), _storable(actor), origin.via, action, _storable(target), *texts)
        current = AuditAction(None if unless_empty else await self._begin(entry, is_needed=is_needed))
        if by is not None and origin.actor not in {None, by}:
            current.details["caller"] = origin.actor
        try:
            yield current
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                if unless_empty and current.details:
                    current.number = await self._begin(entry, is_needed=False)
                await self._end(current, _outcome(error), str(error) or type(error).__name__)
            raise
        if unless_empty and current.details:
            current.number = await self._begin(entry, is_needed=False)
        await self._end(current, "done" if current.refusal is None else "refused", current.refusal)

    async def record(self, action: str, target: str = "", *, by: str | None = None, reason: str | None = None) -> None:
        """Records what was done at once, such as a sign-in."""
        async with self.action(action, target, by=by, reason=reason):
            pass

    async def end_copied(self, action: str, at: str, details: Mapping[str, Detail]) -> None:
        """Records that the newest of an action was done, if it has not ended: in a copy that was made meanwhile."""
        for each in await self._records.newest(AuditFilter(action=action), limit=1):  # one that has ended stays
            await self._records.end(each.number, AuditEnd(at, "done", None, msgspec.json.encode(details).decode()))

    async def page(self, selection: AuditFilter = EVERY, *, after: str | None = None, limit: int = 100) -> AuditList:
        """The entries after a cursor, newest first, at most `MAX_LISTED`. Raises `UnknownCursor`."""
        limit = max(1, min(limit, MAX_LISTED))
        found = await self._records.newest(selection, below=None if after is None else _number(after), limit=limit + 1)
        entries = found[:limit]
        return AuditList(entries, str(entries[-1].number) if len(found) > limit else None)

    async def _begin(self, entry: NewAuditEntry, *, is_needed: bool) -> int | None:
        try:
            return await self._records.begin(entry)
        except StoreError as problem:
            if is_needed:
                raise
            log.info("an action is not recorded", action=entry.action, error=str(problem))
            return None

    async def _end(self, action: AuditAction, outcome: AuditOutcome, error: str | None) -> None:
        """Records the end, also of what was cancelled. What is done stays done if the store cannot take it."""
        if action.number is None:
            return
        details = msgspec.json.encode(action.details).decode()
        end = AuditEnd(now(), outcome, None if error is None else _storable(error), details)
        with anyio.CancelScope(shield=True):
            try:
                await self._records.end(action.number, end)
            except StoreError as problem:
                log.warning("the end of an action is not recorded", entry=action.number, error=str(problem))


def _outcome(error: BaseException) -> AuditOutcome:
    if isinstance(error, PagefoldError) and not isinstance(error, StoreError | SourceFailed):
        return "refused"
    return "failed" if isinstance(error, Exception) else "stopped"


def _storable(text: str) -> str:
    """A text without secrets, as every store takes it."""
    clean = redact_secrets(_PASSWORD.sub("…@", text)).replace("\0", "\\0").encode(errors="backslashreplace").decode()
    return clean if len(clean) <= MAX_TEXT_CHARACTERS else clean[: MAX_TEXT_CHARACTERS - 1] + "…"


def _number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= MAX_NUMBER_DIGITS):
        raise UnknownCursor(cursor)
    return int(cursor)
