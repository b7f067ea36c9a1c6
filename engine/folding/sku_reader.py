"""Reads which of the SKUs that products name exist, and finds the products that name a SKU which comes or goes."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from pagefold.engine.errors import ReadTooLarge
from pagefold.engine.events import Reference
from pagefold.engine.folding.parent_reader import MAX_ON_LOOP, MAX_SPELLINGS, Spellings
from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.size_batches import split_equal
from pagefold.engine.stores.store import FoldTransaction
from pagefold.projections import DecodedEvent, skus_of
from pagefold.projections.asking_channels import AskingChannels
from pagefold.projections.inheritance import SPELLING, Named
from pagefold.projections.known_skus import KnownSkus, SkuAnswers
from pagefold.projections.streams import encode_part, is_storable_sku, normalise_sku

CHUNK_SKUS = 1_000
"""SKUs whose heads are read at a time, unless they are too large."""

CHUNK_BYTES = 16 * 1024 * 1024
"""Bytes of these heads. They are not kept."""

_Streams: TypeAlias = Mapping[str, tuple[frozenset[str], int]]
"""By SKU (encoded as in the log): the suffixes of its streams that are not withdrawn, the newest position of any."""

NO_STREAMS: tuple[frozenset[str], int] = (frozenset(), 0)


class SkuReader:
    """Reads the SKUs of one domain.

    `heads` gives the heads of SKUs (up to a number of bytes, if there is one), and `decode` the newest event of a
    stream that can be decoded, with `older` for one that cannot.
    """

    def __init__(
        self,
        channels: AskingChannels,
        heads: Callable[[Sequence[str], int | None], Awaitable[list[StoredEvent]]],
        decode: Callable[[StoredEvent], DecodedEvent | str],
        older: Callable[[StoredEvent], Awaitable[DecodedEvent]],
    ) -> None:
        self._channels = channels
        self._heads = heads
        self._decode = decode
        self._older = older

    async def learn(self, known: KnownSkus, names: Collection[str], spellings: Spellings) -> None:
        """Adds what the log has of the SKUs of these names to those that are known."""
        codes = {name: normalise_sku(name) for name in names}
        exact = {name: encode_part(code) for name, code in codes.items() if is_storable_sku(code)}
        spelled = await self._spelled(names, spellings)
        streams = await self._streams({*exact.values(), *(sku for skus in spelled.values() for sku in skus)})
        for name in names:
            live, position = streams.get(exact.get(name, ""), NO_STREAMS)
            channels = self._channels.having(live)
            for code in self._channels.spelled(name):
                for sku in spelled[code]:
                    channels |= self._channels.having(streams[sku][0], code.source)
                    position = max(position, streams[sku][1])
            known.channels[name], known.positions[name] = channels, position

    async def _spelled(self, names: Iterable[str], spellings: Spellings) -> Mapping[Named, list[str]]:
        """The SKUs (encoded as in the log) that may be meant, where case is ignored."""
        found: dict[Named, set[str]] = {code: set() for name in names for code in self._channels.spelled(name)}
        if found:
            for row in await spellings.stated([Reference(SPELLING + each.source, each.code) for each in found]):
                found[Named(row.kind.removeprefix(SPELLING), row.id)].add(row.sku)
        return {code: list(map(encode_part, sorted(skus)[:MAX_SPELLINGS])) for code, skus in found.items()}

    async def _streams(self, skus: Collection[str]) -> _Streams:
        found: dict[str, tuple[frozenset[str], int]] = {}
        ordered = sorted(skus)
        chunks_left = [ordered[start : start + CHUNK_SKUS] for start in range(0, len(ordered), CHUNK_SKUS)]
        while chunks_left:
            chunk = chunks_left.pop()
            try:
                heads = await self._heads(chunk, CHUNK_BYTES if len(chunk) > 1 else None)
            except ReadTooLarge as error:
                chunks_left += map(list, split_equal(chunk, error.parts))
                continue
            found |= await self._streams_of(chunk, heads)
        return found

    async def _streams_of(self, skus: Sequence[str], heads: Sequence[StoredEvent]) -> _Streams:
        live: dict[str, set[str]] = {sku: set() for sku in skus}
        newest = dict.fromkeys(skus, 0)
        decoded = partial(_decoded, heads, self._decode)
        events = decoded() if len(heads) <= MAX_ON_LOOP else await compute_in_thread(decoded)
        for head, event in zip(heads, events, strict=True):
            sku, slash, rest = head.originator_id.partition("/")
            newest[sku] = max(newest[sku], head.notification_id)
            if (await self._older(head) if event is None else event).payload is not None:
                live[sku].add(slash + rest)
        return {sku: (frozenset(live[sku]), newest[sku]) for sku in skus}

    async def outdated(self, transaction: FoldTransaction, answers: Mapping[str, SkuAnswers]) -> set[str]:
        """The SKUs of products whose answers about some SKUs, which are folded with these, may be outdated.

        All are encoded as in the log.
        """
        links = [link for sku, own in answers.items() for link in self._channels.outdated_links(sku, own.live)]
        return set(skus_of(row.stream for row in await transaction.stated([Reference(*link) for link in links])))

    def links(self, answers: SkuAnswers) -> Mapping[str, Sequence[str]]:
        """What is kept of a product to find it: see `AskingChannels`."""
        return self._channels.links(answers)


def _decoded(
    heads: Iterable[StoredEvent], decode: Callable[[StoredEvent], DecodedEvent | str]
) -> list[DecodedEvent | None]:
    return [event if isinstance(event := decode(head), DecodedEvent) else None for head in heads]
