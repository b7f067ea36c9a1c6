"""Sources that may have restarted their counter: what they say is old before it comes, and is swallowed in silence.

An event whose version is older than what stands is history, and nothing more. One such event is a late delivery. When
nothing that a source says is news any more, its counter has fallen back, as after a restored backup: somebody must
know. So the alarm stays, whatever comes then, until somebody has answered it: raised an epoch, or dismissed it. See
`pagefold.engine.intake.epoch_service`.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from pagefold.engine.stores.store import FoldTransaction, Log, StoredEvent, TouchedStreams

RESET_THRESHOLD = 3
"""So many stale events of a source in a row, with no news between them, and its counter looks reset until answered."""


class _Occurred(msgspec.Struct, rename="camel", gc=False):
    occurred_at: str


_occurred = msgspec.json.Decoder(_Occurred)


class StaleStreaks:
    """How many events of each source of a domain were stale in a row, or since it looks reset.

    `known` is what was counted before. Others may answer an alarm, or raise one, in between.
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

        `heads` are those of its streams as they were folded, and `ahead` are those of its streams which needed no fold,
        because a newer event of theirs, further on in the log, was folded before.
        """
        fresh = {stream.rpartition("/")[2] for stream in ahead}
        older: list[StoredEvent] = []
        for head in heads:
            if head[0] > after:
                fresh.add(head[1].rpartition("/")[2])
            else:
                older.append(head)
        over = [source for source in fresh if 0 < self._known.get(source, 0) < RESET_THRESHOLD]
        stale = self._stale(window, older, fresh) if older else {}
        counted = await self._counted(stale, after, window.end) if stale else {}
        if not over and not counted:
            return {}
        known = await folding.streaks()
        changed = {source: 0 for source in over if known.get(source, 0) < RESET_THRESHOLD}
        return changed | {source: known.get(source, 0) + number for source, number in counted.items()}

    def commit(self, changed: Mapping[str, int]) -> None:
        """Goes on from there: the window's transaction is committed."""
        self._known.update(changed)

    def _stale(
        self, window: TouchedStreams, older: Sequence[StoredEvent], fresh: Collection[str]
    ) -> dict[str, StoredEvent]:
        """The heads of streams that the window has events of, and nothing newer, of sources without any news."""
        touched = frozenset(window.streams)
        return {head[1]: head for head in older if head[1] in touched and head[1].rpartition("/")[2] not in fresh}

    async def _counted(self, stale: Mapping[str, StoredEvent], after: int, upto: int) -> dict[str, int]:
        """By source, the stale events of a window that are no late deliveries: they occurred after what stands."""
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
    """The event, but of what it says only when it occurred."""
    return event._replace(state=b'{"occurredAt":"%b"}' % _occurred_at(event).encode())


def _occurred_at(event: StoredEvent) -> str:
    """When it occurred; "" for what an application wrote under a domain's name."""
    try:
        return _occurred.decode(event.state).occurred_at
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
