"""Streams whose source or channel the configuration does not know: their events are kept, and count nowhere."""

from collections import Counter
from collections.abc import Collection, Iterable

import msgspec

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.config import Config
from pagefold.engine.stores.store import Store
from pagefold.projections.releases import release_of
from pagefold.projections.streams import EVERY_CHANNEL, Stream, parse_stream_id

MAX_SAMPLED_SKUS = 500
"""SKUs whose streams are looked at: the first of the log, and those of the newest events."""

MAX_NAMED = 20
"""Sources and channels that are named."""


class UnknownStreams(msgspec.Struct, frozen=True, rename="camel"):
    """Streams of a sample that count nowhere, because a domain has no such `source`, or there is no such `channel`.

    The one that is known is None. `streams` is their number, out of `sampled` ones.
    """

    source: str | None
    channel: str | None
    streams: int
    sampled: int


async def unknown_streams(store: Store, config: Config) -> list[UnknownStreams]:
    """Looks at the streams of some SKUs, the same work for any size of the log. The most frequent come first."""
    streams = set(await store.log.streams_of(await store.log.skus("", MAX_SAMPLED_SKUS)))
    newest = await store.log.next_events(max(await store.log.end() - MAX_SAMPLED_SKUS, 0), MAX_SAMPLED_SKUS)
    domains = {domain.name for domain in DOMAINS}
    streams.update(event.stream for event in newest if event.topic in domains)
    counts = Counter(filter(any, _unknown_parts(streams, config)))
    return [UnknownStreams(*parts, number, len(streams)) for parts, number in counts.most_common(MAX_NAMED)]


def _unknown_parts(streams: Collection[str], config: Config) -> Iterable[tuple[str | None, str | None]]:
    """The source and the channel of each stream, None where it is known."""
    known = {domain.name: set(config.counting_sources(domain.name)) for domain in DOMAINS}
    channels = {EVERY_CHANNEL, *config.channels}
    for name in sorted(streams):
        stream = parse_stream_id(name) if name.count("/") == len(Stream._fields) - 1 else None
        if stream is not None and stream.domain in known:  # others are an application's
            is_known = stream.source in known[stream.domain] or release_of(stream.source) is not None
            source = None if is_known else stream.source
            yield source, None if stream.channel in channels else stream.channel
