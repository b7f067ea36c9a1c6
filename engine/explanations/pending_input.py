"""What is on the way to a section, and has not arrived: dead letters, deliveries that wait, records to be fetched."""

from collections.abc import AsyncIterator, Sequence

import msgspec

from pagefold.domains import AnyDomain
from pagefold.engine.configuration.config import Config
from pagefold.engine.explanations.explanation import Reason, reason
from pagefold.engine.explanations.page_inputs import MAX_DEAD_LETTERS, REQUESTS
from pagefold.engine.stores.dead_letter_records import DeadLetterFilter, DeadLetterHeader
from pagefold.engine.stores.fetch_records import WantedFetch
from pagefold.engine.stores.store import Store
from pagefold.projections import Channel
from pagefold.projections.explanations import ReasonCode
from pagefold.projections.streams import EVERY_CHANNEL, decode_part, parse_stream_id

MAX_FETCHES = 1_000
"""Wanted fetches of a source in which a SKU is looked for."""

MAX_ERROR = 300


class PendingInput:
    """Finds it for one domain in one channel."""

    def __init__(self, store: Store, config: Config, domain: AnyDomain, channel: Channel) -> None:
        self._store = store
        self._domain = domain.name
        self._channel = channel.name
        self._sources = channel.sources.get(domain.name, ())
        self._writers = {name: source.domains for name, source in config.sources.items()}

    def of_sku(self, dead_letters: Sequence[DeadLetterHeader]) -> list[Reason]:
        """The dead letters of a SKU that concern the section."""
        return [_letter(each) for each in dead_letters if self._concerns(each)]

    async def of_parent(self, sku: str) -> list[Reason]:
        """What has not arrived of a parent, given as in the log, whose values a section inherits."""
        name = decode_part(sku)
        letters = await self._store.dead_letters.of_sku(sku, [REQUESTS, self._domain], MAX_DEAD_LETTERS)
        found = [*self.of_sku(letters), *await self.fetches(name)]
        return [msgspec.structs.replace(each, detail=f"its parent {name}: {each.detail}") for each in found]

    async def fetches(self, sku: str) -> list[Reason]:
        """The records to be fetched that name a SKU."""
        found: list[Reason] = []
        for source in self._sources:
            wanted = await self._store.fetches.oldest(MAX_FETCHES, source)
            found += [reason("fetching", _attempt(each)) for each in wanted if _names(each, sku)]
        return found

    async def unknown(self, own: Sequence[DeadLetterHeader]) -> AsyncIterator[Reason]:
        """What may be for any product: nobody can tell yet whose it is. `own` are the dead letters of the product."""
        waiting = await self._store.dead_letters.count(DeadLetterFilter("waiting", self._domain))
        if waiting:
            yield reason("waiting", f"{waiting} of {self._domain}, which may be for another product")
        counts = {each.source: each.wanted for each in await self._store.fetches.counts()}
        for source in self._sources:
            requests = await self._store.dead_letters.count(DeadLetterFilter("ingest", REQUESTS, source))
            requests -= sum(each.domain == REQUESTS and each.source == source for each in own)
            if requests:
                yield reason("dead-letter", f"{requests} requests of {source}, which may be about another product")
            if counts.get(source):
                yield reason("fetching", f"{counts[source]} records of {source}, which may be others")

    def _concerns(self, letter: DeadLetterHeader) -> bool:
        """A request has no domain: it may be of any that its source writes."""
        if not letter.has_stream:
            return False
        stream = parse_stream_id(letter.originator_id)
        domains = [stream.domain] if stream.domain else self._writers.get(stream.source, ())
        return self._domain in domains and stream.channel in {"", EVERY_CHANNEL, self._channel}


def _letter(letter: DeadLetterHeader) -> Reason:
    code: ReasonCode = "waiting" if letter.kind == "waiting" else "dead-letter"
    return reason(code, f"{letter.source}: {letter.error[:MAX_ERROR]}", dead_letter=letter.id)


def _names(wanted: WantedFetch, sku: str) -> bool:
    return sku in wanted.key or sku in wanted.address or f'"{sku}"'.encode() in wanted.notification


def _attempt(wanted: WantedFetch) -> str:
    failed = f"; it failed {wanted.tries} times: {wanted.error[:MAX_ERROR]}" if wanted.error else ""
    return f"{wanted.address} of {wanted.source}, since {wanted.since}{failed}"
