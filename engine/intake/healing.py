"""Streams that a rebuild withdrew, and whose source speaks of them again: they come back by themselves. Pure.

A rebuild withdraws what a snapshot does not have any more, as the next revision of the version that stands. When the
source names that version again, nothing newer would come, and yet the record is there. So the event becomes the next
revision, where its payload is not null and one of two things holds:

* it occurred after the withdrawal did (which is when the snapshot was taken), whatever it says;
* it says what the rebuild withdrew, and was recorded after the withdrawal was.

So a duplicate that was recorded before the withdrawal, and waited in a queue, heals nothing; nor does anything but a
rebuild's withdrawal heal: what the source or an operator withdrew stays so.
"""

from collections.abc import Mapping, Sequence

import msgspec

from pagefold.engine.events import NULL
from pagefold.engine.intake.canonical_payloads import is_same_content
from pagefold.engine.stores.event_state import EncodedEvent, EventState
from pagefold.engine.stores.store import CorrectionEvent, StoredEvent

_state = msgspec.json.Decoder(EventState)


def healing_of(
    admissions: Sequence[EncodedEvent],
    positions: Sequence[int | None],
    stored: Mapping[tuple[str, int], Sequence[StoredEvent]],
) -> list[CorrectionEvent]:
    """The corrections by which events heal, at most one a version: of those whose version was taken, without position.

    `stored` are all revisions of those versions.
    """
    healed: dict[tuple[str, int], CorrectionEvent] = {}
    for admission, position in zip(admissions, positions, strict=True):
        if position is None and admission.key not in healed:
            revisions = sorted(stored[admission.key], key=lambda event: event.revision)
            if _heals(admission, revisions):
                healed[admission.key] = CorrectionEvent(
                    *admission.key, revisions[-1].revision + 1, admission.topic, admission.state
                )
    return list(healed.values())


def _heals(admission: EncodedEvent, revisions: Sequence[StoredEvent]) -> bool:
    """Whether an event heals what the revisions of its version, in their order, have come to."""
    withdrawal = _withdrawal(revisions[-1])
    if withdrawal is None or admission.content == NULL:
        return False
    said = _state.decode(admission.state)
    if said.occurred_at > withdrawal.occurred_at:
        return True
    before = _read(revisions[-2]) if len(revisions) > 1 else None
    same = before is not None and is_same_content(admission.topic, bytes(before.payload), admission.content)
    return same and said.recorded_at > withdrawal.recorded_at


def _withdrawal(event: StoredEvent) -> EventState | None:
    """The state of an event by which a rebuild withdrew an orphan; None for any other."""
    state = _read(event)
    return state if state is not None and state.drift == "orphan" and bytes(state.payload) == NULL else None


def _read(event: StoredEvent) -> EventState | None:
    try:
        return _state.decode(event.state)
    except (msgspec.MsgspecError, UnicodeDecodeError):  # an application of the eventsourcing library wrote it
        return None
