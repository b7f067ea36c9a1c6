"""Why a fold leaves a head out, and the dead letter that says so."""

from typing import NamedTuple

from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.dead_letter_records import NewDeadLetter
from pagefold.engine.stores.log_records import StoredEvent


class FoldError(NamedTuple):
    """A stream whose head cannot be folded, and why."""

    stream: str
    error: str


class ParentError(Exception):
    """The parents of a SKU form a cycle, or are too many."""


def dead_letter_of(domain: str, event: StoredEvent, error: str) -> NewDeadLetter:
    """The dead letter of a head that cannot be folded."""
    return NewDeadLetter(
        kind="projection",
        domain=domain,
        originator_id=event.originator_id,
        originator_version=event.originator_version,
        revision=event.revision,
        digest=b"",
        error=error,
        state=event.state,
        recorded_at=now(),
    )
