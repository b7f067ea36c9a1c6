"""Corrects a version whose source has said other content at it, where the source's tie rule allows that. Pure.

Sources whose version is a moment may say two states within one tick of their clock; some have no version at all. What
such a source says later then becomes the next revision of the version.
"""

from collections.abc import Collection, Mapping, Sequence

from pagefold.engine.intake.canonical_payloads import content_of, is_same_content
from pagefold.engine.stores.event_state import EncodedEvent
from pagefold.engine.stores.log_records import CorrectionEvent, StoredEvent


def tie_corrections(
    events: Sequence[EncodedEvent],
    positions: Sequence[int | None],
    stored: Mapping[tuple[str, int], Sequence[StoredEvent]],
) -> list[CorrectionEvent]:
    """The corrections of events that replace what is stored at their versions, in order.

    `stored` has all revisions of the versions of events without a position. An event that is in the log already, from
    an earlier attempt, is not corrected again: so this ends.
    """
    corrections: list[CorrectionEvent] = []
    revised: dict[tuple[str, int], _Revisions] = {}
    taken = {
        event.key for event, position in zip(events, positions, strict=True) if position is None and event.tie != "keep"
    }
    own = {event.state for event in events if event.key in taken}
    for event in events:
        if event.key not in taken or event.tie == "keep":
            continue
        if event.key not in revised:
            revised[event.key] = _Revisions(stored[event.key], own)
        if (correction := revised[event.key].take(event)) is not None:
            corrections.append(correction)
    return corrections


class _Revisions:
    """The revisions of one version, as they were before the events of this call, and as these add to them."""

    def __init__(self, stored: Sequence[StoredEvent], own: Collection[bytes]) -> None:
        in_order = sorted(stored, key=lambda each: each.revision)
        self._own = {each.state for each in in_order if each.state in own}
        first = next((each.revision for each in in_order if each.state in self._own), None)
        before = [each for each in in_order if first is None or each.revision < first]
        self._contents = [content for each in before if (content := content_of(each)) is not None]
        self._next = in_order[-1].revision + 1

    def take(self, event: EncodedEvent) -> CorrectionEvent | None:
        """The correction that an event makes; None if it is a duplicate, or in the log already."""
        if event.state in self._own:
            self._contents.append(event.content)
            return None
        known = self._contents if event.tie == "replace" else self._contents[-1:]
        if any(is_same_content(event.topic, content, event.content) for content in known):
            return None
        self._contents.append(event.content)
        self._next += 1
        return CorrectionEvent(*event.key, self._next - 1, event.topic, event.state)
