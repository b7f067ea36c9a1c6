"""Inheritance: the payload of a variant is laid over those of its parents, channel by channel. Pure.

A parent is the SKU that a payload names, in the same source and domain. What counts of it in a channel is what counts
of any SKU there: what the source states for the channel, else what it states for every channel; and above that, what
published releases state of it. A SKU that does not exist, or of which nothing counts, is no parent.

So a release that states something of a parent reaches its variants, where nothing is stated of the variants themselves.
It may name a variant's parent, too. If the source states nothing of a variant, a release's statement that names a
parent is laid over the parents in its place.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from pagefold.domains import AnyDomain
from pagefold.projections.channels import Channel, Inherit
from pagefold.projections.releases import release_of
from pagefold.projections.section_fold import DecodedEvent, DecodedEvents, stream_suffix
from pagefold.projections.streams import EVERY_CHANNEL, decode_part, encode_part, is_storable_sku, normalise_sku

VARIANT, SPELLING = "@variant/", "@spelling/"
"""What the kinds of links begin with; the rest is the source. No kind of reference begins so.

A variant is stored under the code of its parent, and a SKU of a source that ignores case under its own code.
"""


class Named(NamedTuple):
    """A code under which a source names a parent, as it compares codes."""

    source: str
    code: str


class Parents:
    """The SKUs that may be parents of some others, encoded as in the log, as far up as sources inherit.

    `heads` are the heads of a SKU by the suffix of their stream, `positions` the newest position of any of them.
    `spellings` are the SKUs that have a code, in order, for sources that ignore case; `candidates` are the SKUs that
    may be the parents of a SKU. `origins` are the suffixes of heads that were laid for a channel, each with that of the
    head that counts there, by the SKU that they were laid for. `chains` are recorded for who asks why: the parents that
    count of a SKU, nearest first, with their payloads, by source, channel and SKU.
    """

    def __init__(self) -> None:
        self.heads: dict[str, dict[str, DecodedEvent]] = {}
        self.positions: dict[str, int] = {}
        self.spellings: dict[Named, Sequence[str]] = {}
        self.candidates: dict[str, set[str]] = {}
        self.origins: dict[str, dict[str, str]] = {}
        self.chains: dict[tuple[str, str, str], list[tuple[str, Any]]] | None = None
        self.laid: dict[tuple[str, str, str], Any] = {}
        """The payloads of parents that are laid over those of their own, by source, channel and SKU."""

    def above(self, sku: str) -> list[str]:
        """The SKUs that may be parents of a SKU, up the chain, nearest first."""
        found = [sku]
        for name in found:  # which grows
            found += [each for each in sorted(self.candidates.get(name, ())) if each not in found]
        return found[1:]

    def newest(self, sku: str) -> int:
        """The newest position of any event of a SKU's parents, up the chain."""
        return max((self.positions.get(parent, 0) for parent in self.above(sku)), default=0)


class Laid(NamedTuple):
    """The heads of a SKU, laid over those of its parents, and by suffix, why a head has no parents.

    Where a channel inherits something else than others, its head is a separate one.
    """

    heads: dict[str, DecodedEvent]
    errors: dict[str, str]


