"""The epochs that an event may name: the lower half of all.

An event can raise the epoch of its stream, and nothing can lower it. The upper half is reserved for operators, rebuilds
and recreated records: a source that named the highest epoch would lock them out.
"""

from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent, PlacedEvent
from pagefold.projections.epochs import MAX_EPOCH, MAX_NAMED_EPOCH, versioned


def version_in_epoch(event: DomainEvent, epoch: int) -> int:
    """The version of an event with its epoch, as in the log. Raises `Rejected` for an invalid epoch.

    Only a `PlacedEvent`, whose epoch was determined and not named by its source, may use the upper half.
    """
    if type(epoch) is not int:
        raise Rejected("epoch", f"expected an integer, got {type(epoch).__name__}")
    if not 0 <= epoch <= MAX_EPOCH:
        raise Rejected("epoch", f"is not between 0 and {MAX_NAMED_EPOCH}")
    if epoch > MAX_NAMED_EPOCH and not isinstance(event, PlacedEvent):
        reason = f"{epoch} is above {MAX_NAMED_EPOCH}, the highest for an event; operators can raise higher ones"
        raise Rejected("epoch", reason)
    return versioned(epoch, event.source_version)
