"""Epochs that events name: the lower half of all.

An event can raise the epoch of its stream, and nothing can lower it. Could it name the last one, no operator, no
rebuild and no record that was made again could ever get past it: so the upper half is theirs.
"""

from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent, PlacedEvent
from pagefold.projections.epochs import MAX_EPOCH, MAX_NAMED_EPOCH, versioned


def version_in_epoch(event: DomainEvent, epoch: int) -> int:
    """The version of an event that has an epoch, as the log has it. Raises `Rejected` for an epoch that it cannot have.

    Only where the epoch was found for it, not named by its source, may it be of the upper half.
    """
    if type(epoch) is not int:
        raise Rejected("epoch", f"expected an integer, got {type(epoch).__name__}")
    if not 0 <= epoch <= MAX_EPOCH:
        raise Rejected("epoch", f"is not between 0 and {MAX_NAMED_EPOCH}")
    if epoch > MAX_NAMED_EPOCH and not isinstance(event, PlacedEvent):
        reason = f"{epoch} is above {MAX_NAMED_EPOCH}, the last that an event may name: operators raise higher ones"
        raise Rejected("epoch", reason)
    return versioned(epoch, event.source_version)
