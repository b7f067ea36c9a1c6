"""Restores streams that a rebuild withdrew, when their source sends them again. Pure.

A rebuild withdraws what a snapshot no longer has, as the next revision of the stored version. If the source sends that
version again, no newer event may follow, although the record exists. The event then becomes the next revision, if its
payload is not null and one of these holds:

* it occurred after the withdrawal (which has the time of the snapshot), whatever its content;
* it has the content that the rebuild withdrew, and was recorded after the withdrawal.

A duplicate that was recorded before the withdrawal and delayed in a queue therefore restores nothing. Withdrawals by
the source or an operator are never undone.
"""

from collections.abc import Mapping, Sequence

import msgspec

from pagefold.engine.events import NULL
from pagefold.engine.intake.canonical_payloads import is_same_content
from pagefold.engine.stores.event_state import EncodedEvent, EventState
from pagefold.engine.stores.log_records import CorrectionEvent, StoredEvent

_state = msgspec.json.Decoder(EventState)


def healing_corrections(
    events: Sequence[EncodedEvent],
    positions: Sequence[int | None],
    stored: Mapping[tuple[str, int], Sequence[StoredEvent]],
) -> list[CorrectionEvent]:
    """The corrections that restore withdrawn streams, at most one per version.

    Considers the events without a position, whose version was taken. `stored` has all revisions of those versions.
    """
    healed: dict[tuple[str, int], CorrectionEvent] = {}
    for event, position in zip(events, positions, strict=True):
        if position is None and event.key not in healed:
            revisions = sorted(stored[event.key], key=lambda each: each.revision)
            if _heals(event, revisions):
                healed[event.key] = CorrectionEvent(*event.key, revisions[-1].revision + 1, event.topic, event.state)
    return list(healed.values())


def _heals(event: EncodedEvent, revisions: Sequence[StoredEvent]) -> bool:
    """Whether an event restores its version, given the version's revisions in order."""
    withdrawal = _withdrawal(revisions[-1])
    if withdrawal is None or event.content == NULL:
        return False
    state = _state.decode(event.state)
    if state.occurred_at > withdrawal.occurred_at:
        return True
    before = _decode_state(revisions[-2]) if len(revisions) > 1 else None
    same = before is not None and is_same_content(event.topic, bytes(before.payload), event.content)
    return same and state.recorded_at > withdrawal.recorded_at


def _withdrawal(event: StoredEvent) -> EventState | None:
    """The state of an event by which a rebuild withdrew an orphan; None for any other."""
    state = _decode_state(event)
    return state if state is not None and state.drift == "orphan" and bytes(state.payload) == NULL else None


def _decode_state(event: StoredEvent) -> EventState | None:
    try:
        return _state.decode(event.state)
    except (msgspec.MsgspecError, UnicodeDecodeError):  # an application of the eventsourcing library wrote it
        return None
