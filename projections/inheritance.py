"""Inheritance: the payload of a variant is laid over those of its parents, channel by channel. Pure.

A parent is the SKU that a payload names, in the same source and domain. What counts of it in a channel is what counts
of any SKU there: what the source states for the channel, else what it states for every channel. A SKU that does not
exist, or of which nothing counts, is no parent.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from pagefold.domains import AnyDomain
from pagefold.projections.channels import Channel, Inherit
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

    def newest(self, sku: str) -> int:
        """The newest position of any event of a SKU's parents, up the chain."""
        newest, found, left = 0, {sku}, [sku]
        while left:
            for parent in self.candidates.get(left.pop(), ()):
                if parent not in found:
                    found.add(parent)
                    left.append(parent)
                    newest = max(newest, self.positions.get(parent, 0))
        return newest


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
        if self.field is not None:
            for channel in channels:
                for name in channel.sources.get(domain.name, ()):
                    if (inherit := channel.inherit.get(name)) is not None:
                        source = self._sources.setdefault(name, _Source(domain, name, inherit))
                        source.suffixes[channel.name] = stream_suffix(channel.name, domain.name, name)
        self._by_tail = {f"/{domain.name}/{encode_part(name)}": source for name, source in self._sources.items()}
        self.ignoring_case = {name for name, source in self._sources.items() if source.inherit.ignore_case}
        self.levels = max((source.inherit.levels for source in self._sources.values()), default=0)

    @property
    def is_used(self) -> bool:
        """Whether any source inherits."""
        return bool(self._sources)

    def inherits(self, stream: str) -> bool:
        """Whether a stream is one of a source that inherits."""
        return _tail(stream) in self._by_tail

    def named(self, stream: str, parent: str | None) -> Named | None:
        """The parent that the head of a stream names in a field; None if it names none, or no SKU can have the name."""
        source = None if parent is None else self._by_tail.get(_tail(stream))
        code = None if source is None or parent is None else source.code(parent)
        return None if source is None or code is None else Named(source.name, code)

    def skus(self, stream: str, parent: str, parents: Parents) -> Iterator[str]:
        """The SKUs that may be the parent that a stream names, first the one with exactly its name."""
        return self._by_tail[_tail(stream)].skus(parent, parents)

    def ignores_case(self, source: str) -> bool:
        """Whether a source names parents in any case."""
        return source in self.ignoring_case

    def own_codes(self, streams: Iterable[str]) -> set[Named]:
        """The codes under which variants may name the SKUs of some streams."""
        found: set[Named] = set()
        for stream in streams:
            if (source := self._by_tail.get(_tail(stream))) is not None:
                code = source.code(decode_part(stream.partition("/")[0]))
                if code is not None:
                    found.add(Named(source.name, code))
        return found

    def links(self, stream: str, payload: msgspec.Struct | None) -> dict[str, Sequence[str]]:
        """What is kept of the head of a stream to find variants and parents: codes, by kind."""
        links = self.spellings(stream)
        if self.field is not None and payload is not None:
            named = self.named(stream, getattr(payload, self.field))
            if named is not None:
                links[VARIANT + named.source] = [named.code]
        return links

    def spellings(self, stream: str) -> dict[str, Sequence[str]]:
        """Those of them that every stream of a source has that ignores case, also a withdrawn one."""
        source = self._by_tail.get(_tail(stream))
        if source is None or not source.inherit.ignore_case:
            return {}
        return {SPELLING + named.source: [named.code] for named in self.own_codes([stream])}

    def lay(self, sku: str, heads: DecodedEvents, parents: Parents) -> Laid:
        """Lays the heads of a SKU (encoded as in the log) over those of its parents, which must all be known."""
        laid = Laid(dict(heads), {})
        for source in self._sources.values():
            source.lay(sku, heads, parents, laid)
        return laid


class _Chain(NamedTuple):
    """The parents of a SKU, from the nearest on, as far as they count, and why there are none.

    `events` are all events of SKUs that were looked at, `channels` those that have statements of their own.
    """

    parents: list[tuple[str, Any]]
    events: list[DecodedEvent]
    channels: set[str]
    error: str | None = None


