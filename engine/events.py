"""What goes in and what comes back: the domain event, and the outcome of appending it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

Outcome: TypeAlias = Literal["appended", "duplicate", "conflict", "rejected"]
OUTCOMES: tuple[Outcome, ...] = ("appended", "duplicate", "conflict", "rejected")


class DomainEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The full current state of one domain of one SKU according to one source, at that source's version.

    `type` is the domain; `channel` may be `*`, for every channel; `occurred_at` carries its offset from UTC.
    `payload` is a mapping, or the JSON text of one as bytes, or None, which takes the source's earlier statement
    back. `id` is made when absent. Nothing is checked here: `Shop.append` does, and says what it refused and why.

    `epoch` is for sources whose versions begin anew, be it of all or of one record: an event of a higher epoch is newer
    than all of lower ones, up to `MAX_NAMED_EPOCH`. Without it, the event enters the current epoch of its stream, see
    `pagefold.engine.intake.epoch_registry`.
    """

    type: str
    sku: str
    channel: str
    source: str
    source_version: int
    occurred_at: datetime
    payload: Mapping[str, object] | bytes | None
    id: str | None = None
    correlation_id: str | None = None
    epoch: int | None = None


class PlacedEvent(DomainEvent, frozen=True, kw_only=True, gc=False):
    """An event whose epoch is not named by its source, but was found: it may be any that there is."""


def placed_in(epoch: int | None, event: DomainEvent) -> PlacedEvent:
    """The event in an epoch that was found for it."""
    return PlacedEvent(**{**{name: getattr(event, name) for name in DomainEvent.__struct_fields__}, "epoch": epoch})


class AppendResult(msgspec.Struct, frozen=True, gc=False):
    """What became of one event.

    `appended`: it is in the log, at `position`, whatever happens now. `duplicate`: this content was there at this
    version already, at `position`; nothing was done. `conflict`: another content stands at this version, at
    `position`; this one is kept in dead letters. `rejected`: it broke a rule, at `path`, because of `reason`; nothing
    was kept.
    """

    outcome: Outcome
    position: int | None = None
    path: str | None = None
    reason: str | None = None


NULL = b"null"
"""The payload of a statement that was taken back."""


class ValidatedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that keeps to every rule, before it is stored. `content` is its canonical payload.

    Two statements of one version are the same exactly when their contents are. `epoch` is the one that the event names,
    which is in the version then; None where it names none, and enters the current one of its stream.
    """

    originator_id: str
    originator_version: int
    topic: str
    content: bytes
    occurred_at: str
    id: str | None
    correlation_id: str | None
    epoch: int | None = None
