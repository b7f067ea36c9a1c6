"""Looks up the SKUs of what sources say under ids of their own: see `pagefold.domains.references`.

The table of references follows the log: a consumer writes it. So what is unknown may only be not yet known. It waits,
as a dead letter, and is taken when the reference appears; nothing is ever guessed.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import anyio

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.reference_config import ReferencesConfig
from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent, Reference, ReferencedEvent, with_sku
from pagefold.engine.intake.formats.request_parts import Awaited, ParsedPart, ReadPart, RejectedPart
from pagefold.engine.intake.statement import Statement, Whole
from pagefold.engine.stores.store import Checkpoint, Store

FOLD_SECONDS = 1.0
"""How long a request waits until the log is folded as far as it went when the request came."""

FOLD_POLL_SECONDS = 0.02

REFERENCING = next(domain.name for domain in DOMAINS if domain.references is not None)
"""The domain whose events state references."""


class Resolved(NamedTuple):
    """The SKUs of a reference, in order; `waits` if something waits under it, which comes first."""

    skus: Sequence[str]
    waits: bool


class ResolvedPart(NamedTuple):
    """A part of a request with SKUs in place of references, and the groups that it has all of."""

    parts: list[ParsedPart]
    wholes: list[Whole]


class ReferenceResolver:
    """Finds the SKUs of references, by the kinds that the configuration says are of groups."""

    def __init__(self, store: Store, config: ReferencesConfig) -> None:
        self._store = store
        self._config = config

    async def resolve(self, events: Sequence[DomainEvent], *, waited: bool = False) -> list[DomainEvent | RejectedPart]:
        """The events with their SKUs; one that has a SKU is itself.

        What cannot be appended is a rejected part, with what it waits for, unless it never can be. An event comes after
        those that wait under its reference, unless it has `waited` itself.
        """
        references = {each.reference for each in events if isinstance(each, ReferencedEvent)}
        if not references:
            return list(events)
        known = await self.look_up(references, waited=waited)
        return [
            self._resolved(each, known[each.reference]) if isinstance(each, ReferencedEvent) else each
            for each in events
        ]

    async def resolve_parts(self, parts: Sequence[Sequence[ReadPart]], *, waited: bool = False) -> list[ResolvedPart]:
        """The parts of a request, as `resolve` finds their events. A withdrawal under a group's id ends the group."""
        if not any(map(_is_unresolved, chain.from_iterable(parts))):
            return [ResolvedPart([each for each in part if not isinstance(each, Whole)], []) for part in parts]
        events = [each.event for part in parts for each in part if isinstance(each, Statement) and not self._ends(each)]
        found = iter(await self.resolve(events, waited=waited))
        return [self._resolved_part(part, found) for part in parts]

    def _resolved_part(self, part: Sequence[ReadPart], found: Iterator[DomainEvent | RejectedPart]) -> ResolvedPart:
        resolved = ResolvedPart([], [])
        for each in part:
            if isinstance(each, Whole):
                resolved.wholes.append(each)
            elif not isinstance(each, Statement):
                resolved.parts.append(each)
            elif (ended := self._ends(each)) is not None:
                resolved.wholes.append(Whole(ended, ends=True))
            else:
                event = next(found)
                resolved.parts.append(event if isinstance(event, RejectedPart) else each._replace(event=event))
        return resolved

    def _ends(self, statement: Statement) -> ReferencedEvent | None:
        """The event of a statement that withdraws all of a group; None if it is another one."""
        event = statement.event
        if not isinstance(event, ReferencedEvent) or event.payload is not None or statement.unchanged:
            return None
        return event if event.reference.kind in self._config.groups else None

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

    async def is_folded(self) -> bool:
        """Whether every statement of a reference in the log is in the table; waits up to `FOLD_SECONDS` for it."""
        end = await self._store.log.end()
        deadline = anyio.current_time() + FOLD_SECONDS
        while not await self._is_folded_to(end):
            if anyio.current_time() >= deadline:
                return False
            await anyio.sleep(FOLD_POLL_SECONDS)
        return True

    async def _is_folded_to(self, end: int) -> bool:
        checkpoints = {each.domain: each for each in await self._store.coordination.checkpoints()}
        position = checkpoints.get(REFERENCING, Checkpoint(REFERENCING)).position
        return position >= end or not (await self._store.log.lag(REFERENCING, position)).events

    def _resolved(self, event: ReferencedEvent, known: Resolved) -> DomainEvent | RejectedPart:
        """The event with its SKU, or why it cannot be appended."""
        name = named(event.reference)
        if event.reference.kind in self._config.groups:
            return RejectedPart(Rejected("", f"{name} is a group, not a SKU: only a withdrawal can be of all of it"))
        if known.waits:
            return waits(event, event.reference, f"waits after what waits for {name}")
        if not known.skus:
            return waits(event, event.reference, f"waits for {name}: no SKU has it yet")
        if len(known.skus) > 1:
            some = ", ".join(known.skus[:3]) + (", …" if known.skus[3:] else "")
            problem = f"waits until {name} is of one SKU: {len(known.skus)} have it ({some})"
            return waits(event, event.reference, problem)
        return with_sku(event, known.skus[0])


def _is_unresolved(part: ReadPart) -> bool:
    """Whether something has to be looked up for a part: an SKU, or what else is in a group."""
    return isinstance(part, Whole) or (isinstance(part, Statement) and isinstance(part.event, ReferencedEvent))


def named(reference: Reference) -> str:
    """A reference, for people."""
    return f"{reference.kind} {reference.id}"


def waits(event: DomainEvent, reference: Reference, reason: str) -> RejectedPart:
    """An event that cannot be appended yet."""
    return RejectedPart(Rejected("", reason), None, Awaited(reference, event.type, event.source_version))
