"""Withdraws what a source no longer says of a group, after it has said what all of the group is.

The table of references follows the log, and deliveries may come at the same time, or in another order than they were
made. So a delivery is settled in this order: its own statements are appended; its version is remembered, unless a newer
one is; the table follows the log to its end, or the delivery waits; then members are withdrawn that the newest version
lacks. Of two deliveries, the one that remembers last reads last, and finds what both have appended, and the newest
version of both. What is withdrawn is therefore the same in every order.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from itertools import groupby
from typing import NamedTuple, TypeAlias

import msgspec

from pagefold.domains import DOMAINS
from pagefold.domains.domain import DECODE_ERRORS
from pagefold.domains.values import MAX_INTEGER, format_timestamp
from pagefold.engine.configuration.reference_config import ReferencesConfig
from pagefold.engine.errors import Rejected
from pagefold.engine.events import NULL, AppendResult, DomainEvent, Reference
from pagefold.engine.intake.canonical_payloads import content_of
from pagefold.engine.intake.epoch_registry import EpochRegistry
from pagefold.engine.intake.formats.request_parts import RejectedPart
from pagefold.engine.intake.references import ReferenceResolver, named, waits
from pagefold.engine.intake.statement import Whole
from pagefold.engine.stores.dead_letter_records import FOLD
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.reference_records import WholeGroup
from pagefold.engine.stores.store import Store
from pagefold.projections.epochs import epoch_of, version_of, versioned
from pagefold.projections.streams import encode_part, normalise_sku, parse_stream_id

Append: TypeAlias = Callable[[Sequence[DomainEvent]], Awaitable[list[AppendResult]]]
Settled: TypeAlias = list[AppendResult | RejectedPart]
"""What became of the withdrawals of a group, or why there are none yet."""

_REFERENCING = next(domain for domain in DOMAINS if domain.references is not None)


class _Said(NamedTuple):
    """What a part of a request says of one group of one source, and of which SKUs it says something."""

    wholes: Sequence[Whole]
    skus: Collection[str]

    @property
    def event(self) -> DomainEvent:
        """The withdrawal of a member, without its SKU."""
        return self.wholes[0].event


class GroupSettler:
    """Settles deliveries of whole groups, and deletions of them."""

    def __init__(
        self, store: Store, config: ReferencesConfig, resolver: ReferenceResolver, epochs: EpochRegistry
    ) -> None:
        self._store = store
        self._config = config
        self._resolver = resolver
        self._epochs = epochs
        self._payload = msgspec.json.Decoder(_REFERENCING.payload)

    async def settle(
        self, wholes: Sequence[Whole], said: Sequence[DomainEvent], append: Append, *, confirmed: bool = False
    ) -> Settled:
        """Withdraws what the groups of a part lack. `said` is what the part itself says, which is in the log by now.

        A person must have `confirmed` what withdraws many SKUs.
        """
        settled: Settled = []
        by_group = sorted(wholes, key=_group_of)
        for (source, group), own in groupby(by_group, key=_group_of):
            skus = {normalise_sku(event.sku) for event in said if event.source == source}
            settled += await self._settle(group, _Said(list(own), skus), append, confirmed=confirmed)
        return settled

    async def _settle(self, group: Reference, said: _Said, append: Append, *, confirmed: bool) -> Settled:
        event, ends = said.event, all(whole.ends for whole in said.wholes)
        if not 0 <= event.source_version <= MAX_INTEGER:
            return [RejectedPart(Rejected("sourceVersion", "is not between 0 and 2^53-1"))]
        version = versioned(await self._epoch(event), event.source_version)
        own = WholeGroup(event.source, group, version, format_timestamp(event.occurred_at), settled=not ends)
        newest = await self._store.references.keep_whole(own)
        if not await self._resolver.is_folded():
            return [waits(event, FOLD, f"waits until what was said of {named(group)} before is folded")]
        members = await self._members(newest)
        if members is None and ends and not newest.settled:
            return [waits(event, group, f"waits for {named(group)}: no SKU has it yet")]
        absent = self._absent(members or [], newest, said.skus if newest.version == version else None)
        skus = {parse_stream_id(head.originator_id).sku for head in absent}
        if len(skus) > self._config.max_withdrawn and not confirmed:
            return [RejectedPart(_too_many(group, len(skus), self._config))]
        withdrawals = await self._withdrawals(absent, skus, newest, said)
        results: Settled = [*(await append(withdrawals))] if withdrawals else []
        if members is not None and not newest.settled:
            await self._store.references.keep_whole(newest._replace(settled=True))
        return results

    async def _epoch(self, event: DomainEvent) -> int:
        """The epoch of a delivery: of its source, unless it names one."""
        if event.epoch is not None:
            return event.epoch
        known = await self._epochs.refresh()
        return known.current(f"//{event.type}/{event.source}", 0)

    async def _members(self, whole: WholeGroup) -> list[StoredEvent] | None:
        """The heads by which a source has SKUs in a group; None if nothing is known of it."""
        rows = await self._store.references.stated([whole.group])
        ending = f"/{encode_part(whole.source)}"
        streams = [row.stream for row in rows if row.stream.endswith(ending)]
        heads = await self._store.log.heads(streams) if streams else []
        return [head for head in heads if self._states(head, whole.group)] if streams else None

    def _states(self, head: StoredEvent, group: Reference) -> bool:
        content = content_of(head)
        if content is None or content == NULL or _REFERENCING.references is None:
            return False
        try:
            return group.id in _REFERENCING.references(self._payload.decode(content)).get(group.kind, ())
        except DECODE_ERRORS:
            return False

    def _absent(
        self, members: Sequence[StoredEvent], newest: WholeGroup, said: Collection[str] | None
    ) -> list[StoredEvent]:
        """The members that the newest version lacks. If it is this one, it lacks those that it has not `said`."""
        if said is None:
            return [head for head in members if head.originator_version < _version_for(head, newest)]
        return [
            head
            for head in members
            if head.originator_version <= _version_for(head, newest)
            and parse_stream_id(head.originator_id).sku not in said
        ]

    async def _withdrawals(
        self, absent: Sequence[StoredEvent], skus: Collection[str], newest: WholeGroup, said: _Said
    ) -> list[DomainEvent]:
        """The withdrawals of absent members in every domain whose table says what all of the group is."""
        domains = sorted({whole.event.type for whole in said.wholes})
        endings = tuple(f"/{domain}/{encode_part(newest.source)}" for domain in domains if domain != _REFERENCING.name)
        streams = [head.originator_id for head in absent] if _REFERENCING.name in domains else []
        if endings and skus:
            names = await self._store.log.streams_of([encode_part(sku) for sku in sorted(skus)])
            others = await self._store.log.heads([name for name in names if name.endswith(endings)])
            streams += [
                head.originator_id
                for head in others
                if content_of(head) != NULL and head.originator_version <= _version_for(head, newest)
            ]
        return [_withdrawal(stream, newest, said.event) for stream in sorted(streams)]


def _group_of(whole: Whole) -> tuple[str, Reference]:
    return whole.event.source, whole.event.reference


def _version_for(head: StoredEvent, whole: WholeGroup) -> int:
    """The version of a delivery, as one of this stream, which may be in a later epoch of its own."""
    return versioned(max(epoch_of(head.originator_version), epoch_of(whole.version)), version_of(whole.version))


def _withdrawal(stream: str, whole: WholeGroup, event: DomainEvent) -> DomainEvent:
    sku, channel, domain, source = parse_stream_id(stream)
    return DomainEvent(
        type=domain,
        sku=sku,
        channel=channel,
        source=source,
        source_version=version_of(whole.version),
        occurred_at=datetime.fromisoformat(whole.occurred_at),
        payload=None,
        correlation_id=event.correlation_id,
        epoch=event.epoch,
        tie=event.tie,
    )


def _too_many(group: Reference, skus: int, config: ReferencesConfig) -> Rejected:
    return Rejected(
        "",
        f"{named(group)}: this would withdraw {skus} SKUs, more than references.max_withdrawn = "
        f"{config.max_withdrawn}; retry the dead letter to do it",
    )
