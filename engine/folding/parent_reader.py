"""Reads the SKUs that may be parents of others, up the chain: see `pagefold.projections.inheritance`."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from copy import copy
from typing import Protocol, Self, TypeAlias

import msgspec

from pagefold.engine.events import Reference
from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.reference_records import StoredReference
from pagefold.projections import DecodedEvent
from pagefold.projections.inheritance import SPELLING, Inheritance, Named, Parents
from pagefold.projections.streams import encode_part

MAX_SPELLINGS = 20
"""SKUs of one code, in different cases, that are looked at, by name."""

MAX_ON_LOOP = 64
"""Heads that are decoded on the event loop. More would block it."""

NamedParents: TypeAlias = Sequence[tuple[str, str]]
"""Streams, and the name of a parent that the head of each has."""


class Spellings(Protocol):
    """The links that are kept: a fold transaction, or what readers of a store know."""

    async def stated(self, references: Collection[Reference]) -> list[StoredReference]:
        """The SKUs that have some codes, as `KnownReferences.stated`."""


class ParentReader:
    """Reads the parents of one domain's SKUs.

    `needed` gives the streams whose heads decide the sections of SKUs, `read` the heads of streams (up to a number of
    bytes, if there is one), and `decoded` the newest event of a stream that can be decoded, and its older ones.
    """

    def __init__(
        self,
        inheritance: Inheritance,
        needed: Callable[[Sequence[str]], Awaitable[Sequence[str]]],
        read: Callable[[Sequence[str], int | None], Awaitable[list[StoredEvent]]],
        decode: Callable[[StoredEvent], DecodedEvent | str],
        older: Callable[[StoredEvent], Awaitable[DecodedEvent]],
    ) -> None:
        self._inheritance = inheritance
        self._needed = needed
        self._read = read
        self._decode = decode
        self._older = older
        self._field = inheritance.field or ""
        payload = msgspec.defstruct("Payload", [(self._field, str | None, None)])
        event = msgspec.defstruct("Event", [("payload", payload | None)])
        self._names: msgspec.json.Decoder[msgspec.Struct] = msgspec.json.Decoder(event)  # the type is dynamic

    def reading(
        self,
        needed: Callable[[Sequence[str]], Awaitable[Sequence[str]]],
        read: Callable[[Sequence[str], int | None], Awaitable[list[StoredEvent]]],
        older: Callable[[StoredEvent], Awaitable[DecodedEvent]],
    ) -> Self:
        """The same reader of another log."""
        other = copy(self)
        other._needed, other._read, other._older = needed, read, older  # noqa: SLF001  # its own
        return other

    async def of_heads(
        self, heads: Sequence[StoredEvent], spellings: Spellings, max_bytes: int | None = None
    ) -> Parents:
        """The parents that some heads name, which must be all of their SKUs.

        A head that cannot be decoded names none. Raises `ReadTooLarge` if the parents of one level have more than
        `max_bytes` together.
        """
        own = [head for head in heads if self._inheritance.inherits(head.originator_id)]

        def name() -> list[tuple[str, str]]:
            return [(head.originator_id, parent) for head in own if (parent := self._name(head)) is not None]

        named = name() if len(own) <= MAX_ON_LOOP else await compute_in_thread(name)
        return await self._climb(named, heads_by_sku(own) if named else {}, spellings, max_bytes)

    async def of_events(self, events: Mapping[str, DecodedEvent], spellings: Spellings) -> Parents:
        """The parents that some events name, by stream."""
        return await self._climb(self._named(events), {}, spellings, None)

    def _name(self, head: StoredEvent) -> str | None:
        try:
            payload = getattr(self._names.decode(head.state), "payload", None)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        name: str | None = getattr(payload, self._field, None)
        return name

    def _named(self, events: Mapping[str, DecodedEvent]) -> list[tuple[str, str]]:
        return [
            (stream, name)
            for stream, event in events.items()
            if self._inheritance.inherits(stream) and (name := getattr(event.payload, self._field, None)) is not None
        ]

    async def _climb(
        self,
        named: NamedParents,
        known: Mapping[str, list[StoredEvent]],
        spellings: Spellings,
        max_bytes: int | None,
    ) -> Parents:
        """The parents that some streams name, theirs, and so on. `known` are heads by SKU that were read before."""
        parents = Parents()
        for _ in range(self._inheritance.levels):
            possible = [each for each in named if self._inheritance.named(*each)]
            await self._spell(possible, parents, spellings)
            wanted = self._candidates(possible, parents)
            if not wanted:
                break
            heads = [head for sku in wanted for head in known.get(sku, ())]
            if unknown := [sku for sku in wanted if sku not in known]:
                streams = [name for name in await self._needed(unknown) if self._inheritance.inherits(name)]
                heads += await self._read(streams, max_bytes)
            named = self._named(await self._add(parents, wanted, heads))
        return parents

    async def _spell(self, named: NamedParents, parents: Parents, spellings: Spellings) -> None:
        """Finds the SKUs that have the codes that streams name, where case is ignored."""
        codes = {code for each in named for code in self._inheritance.named(*each)}
        wanted = [code for code in codes if self._inheritance.ignores_case(code.source)]
        unknown = sorted(code for code in wanted if code not in parents.spellings)
        if not unknown:
            return
        found: dict[Named, set[str]] = {code: set() for code in unknown}
        references = [Reference(SPELLING + code.source, code.code) for code in unknown]
        for row in await spellings.stated(references):
            found[Named(row.kind.removeprefix(SPELLING), row.id)].add(row.sku)
        for code, skus in found.items():
            parents.spellings[code] = list(map(encode_part, sorted(skus)[:MAX_SPELLINGS]))

    def _candidates(self, named: NamedParents, parents: Parents) -> list[str]:
        """The SKUs that may be the parents that streams name, without those that are known."""
        wanted: dict[str, None] = {}
        for stream, name in named:
            skus = list(self._inheritance.skus(stream, name, parents))
            parents.candidates.setdefault(stream.partition("/")[0], set()).update(skus)
            wanted.update(dict.fromkeys(sku for sku in skus if sku not in parents.heads))
        return list(wanted)

    async def _add(
        self, parents: Parents, skus: Iterable[str], heads: Sequence[StoredEvent]
    ) -> dict[str, DecodedEvent]:
        """Adds the heads of SKUs, and returns them decoded, by stream."""
        parents.heads.update({sku: {} for sku in skus})

        def decode() -> list[DecodedEvent | str]:
            return list(map(self._decode, heads))

        decoded: dict[str, DecodedEvent] = {}
        events = decode() if len(heads) <= MAX_ON_LOOP else await compute_in_thread(decode)
        for head, event in zip(heads, events, strict=True):
            stream = head.originator_id
            sku, slash, rest = stream.partition("/")
            decoded[stream] = event if isinstance(event, DecodedEvent) else await self._older(head)
            parents.heads[sku][slash + rest] = decoded[stream]
            parents.positions[sku] = max(parents.positions.get(sku, 0), head.notification_id)
        return decoded


def heads_by_sku(heads: Sequence[StoredEvent]) -> dict[str, list[StoredEvent]]:
    """Heads by SKU, encoded as in the log."""
    found: dict[str, list[StoredEvent]] = {}
    for head in heads:
        found.setdefault(head.originator_id.partition("/")[0], []).append(head)
    return found
