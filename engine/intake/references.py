"""Looks up the SKUs of what sources say under ids of their own: see `pagefold.domains.references`.

The table of references follows the log: a consumer writes it. So what is unknown may only be not yet known. It waits,
as a dead letter, and is taken when the reference appears; nothing is ever guessed.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import anyio

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.reference_config import ReferencesConfig
from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent, Reference, ReferencedEvent, with_sku
from pagefold.engine.intake.formats.request_parts import Awaited, ParsedPart, RejectedPart
from pagefold.engine.intake.statement import Statement
from pagefold.engine.stores.dead_letter_records import FOLD
from pagefold.engine.stores.store import Checkpoint, Store
from pagefold.projections.streams import EVERY_CHANNEL, encode_part, parse_stream_id

FOLD_SECONDS = 1.0
"""How long a request waits until the log is folded as far as it went when the request came."""

FOLD_POLL_SECONDS = 0.02

REFERENCING = next(domain.name for domain in DOMAINS if domain.references is not None)
"""The domain whose events state references."""


class Resolved(NamedTuple):
    """The SKUs of a reference, in order; `waits` if something waits under it, which comes first."""

    skus: Sequence[str]
    waits: bool


class ReferenceResolver:
    """Finds the SKUs of references, by the kinds that the configuration says are of groups."""

    def __init__(self, store: Store, config: ReferencesConfig) -> None:
        self._store = store
        self._config = config

    async def resolve(
        self, events: Sequence[DomainEvent], *, waited: bool = False, confirmed: bool = False
    ) -> list[list[DomainEvent] | RejectedPart]:
        """For each event, the events that it is; one with a SKU is itself.

        What cannot be appended is a rejected part, with what it waits for, unless it never can be. A withdrawal under
        an id of a group is one of every SKU of it; a person must have `confirmed` that of a large one. An event comes
        after those that wait under its reference, unless it has `waited` itself.
        """
        referenced = [each for each in events if isinstance(each, ReferencedEvent)]
        if not referenced:
            return [[each] for each in events]
        behind = any(map(self._is_of_group, referenced)) and not await self.is_folded()
        known = await self.look_up({each.reference for each in referenced}, waited=waited)
        found: list[list[DomainEvent] | RejectedPart] = []
        for each in events:
            if not isinstance(each, ReferencedEvent):
                found.append([each])
            elif behind and self._is_of_group(each):
                found.append(_waits(each, FOLD, f"waits until what was said of {each.reference.kind} before is folded"))
            else:
                found.append(await self._events(each, known[each.reference], confirmed=confirmed))
        return found

    async def resolve_parts(
        self, parts: Sequence[Sequence[ParsedPart]], *, waited: bool = False, confirmed: bool = False
    ) -> list[list[ParsedPart]]:
        """The same parts of a request, with SKUs in place of references; what cannot be appended is a rejected part."""
        events = [each.event for part in parts for each in part if isinstance(each, Statement)]
        if not any(isinstance(event, ReferencedEvent) for event in events):
            return [list(part) for part in parts]
        found = iter(await self.resolve(events, waited=waited, confirmed=confirmed))
        return [[new for each in part for new in _resolved(each, found)] for part in parts]

    async def look_up(self, references: Collection[Reference], *, waited: bool = False) -> dict[Reference, Resolved]:
        """The SKUs of each reference, by one query."""
        awaited = set[Reference]() if waited else await self._store.dead_letters.awaited(references)
        skus: dict[Reference, set[str]] = {reference: set() for reference in references}
        for row in await self._store.references.stated(references):
            skus[Reference(row.kind, row.id)].add(row.sku)
        return {reference: Resolved(sorted(skus[reference]), reference in awaited) for reference in references}

    def is_ready(self, reference: Reference, known: Resolved) -> bool:
        """Whether what waits under a reference can be taken."""
        return bool(known.skus) and (len(known.skus) == 1 or reference.kind in self._config.groups)

    async def is_folded(self, seconds: float = FOLD_SECONDS) -> bool:
        """Whether every statement of a reference in the log is in the table; waits for it up to some seconds."""
        end = await self._store.log.end()
        with anyio.move_on_after(seconds):
            while not await self._is_folded_to(end):  # noqa: ASYNC110  # another process may be folding
                await anyio.sleep(FOLD_POLL_SECONDS)
            return True
        return False

    async def _is_folded_to(self, end: int) -> bool:
        checkpoints = {each.domain: each for each in await self._store.coordination.checkpoints()}
        position = checkpoints.get(REFERENCING, Checkpoint(REFERENCING)).position
        return position >= end or not (await self._store.log.lag(REFERENCING, position)).events

    def _is_of_group(self, event: ReferencedEvent) -> bool:
        return event.reference.kind in self._config.groups

    async def _events(
        self, event: ReferencedEvent, known: Resolved, *, confirmed: bool
    ) -> list[DomainEvent] | RejectedPart:
        """The events that one is, now that its reference was looked up."""
        if (problem := self._problem(event, known, confirmed=confirmed)) is not None:
            return problem
        if event.payload is None:
            return await self._withdrawals(event, known.skus)
        return [with_sku(event, known.skus[0])]

    def _problem(self, event: ReferencedEvent, known: Resolved, *, confirmed: bool) -> RejectedPart | None:
        """Why an event cannot be appended, now or ever."""
        of_group, name = self._is_of_group(event), f"{event.reference.kind} {event.reference.id}"
        if of_group and event.payload is not None:
            problem = f"{event.reference.kind} is of groups, and only a withdrawal is for all of a group"
            return RejectedPart(Rejected("sku", problem))
        if known.waits:
            return _waits(event, event.reference, f"waits after what waits for {name}")
        if not known.skus:
            return _waits(event, event.reference, f"waits for {name}: no SKU has it yet")
        if len(known.skus) > 1 and not of_group:
            some = ", ".join(known.skus[:3]) + (", …" if known.skus[3:] else "")
            return _waits(
                event, event.reference, f"waits until {name} is of one SKU: {len(known.skus)} have it ({some})"
            )
        if len(known.skus) > self._config.max_withdrawn and not confirmed:
            return RejectedPart(too_many(event.reference, len(known.skus), self._config))
        return None

    async def _withdrawals(self, event: ReferencedEvent, skus: Sequence[str]) -> list[DomainEvent]:
        """The withdrawals of what the source has said of some SKUs in the event's domain: in its channel, or in all."""
        if event.channel != EVERY_CHANNEL:
            return [with_sku(event, sku) for sku in skus]
        ending = f"/{event.type}/{encode_part(event.source)}"
        streams = await self._store.log.streams_of([encode_part(sku) for sku in skus])
        found = [parse_stream_id(stream) for stream in sorted(streams) if stream.endswith(ending)]
        if not found:  # withdrawn all the same: what it said before may come late
            return [with_sku(event, sku) for sku in skus]
        return [with_sku(event, stream.sku, stream.channel) for stream in found]


def _resolved(part: ParsedPart, found: Iterator[list[DomainEvent] | RejectedPart]) -> list[ParsedPart]:
    """What a part becomes; a statement is the next of what was found."""
    if not isinstance(part, Statement):
        return [part]
    events = next(found)
    if isinstance(events, RejectedPart):
        return [events]
    return [part._replace(event=event) for event in events]


def _waits(event: DomainEvent, reference: Reference, reason: str) -> RejectedPart:
    return RejectedPart(Rejected("", reason), None, Awaited(reference, event.type, event.source_version))


def too_many(reference: Reference, skus: int, config: ReferencesConfig) -> Rejected:
    """Why a person must look at a withdrawal first."""
    return Rejected(
        "sku",
        f"{reference.kind} {reference.id}: this would withdraw {skus} SKUs, more than references.max_withdrawn = "
        f"{config.max_withdrawn}; retry the dead letter to do it",
    )
