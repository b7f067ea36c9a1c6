"""Detects sources that may have restarted their counter, after which all of their events are stale and ignored.

An event with an older version than the head is history, such as a late delivery. If every event of a source is stale,
its counter has probably been reset, as after a restored backup, and an operator must know. So the alarm stays, whatever
the source sends next, until an operator raises an epoch or dismisses it. See `pagefold.engine.intake.epoch_service`.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from pagefold.engine.stores.log_records import StoredEvent, TouchedStreams
from pagefold.engine.stores.store import FoldTransaction, Log

RESET_THRESHOLD = 3
"""Stale events of a source in a row, without a new one between them, after which its counter looks reset."""


class _Occurred(msgspec.Struct, rename="camel", gc=False):
    occurred_at: str


_occurred = msgspec.json.Decoder(_Occurred)


class StaleStreaks:
    """How many events of each source of a domain were stale in a row, or since it looks reset.

    `known` are the counts so far. Meanwhile, others may answer an alarm or raise one.
    """

    def __init__(self, log: Log, domain: str, known: Mapping[str, int]) -> None:
        self._log = log
        self._domain = domain
        self._known = dict(known)

    async def changed_by(
        self,
        window: TouchedStreams,
        after: int,
        heads: Sequence[StoredEvent],
        ahead: Collection[str],
        folding: FoldTransaction,
    ) -> dict[str, int]:
        """The streaks that a window changes, in the transaction that folds it.

        `heads` are those of its streams as folded, and `ahead` those of its streams that needed no fold, because a
        newer event of theirs, later in the log, was folded before.
        """
        over, stale = self._found(window, after, heads, ahead)
        counted = await self._counted(stale, after, window.end) if stale else {}
        if not over and not counted:
            return {}
        known = await folding.streaks()
        changed = {source: 0 for source in over if known.get(source, 0) < RESET_THRESHOLD}
        return changed | {source: known.get(source, 0) + number for source, number in counted.items()}

    def stay(self, window: TouchedStreams, after: int, heads: Sequence[StoredEvent]) -> bool:
        """Whether a window certainly changes none of them: without a read, and at once."""
        return not any(self._found(window, after, heads, ()))

    def _found(
        self, window: TouchedStreams, after: int, heads: Sequence[StoredEvent], ahead: Collection[str]
    ) -> tuple[list[str], dict[str, StoredEvent]]:
        """The sources whose streak is over, and the heads of streams whose events in the window may be stale."""
        fresh = {stream.rpartition("/")[2] for stream in ahead}
        older: list[StoredEvent] = []
        for head in heads:
            if head[0] > after:
                fresh.add(head[1].rpartition("/")[2])
            else:
                older.append(head)
        over = [source for source in fresh if 0 < self._known.get(source, 0) < RESET_THRESHOLD]
        return over, self._stale(window, older, fresh) if older else {}

    def commit(self, changed: Mapping[str, int]) -> None:
        """Records that the window's transaction was committed."""
        self._known.update(changed)

    def _stale(
        self, window: TouchedStreams, older: Sequence[StoredEvent], fresh: Collection[str]
    ) -> dict[str, StoredEvent]:
        """The heads of streams for which the window has only older events, of sources without any new event."""
        touched = frozenset(window.streams)
        return {head[1]: head for head in older if head[1] in touched and head[1].rpartition("/")[2] not in fresh}

    async def _counted(self, stale: Mapping[str, StoredEvent], after: int, upto: int) -> dict[str, int]:
        """By source, the stale events of a window that are not late deliveries: they occurred after the head."""
        counted: dict[str, int] = {}
        for event in await self._log.window(self._domain, after, upto):
            head = stale.get(event.originator_id)
            if head is None or event.originator_version >= head.originator_version:
                continue
            if _occurred_at(event) >= _occurred_at(head):
                source = event.originator_id.rpartition("/")[2]
                counted[source] = counted.get(source, 0) + 1
        return counted


def without_payload(event: StoredEvent) -> StoredEvent:
    """The event, reduced to when it occurred."""
    return event._replace(state=b'{"occurredAt":"%b"}' % _occurred_at(event).encode())


def _occurred_at(event: StoredEvent) -> str:
    """When it occurred; "" for an application's event under a domain's topic."""
    try:
        return _occurred.decode(event.state).occurred_at
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
