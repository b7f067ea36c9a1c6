"""The domain event, and the result of appending it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

import msgspec

Outcome: TypeAlias = Literal["appended", "duplicate", "echo", "conflict", "rejected"]
OUTCOMES: tuple[Outcome, ...] = ("appended", "duplicate", "echo", "conflict", "rejected")

Tie: TypeAlias = Literal["keep", "replace", "content"]
"""What becomes of an event whose version is stored with other content.

`keep`: the first stands, the other is a conflict. `replace`: the later one counts, as the next revision of the version;
what any revision had already is a duplicate. `content`: likewise, but only what the newest revision has is a duplicate.
"""


BasedOn: TypeAlias = int | Mapping[str, int]
"""What a source had seen when it said something: a position, or versions by domain and source (`catalog/pim`)."""


class DomainEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The full current state of one domain of one SKU according to one source, at that source's version.

    `type` is the domain; `channel` may be `*`, for every channel; `occurred_at` carries its offset from UTC. `payload`
    is a mapping, such as an `InventoryPayload`, or its JSON text as bytes, or None, which withdraws what the source
    has said before. `id` is made when absent. The event is checked when it is appended, not here.

    `epoch` is for sources whose versions start over, for all records or for one: an event of a higher epoch is newer
    than all of lower ones, up to `MAX_NAMED_EPOCH`. Without it, the event enters the current epoch of its stream, see
    `pagefold.engine.intake.epoch_registry`. `tie` is for sources whose versions are not exact. `based_on` is for those
    that know what they had seen: a position of the log, or the versions that a page showed.
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
    tie: Tie = "keep"
    based_on: BasedOn | None = None


class Reference(NamedTuple):
    """An id under which a source knows a SKU, and the kind of id, such as `shopify:inventory_item`."""

    kind: str
    id: str


class ReferencedEvent(DomainEvent, frozen=True, kw_only=True, gc=False):
    """An event whose source names a SKU by an id of its own: by a `reference`, which is to be looked up.

    Its `sku` stands for the reference until then: it is different for each, and no valid one.
    """

    reference: Reference


def referenced(event: DomainEvent, reference: Reference) -> ReferencedEvent:
    """The event about the SKU that has a reference, in place of its own."""
    fields = {name: getattr(event, name) for name in DomainEvent.__struct_fields__}
    return ReferencedEvent(**{**fields, "sku": "\0".join(("", *reference))}, reference=reference)


def with_sku(event: ReferencedEvent, sku: str, channel: str | None = None) -> DomainEvent:
    """The event about the SKU that was found, in another channel if one is given."""
    fields = {name: getattr(event, name) for name in DomainEvent.__struct_fields__}
    return DomainEvent(**{**fields, "sku": sku, "channel": event.channel if channel is None else channel})


class PlacedEvent(DomainEvent, frozen=True, kw_only=True, gc=False):
    """An event whose epoch its source did not name, but was looked up: it may be any epoch."""


def placed_in(epoch: int | None, event: DomainEvent) -> PlacedEvent:
    """The event in the epoch that was looked up for it."""
    return PlacedEvent(**{**{name: getattr(event, name) for name in DomainEvent.__struct_fields__}, "epoch": epoch})


class AppendResult(msgspec.Struct, frozen=True, gc=False):
    """The result of appending one event.

    `appended`: it is in the log, at `position`, durably. `duplicate`: the same content is stored at this version, at
    `position`; nothing was done. `echo`: its source is a target, too, and says only what it was sent; nothing was done,
    and there is no position. `conflict`: another content is stored at this version, at `position`; this one is
    kept as a dead letter. `rejected`: it breaks a rule, at `path`, for `reason`; nothing was kept.
    """

    outcome: Outcome
    position: int | None = None
    path: str | None = None
    reason: str | None = None


NULL = b"null"
"""The payload of a withdrawal."""


class ValidatedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that keeps every rule, before it is stored. `content` is its canonical payload.

    Two events of one version are the same exactly when their contents are equal. `epoch` is the one that the event
    names, which is part of the version then; None where it names none, and enters the current one of its stream.
    """

    originator_id: str
    originator_version: int
    topic: str
    content: bytes
    occurred_at: str
    id: str | None
    correlation_id: str | None
    epoch: int | None = None
    based_on: BasedOn | None = None