class Inheritance:
    """How the payloads of one domain are inherited, for all channels."""

    def __init__(self, domain: AnyDomain, channels: Sequence[Channel]) -> None:
        self.field = domain.parent_field
        self._sources: dict[str, _Source] = {}
        self._ranked: dict[str, list[str]] = {}
        if self.field is not None:
            for channel in channels:
                names = channel.sources.get(domain.name, ())
                releases = [name for name in names if release_of(name) is not None]
                for name in names:
                    if (inherit := channel.inherit.get(name)) is not None:
                        source = self._sources.setdefault(name, _Source(domain, name, inherit))
                        source.add_channel(channel.name, releases)
                        self._ranked.setdefault(channel.name, []).append(name)
        self._by_tail: dict[str, list[_Source]] = {}
        for source in self._sources.values():
            for name in source.stating:
                self._by_tail.setdefault(f"/{domain.name}/{encode_part(name)}", []).append(source)
        self.ignoring_case = {name for name, source in self._sources.items() if source.inherit.ignore_case}
        self.levels = max((source.inherit.levels for source in self._sources.values()), default=0)

    @property
    def is_used(self) -> bool:
        """Whether any source inherits."""
        return bool(self._sources)

    def inherits(self, stream: str) -> bool:
        """Whether a stream is one of a source that inherits, or of a release, whose statements are inherited."""
        return _tail(stream) in self._by_tail

    def named(self, stream: str, parent: str | None) -> list[Named]:
        """The parent that the head of a stream names in a field, as sources that inherit compare names.

        Empty if it names none, or no SKU can have the name.
        """
        if parent is None:
            return []
        sources = self._by_tail.get(_tail(stream), ())
        return [Named(each.name, code) for each in sources if (code := each.code(parent)) is not None]

    def skus(self, stream: str, parent: str, parents: Parents) -> Iterator[str]:
        """The SKUs that may be the parent that a stream names, first the one with exactly its name."""
        for source in self._by_tail[_tail(stream)]:
            yield from source.skus(parent, parents)

    def ignores_case(self, source: str) -> bool:
        """Whether a source names parents in any case."""
        return source in self.ignoring_case

    def own_codes(self, streams: Iterable[str]) -> set[Named]:
        """The codes under which variants may name the SKUs of some streams."""
        found: set[Named] = set()
        for stream in streams:
            if (sources := self._by_tail.get(_tail(stream))) is not None:
                found.update(_codes(sources, stream))
        return found

    def all_codes(self, skus: Iterable[str]) -> set[Named]:
        """The codes under which variants of any source may name some SKUs (encoded as in the log)."""
        return {code for sku in skus for code in _codes(self._sources.values(), sku)}

    def links(self, stream: str, payload: msgspec.Struct | None) -> dict[str, Sequence[str]]:
        """What is kept of the head of a stream to find variants and parents: codes, by kind."""
        links = self.spellings(stream)
        if self.field is not None and payload is not None:
            for named in self.named(stream, getattr(payload, self.field)):
                links[VARIANT + named.source] = [named.code]
        return links

    def spellings(self, stream: str) -> dict[str, Sequence[str]]:
        """Those of them that every stream of a source has that ignores case, also a withdrawn one."""
        sources = [each for each in self._by_tail.get(_tail(stream), ()) if each.inherit.ignore_case]
        return {SPELLING + named.source: [named.code] for named in _codes(sources, stream)} if sources else {}

    def lay(self, sku: str, heads: DecodedEvents, parents: Parents) -> Laid:
        """Lays the heads of a SKU (encoded as in the log) over those of its parents, which must all be known."""
        laid = Laid(dict(heads), {})
        found = {name: source.lay_shared(sku, heads, parents, laid) for name, source in self._sources.items()}
        for channel in sorted(set().union(*found.values())):
            for name in self._ranked.get(channel, ()):
                if channel in found[name]:
                    self._sources[name].lay_in(channel, sku, heads, parents, laid)
        return laid


def _codes(sources: Iterable["_Source"], stream: str) -> Iterator[Named]:
    """The code of the SKU of a stream, as sources compare codes."""
    sku = decode_part(stream.partition("/")[0])
    for source in sources:
        if (code := source.code(sku)) is not None:
            yield Named(source.name, code)


class _Statement(NamedTuple):
    """What counts of a SKU in a channel, of one release or of the source: the suffix of its stream, and its event."""

    source: str
    suffix: str
    event: DecodedEvent


class _Chain(NamedTuple):
    """The parents of a SKU, from the nearest on, as far as they count, and why there are none.

    `stated` are the payloads that the parents have, of releases and of the source; `events` are all events of SKUs that
    were looked at, `channels` those that have statements of their own.
    """

    parents: list[tuple[str, Any]]
    stated: list[tuple[str, Any]]
    events: list[DecodedEvent]
    channels: set[str]
    error: str | None = None