class _Source:
    """One source of a domain: `suffixes` are those of its streams, by channel."""

    def __init__(self, domain: AnyDomain, name: str, inherit: Inherit) -> None:
        self.name = name
        self.inherit = inherit
        self.suffixes: dict[str, str] = {}
        self._field = domain.parent_field or ""
        self._inherit = domain.inherit
        self._own = frozenset(inherit.own)
        self._shared = stream_suffix(EVERY_CHANNEL, domain.name, name)

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

    def lay(self, sku: str, heads: DecodedEvents, parents: Parents, laid: Laid) -> None:
        """Replaces the heads of a SKU that have parents: the one for every channel, and those of channels."""
        channels = {channel for channel, suffix in self.suffixes.items() if suffix in heads}
        shared = heads.get(self._shared)
        if shared is not None and shared.payload is not None:
            chain = self._chain(sku, EVERY_CHANNEL, shared, parents)
            channels |= chain.channels
            if chain.error is not None:
                laid.errors[self._shared] = chain.error
            if chain.events:
                laid.heads[self._shared] = self._laid(EVERY_CHANNEL, shared, chain, parents)
        for channel in sorted(channels):
            suffix = self.suffixes[channel]
            own = heads.get(suffix)
            counting = self._shared if own is None or own.payload is None else suffix
            event = heads.get(counting)
            if event is not None and event.payload is not None:
                chain = self._chain(sku, channel, event, parents)
                if chain.error is not None:
                    laid.errors.setdefault(counting, chain.error)
                if chain.events:
                    chain.events.extend([] if own is None else [own])
                    laid.heads[suffix] = self._laid(channel, event, chain, parents)
                    if counting != suffix:
                        parents.origins.setdefault(sku, {})[suffix] = counting

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

    def _chain(self, sku: str, channel: str, event: DecodedEvent, parents: Parents) -> _Chain:
        """The parents of a SKU in a channel."""
        chain = _Chain([], [], set())
        if parents.chains is not None:
            parents.chains[self.name, channel, sku] = chain.parents
        passed = [sku]
        payload: Any = event.payload
        while (parent := getattr(payload, self._field)) is not None and (code := self.code(parent)) is not None:
            names = [*map(decode_part, passed), parent]
            if len(passed) > self.inherit.levels:
                is_cycle = code in {self.code(name) for name in names[:-1]}
                return self._broken(chain, names, is_cycle=is_cycle)
            found = self._counting(channel, parent, parents, chain)
            if found is None:
                break
            if found[0] in passed:
                return self._broken(chain, names, is_cycle=True)
            passed.append(found[0])
            chain.parents.append(found)
            payload = found[1]
        return chain

    def _broken(self, chain: _Chain, names: Sequence[str], *, is_cycle: bool) -> _Chain:
        what = "the parents form a cycle" if is_cycle else f"there are more than {self.inherit.levels} parents"
        chain.parents.clear()
        return chain._replace(error=f"{self._field}: {what}: {' > '.join(names)}")

    def _counting(self, channel: str, parent: str, parents: Parents, chain: _Chain) -> tuple[str, Any] | None:
        """The SKU that is a parent in a channel, with what counts of it. Records what was looked at in the chain."""
        suffix = self.suffixes.get(channel, self._shared)
        for sku in self.skus(parent, parents):
            heads = parents.heads.get(sku, {})
            chain.channels.update(each for each, own in self.suffixes.items() if own in heads)
            found = [heads[each] for each in dict.fromkeys((suffix, self._shared)) if each in heads]
            chain.events.extend(found)
            for event in found:
                if event.payload is not None:
                    return sku, event.payload
        return None


def fold_case(sku: str) -> str:
    """The code of a SKU for sources that ignore case."""
    return normalise_sku(sku.casefold())


def _tail(stream: str) -> str:
    """The domain and the source of a stream, as they are in its name, each after a slash. "" if it is of no SKU."""
    _, slash, tail = stream.partition("/")[2].partition("/")
    return slash + tail