class _Source:
    """One source of a domain that inherits.

    `stating` are the releases above it, the highest rank first, and the source itself: by name, the suffixes of their
    streams, by channel.
    """

    def __init__(self, domain: AnyDomain, name: str, inherit: Inherit) -> None:
        self.name = name
        self.inherit = inherit
        self.stating: dict[str, dict[str, str]] = {}
        self._domain = domain.name
        self._field = domain.parent_field or ""
        self._inherit = domain.inherit
        self._own = frozenset(inherit.own)
        self._shared = stream_suffix(EVERY_CHANNEL, domain.name, name)

    def add_channel(self, channel: str, releases: Sequence[str]) -> None:
        """A channel that uses the source, below these releases."""
        for name in (*releases, self.name):
            suffixes = self.stating.setdefault(name, {EVERY_CHANNEL: stream_suffix(EVERY_CHANNEL, self._domain, name)})
            suffixes[channel] = stream_suffix(channel, self._domain, name)

    def code(self, name: str) -> str | None:
        """The code of a SKU, as this source compares it. None if no SKU can have the name."""
        code = normalise_sku(name)
        if not is_storable_sku(code):
            return None
        return fold_case(code) if self.inherit.ignore_case else code

    def skus(self, parent: str, parents: Parents) -> Iterator[str]:
        exact = encode_part(normalise_sku(parent))
        yield exact
        if self.inherit.ignore_case and (code := self.code(parent)) is not None:
            for sku in parents.spellings.get(Named(self.name, code), ()):
                if sku != exact:
                    yield sku

    def lay_shared(self, sku: str, heads: DecodedEvents, parents: Parents, laid: Laid) -> set[str]:
        """Replaces the head of a SKU for every channel. Returns the channels that need one of their own."""
        channels = self._channels(heads)
        shared = heads.get(self._shared)
        if shared is not None and shared.payload is not None:
            return channels | self.lay_in(EVERY_CHANNEL, sku, heads, parents, laid)
        if any(suffixes[EVERY_CHANNEL] in heads for suffixes in self.stating.values()):
            return set(self.stating[self.name])  # a release's is laid only where the source states nothing
        return channels

    def _channels(self, heads: DecodedEvents) -> set[str]:
        """The channels of which something is stated."""
        return {
            channel for suffixes in self.stating.values() for channel, suffix in suffixes.items() if suffix in heads
        }

    def lay_in(self, channel: str, sku: str, heads: DecodedEvents, parents: Parents, laid: Laid) -> set[str]:
        """Replaces the head of a SKU that is laid over its parents in a channel. Returns channels with statements."""
        counting = self._counting(channel, heads)
        if not counting:
            return set()
        source, origin, event = counting[-1]  # of the source; else the lowest release
        named = next((each for each in counting if getattr(each.event.payload, self._field) is not None), counting[-1])
        chain = self._chain(sku, channel, getattr(named.event.payload, self._field), parents)
        if parents.chains is not None:
            parents.chains.setdefault((source, channel, sku), []).extend(chain.stated)
        if chain.error is not None:
            laid.errors.setdefault(named.suffix, chain.error)
        if chain.events:
            suffix = self.stating[source][channel]
            own = laid.heads.get(suffix)
            if own is not None:
                chain.events.append(own)
                event = own if source != self.name and own.payload is not None else event  # also of other sources
            laid.heads[suffix] = self._laid(channel, event, chain, parents)
            if origin != suffix:
                parents.origins.setdefault(sku, {})[suffix] = origin
        return chain.channels

    def _counting(self, channel: str, heads: DecodedEvents) -> list[_Statement]:
        """What counts of a SKU in a channel: at most one event of each release, then of the source."""
        found: list[_Statement] = []
        for name, suffixes in self.stating.items():
            for suffix in _looked_at(suffixes, channel):
                if suffix in heads and (event := heads[suffix]).payload is not None:
                    found.append(_Statement(name, suffix, event))
                    break
        return found

    def _laid(self, channel: str, event: DecodedEvent, chain: _Chain, parents: Parents) -> DecodedEvent:
        """An event, laid over the parents of a chain, as new as the newest event that was looked at."""
        payload: Any = event.payload
        if chain.parents:
            payload = self._inherit(payload, self._laid_parent(channel, chain.parents, parents), self._own)
        return DecodedEvent(
            max(event.occurred_at, *[each.occurred_at for each in chain.events]),
            max(event.recorded_at, *[each.recorded_at for each in chain.events]),
            payload,
            event.version,
        )

    def _laid_parent(self, channel: str, chain: Sequence[tuple[str, Any]], parents: Parents) -> Any:  # noqa: ANN401  # a domain's payload
        """The payload of the nearest parent of a chain, laid over those of its own."""
        above: Any = None
        for sku, payload in reversed(chain):
            key = (self.name, channel, sku)
            if key not in parents.laid:
                parents.laid[key] = payload if above is None else self._inherit(payload, above, self._own)
            above = parents.laid[key]
        return above

    def _chain(self, sku: str, channel: str, parent: str | None, parents: Parents) -> _Chain:
        """The parents of a SKU in a channel, beginning with the one that it names."""
        chain = _Chain([], [], [], set())
        passed = [sku]
        while parent is not None and (code := self.code(parent)) is not None:
            names = [*map(decode_part, passed), parent]
            if len(passed) > self.inherit.levels:
                is_cycle = code in {self.code(name) for name in names[:-1]}
                return self._broken(chain, names, is_cycle=is_cycle)
            found = self._parent(channel, parent, parents, chain)
            if found is None:
                break
            above, stated = found
            if above in passed:
                return self._broken(chain, names, is_cycle=True)
            passed.append(above)
            chain.parents.append((above, self._merged(stated)))
            chain.stated.extend((above, payload) for payload in stated)
            parent = self._named(stated)
        return chain

    def _broken(self, chain: _Chain, names: Sequence[str], *, is_cycle: bool) -> _Chain:
        what = "the parents form a cycle" if is_cycle else f"there are more than {self.inherit.levels} parents"
        chain.parents.clear()
        chain.stated.clear()
        return chain._replace(error=f"{self._field}: {what}: {' > '.join(names)}")

    def _parent(self, channel: str, parent: str, parents: Parents, chain: _Chain) -> tuple[str, list[Any]] | None:
        """The SKU that is a parent in a channel, with what counts of it. Records what was looked at in the chain."""
        for sku in self.skus(parent, parents):
            heads = parents.heads.get(sku, {})
            chain.channels.update(self._channels(heads))
            for suffixes in self.stating.values():
                looked_at = _looked_at(suffixes, channel)
                chain.events.extend([heads[suffix] for suffix in looked_at if suffix in heads])
            if counting := self._counting(channel, heads):
                return sku, [each.event.payload for each in counting]
        return None

    def _merged(self, stated: Sequence[Any]) -> Any:  # noqa: ANN401  # a domain's payload
        """What releases and the source state of a parent, as one payload."""
        merged = stated[-1]
        for payload in reversed(stated[:-1]):
            merged = self._inherit(payload, merged, ())
        return merged

    def _named(self, stated: Sequence[Any]) -> str | None:
        """The parent that the first of them names."""
        names = (getattr(payload, self._field) for payload in stated)
        return next((name for name in names if name is not None), None)


def _looked_at(suffixes: Mapping[str, str], channel: str) -> Iterable[str]:
    """The streams that may count in a channel, by suffix: its own, then the one for every channel."""
    shared = suffixes[EVERY_CHANNEL]
    return dict.fromkeys((suffixes.get(channel, shared), shared))


def fold_case(sku: str) -> str:
    """The code of a SKU for sources that ignore case."""
    return normalise_sku(sku.casefold())


def _tail(stream: str) -> str:
    """The domain and the source of a stream, as they are in its name, each after a slash. "" if it is of no SKU."""
    _, slash, tail = stream.partition("/")[2].partition("/")
    return slash + tail
