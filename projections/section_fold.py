"""The fold: from the heads of a SKU's streams to the sections of its pages. Pure."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import msgspec
import orjson

from pagefold.domains import AnyDomain, ChannelContext, Contribution
from pagefold.domains.fold_trace import FoldTrace
from pagefold.projections.channels import Channel
from pagefold.projections.kept_pages import Gap, KeptVersion, VersionSearch
from pagefold.projections.known_skus import Asking, SkuAnswers
from pagefold.projections.streams import EVERY_CHANNEL, decode_part, encode_part


class DecodedEvent(msgspec.Struct, eq=False, gc=False, rename="camel"):
    """The head of one stream, decoded from its `state`.

    `payload` is None if the source withdrew it. Timestamps are fixed-width UTC text, which compares by time. `version`
    is not part of the state: the decoding code sets it. Compared by identity.
    """

    occurred_at: str
    recorded_at: str
    payload: msgspec.Struct | None
    version: int = -1


DecodedEvents: TypeAlias = Mapping[str, DecodedEvent]
"""The heads of one SKU in one domain, by the suffix of their stream: `/channel/domain/source`."""


class Section(NamedTuple):
    """One domain's part of one page, as stored.

    `versions` and `body` are JSON as served: `{"pricing/erp":9}`; `body` is None exactly if the section is disabled.
    Timestamps are fixed-width UTC text.
    """

    sku: str
    channel: str
    domain: str
    enabled: bool
    ready: bool
    versions: bytes
    body: bytes | None
    occurred_at: str
    recorded_at: str


Content: TypeAlias = tuple[bool, bool, bytes, bytes | None, str, str]
"""A section without its key: `enabled` and the fields after it."""

_new = tuple.__new__  # takes a third of the time of the class itself


class ChannelMap:
    """Which channel has which content: `index_of` maps its name to the index of its content. Immutable.

    Names are in order, and contents are numbered in the order of the first channel that has them. `text` is the map as
    JSON.
    """

    __slots__ = ("_merged", "index_of", "text")

    def __init__(self, index_of: Mapping[str, int]) -> None:
        self.index_of = dict(sorted(index_of.items()))
        self.text = orjson.dumps(self.index_of).decode()
        self._merged: dict[tuple[int, ...], ChannelMap] = {}

    def __eq__(self, other: object) -> bool:
        """Whether both map the same channels to the same contents."""
        return self is other or (isinstance(other, ChannelMap) and self.index_of == other.index_of)

    def __hash__(self) -> int:
        """The hash of the text."""
        return hash(self.text)

    def __len__(self) -> int:
        """The number of channels."""
        return len(self.index_of)

    def __repr__(self) -> str:
        """The map as it could be written."""
        return f"ChannelMap({self.text})"

    def merged(self, indexes: tuple[int, ...]) -> "ChannelMap":
        """The map of the same channels after content `i` has become content `indexes[i]`."""
        if (merged := self._merged.get(indexes)) is None:
            merged = ChannelMap({channel: indexes[index] for channel, index in self.index_of.items()})
            self._merged[indexes] = merged
        return merged


class SharedSections(NamedTuple):
    """One domain's sections for all pages of one SKU. Channels with equal sections share them.

    `contents` are distinct, and in the order that `ChannelMap` says; so equal sections are equal in this form too. Each
    is the content of at least one channel.
    """

    sku: str
    domain: str
    channels: ChannelMap
    contents: Sequence[Content]

    def sections(self) -> list[Section]:
        """The section of each channel, by name."""
        sku, domain, channels, contents = self
        return [_new(Section, (sku, channel, domain, *contents[i])) for channel, i in channels.index_of.items()]


def sections_of(folded: Iterable[SharedSections]) -> list[Section]:
    """The sections of several SKUs."""
    return list(chain.from_iterable([each.sections() for each in folded]))


def shared_sections(sections: Iterable[Section]) -> list[SharedSections]:
    """The inverse of `sections_of`: all sections of one domain of several SKUs, by SKU."""
    by_sku: dict[tuple[str, str], dict[str, Content]] = {}
    for section in sections:
        by_sku.setdefault((section.sku, section.domain), {})[section.channel] = section[3:]
    shared: list[SharedSections] = []
    for (sku, domain), content_of in sorted(by_sku.items()):
        contents = list(dict.fromkeys(content for _, content in sorted(content_of.items())))
        index_of = {channel: contents.index(content) for channel, content in content_of.items()}
        shared.append(SharedSections(sku, domain, ChannelMap(index_of), contents))
    return shared


class ChannelMismatch(ValueError):
    """An event for one channel cannot be used in it, for instance because the channel's configuration changed since."""

    def __init__(self, suffix: str, reason: str) -> None:
        super().__init__(reason)
        self.suffix = suffix
        self.reason = reason


class KeptPages(VersionSearch, Exception):
    """Raised by a fold that needs older versions of a SKU's streams: see `VersionSearch`. It is no error."""

    def __init__(
        self, domain: AnyDomain, gaps: Sequence[Gap], finish: Callable[[Mapping[int, KeptVersion]], SharedSections]
    ) -> None:
        super().__init__(domain, gaps)
        self._finish = finish

    def sections(self) -> SharedSections:
        """The sections of the SKU, once nothing is needed."""
        return self._finish(self.kept)


_Source: TypeAlias = tuple[str, str, tuple[tuple[int, bool], ...]]
"""A source with events for a channel.

Its name, its label in `versions`, and the index of each head with whether it is for this channel alone.
"""

_Inputs: TypeAlias = tuple[list[Contribution[Any]], bytes, str, str]
"""Contributions, and what a section says about their origin: `versions` and the two timestamps."""


class ChannelFold:
    """One domain of one channel: the streams it listens to, and what of the channel its sections depend on.

    Its sections are shown under the name `shown_as`.
    """

    def __init__(self, domain: AnyDomain, channel: Channel, shown_as: str) -> None:
        self.channel = shown_as
        self.context = channel.context()
        sources = channel.sources.get(domain.name, ())
        own = [stream_suffix(channel.name, domain.name, source) for source in sources]
        shared = [stream_suffix(EVERY_CHANNEL, domain.name, source) for source in sources]
        self.suffixes = [*own, *shared]
        self._streams = [
            (source, f'"{domain.name}/{source}":', ((for_channel, True), (for_all, False)))
            for source, for_channel, for_all in zip(sources, own, shared, strict=True)
        ]
        self.input_key: Hashable = self.context.currency if domain.channel_mismatch else None
        """Equal for channels in which the same events count."""
        self.output_key: Hashable = domain.varies_by(self.context)
        """Equal for channels whose sections are equal if the same events count."""
        self.asking: Asking | None = None
        if domain.has_view and channel.view is not None and channel.view.asks:
            self.asking = self.output_key = Asking(channel.name, self.output_key)

    def inputs(self, indexes_of: Mapping[str, int]) -> tuple[_Source, ...]:
        """Its sources with events, highest rank first.

        `indexes_of` maps the suffixes of the existing streams to their index.
        """
        found: list[_Source] = []
        for source, label, suffixes in self._streams:
            if indexes := tuple([(indexes_of[suffix], own) for suffix, own in suffixes if suffix in indexes_of]):
                found.append((source, label, indexes))
        return tuple(found)


def stream_suffix(channel: str, domain: str, source: str) -> str:
    """The part of a stream's name after the SKU."""
    return "/" + "/".join(map(encode_part, (channel, domain, source)))


class _SharedInputs:
    """The contributions that several channels have in common.

    `contexts` are those in which they are folded; with each, the one in which older versions are, if the channel keeps
    pages, and the channel, if its view asks for SKUs.
    """

    def __init__(
        self, domain: AnyDomain, sources: Sequence[_Source], suffixes: Sequence[str], channels: Sequence[ChannelFold]
    ) -> None:
        self.contexts = [(each.context, _older_context(domain, each.context), each.asking) for each in channels]
        self._context = channels[0].context
        self._channel_mismatch = domain.channel_mismatch
        self._suffixes = suffixes
        self._sources = sources
        (self._source, self._label, ((self._index, self._own), *more)), *others = sources
        self.collect = self._several if more or others else self._one

    def _one(self, heads: Sequence[DecodedEvent], trace: FoldTrace | None) -> _Inputs:
        """The usual case: one source with one event."""
        event = heads[self._index]
        contributions: list[Contribution[Any]] = []
        if self._counts(event, self._index, trace, own=self._own):
            contributions.append(Contribution(self._source, event.payload))
        return contributions, f"{{{self._label}{event.version}}}".encode(), event.occurred_at, event.recorded_at

    def _several(self, heads: Sequence[DecodedEvent], trace: FoldTrace | None) -> _Inputs:
        """Takes each source's event for the channel, else its event for `*`.

        A source with neither still contributes its version.
        """
        occurred_at = recorded_at = ""
        versions: list[str] = []
        contributions: list[Contribution[Any]] = []
        for source, label, indexes in self._sources:
            shown = heads[indexes[0][0]]
            counting = None
            for index, own in indexes:
                event = heads[index]
                if event.occurred_at > occurred_at:  # noqa: PLR1730  # max() takes three times as long
                    occurred_at = event.occurred_at
                if event.recorded_at > recorded_at:  # noqa: PLR1730  # likewise
                    recorded_at = event.recorded_at
                if counting is None and self._counts(event, index, trace, own=own):
                    shown = counting = event
                    contributions.append(Contribution(source, event.payload))
                elif trace is not None and counting is not None:
                    trace.skip(self._suffixes[index], "own-statement")
            versions.append(f"{label}{shown.version}")
        versions.sort()
        return contributions, ("{" + ",".join(versions) + "}").encode(), occurred_at, recorded_at

    def gap(self, place: int, heads: Sequence[DecodedEvent], context: ChannelContext) -> Gap:
        """The gap that an incomplete section leaves: older versions of its first contribution are tried."""
        return next(
            Gap(place, self._suffixes[index], source, label, context)
            for source, label, indexes in self._sources
            for index, own in indexes
            if self._counts(heads[index], index, None, own=own)
        )

    def _counts(self, event: DecodedEvent, index: int, trace: FoldTrace | None, *, own: bool) -> bool:
        """Whether an event counts: not if it is withdrawn, nor if it is for `*` and does not fit this channel."""
        if event.payload is None:
            if trace is not None:
                trace.skip(self._suffixes[index], "withdrawn")
            return False
        if self._channel_mismatch is None or (mismatch := self._channel_mismatch(event.payload, self._context)) is None:
            if trace is not None:
                trace.use(self._suffixes[index])
            return True
        if own:
            raise ChannelMismatch(self._suffixes[index], mismatch.reason)
        if trace is not None:
            trace.skip(self._suffixes[index], "other-currency", mismatch.reason)
        return False


def _older_context(domain: AnyDomain, context: ChannelContext) -> ChannelContext | None:
    """The context in which a channel tries older versions in place of an incomplete page; None if it tries none."""
    if not domain.has_view or context.view is None or context.view.older is None:
        return None
    return replace(context, view=context.view.older)


class _CompiledFold:
    """The fold of a SKU, compiled for a set of streams. Equal inputs are collected once, equal sections folded once.

    Many SKUs have events in the same streams, so that one compiled fold serves them all. `suffixes` are those of the
    heads, in their order. A channel has no section if no source that it listens to has ever sent an event.
    """

    def __init__(self, domain: AnyDomain, suffixes: Sequence[str], channels: Sequence[ChannelFold]) -> None:
        self._domain = domain
        self._fold = domain.fold
        indexes = {suffix: index for index, suffix in enumerate(suffixes)}
        kinds: dict[tuple[tuple[_Source, ...], Hashable], dict[Hashable, list[ChannelFold]]] = {}
        for channel in channels:
            if sources := channel.inputs(indexes):
                kinds.setdefault((sources, channel.input_key), {}).setdefault(channel.output_key, []).append(channel)
        alike = [own for kind in kinds.values() for own in kind.values()]
        self._order = sorted(range(len(alike)), key=lambda index: alike[index][0].channel)
        self._is_in_order = self._order == list(range(len(alike)))
        self._channels = ChannelMap(
            {channel.channel: place for place, index in enumerate(self._order) for channel in alike[index]}
        )
        self._inputs = [
            _SharedInputs(domain, sources, suffixes, [own[0] for own in kind.values()])
            for (sources, _), kind in kinds.items()
        ]

    def fold(
        self, name: str, heads: Sequence[DecodedEvent], trace: FoldTrace | None, answers: SkuAnswers | None
    ) -> SharedSections:
        """The sections of the SKU of this name. Raises `ChannelMismatch`.

        Raises `UnknownSkus` to ask for SKUs, and `KeptPages` to ask for older versions.
        """
        fold = self._fold
        contents: list[Content] = []
        gaps: list[Gap] = []
        for inputs in self._inputs:
            contributions, versions, occurred_at, recorded_at = inputs.collect(heads, trace)
            for context, older, asking in inputs.contexts:
                if asking is None or answers is None or not contributions:
                    body = fold(contributions, context, trace) if contributions else None
                else:
                    body = answers.fold(fold, contributions, context, asking, trace)
                if body is not None and older is not None and not body.ready:
                    if answers is not None and asking is not None:
                        gaps.append(inputs.gap(len(contents), heads, answers.answered(older, asking.channel)))
                    else:
                        gaps.append(inputs.gap(len(contents), heads, older))
                    body = None
                if body is None:
                    contents.append((False, False, versions, None, occurred_at, recorded_at))
                else:
                    contents.append((True, body.ready, versions, body.json, occurred_at, recorded_at))
        if answers is not None:
            answers.check()
        if gaps:
            raise KeptPages(self._domain, gaps, partial(self._with_kept, name, contents))
        return self._shared(name, contents)

    def _with_kept(self, name: str, contents: list[Content], kept: Mapping[int, KeptVersion]) -> SharedSections:
        for place, version in kept.items():
            contents[place] = (True, True, *version)
        return self._shared(name, contents)

    def _shared(self, name: str, contents: list[Content]) -> SharedSections:
        if len(contents) > 1:
            return self._merged(name, contents)
        return _new(SharedSections, (name, self._domain.name, self._channels, contents))

    def _merged(self, name: str, contents: list[Content]) -> SharedSections:
        """The sections with each distinct content once: different contexts often give equal bytes."""
        if not self._is_in_order:
            contents = [contents[index] for index in self._order]
        places: dict[Content, int] = {}
        indexes = [places.setdefault(content, len(places)) for content in contents]
        if len(places) == len(contents):
            return _new(SharedSections, (name, self._domain.name, self._channels, contents))
        return _new(SharedSections, (name, self._domain.name, self._channels.merged(tuple(indexes)), list(places)))


MAX_COMPILED_FOLDS = 1_000
"""How many compiled folds are cached."""


class DomainFold:
    """Folds one domain for all channels: which streams it needs for a change, and the sections they give.

    `suffixes` are those of all streams that any channel listens to; `max_contents` is how many different sections an
    event for `*` gives. `others` are the channels of another configuration by other names, under which their sections
    are shown beside those of `channels`.
    """

    def __init__(
        self, domain: AnyDomain, channels: Iterable[Channel], others: Mapping[str, Channel] = MappingProxyType({})
    ) -> None:
        self._domain = domain
        named = sorted({**{channel.name: channel for channel in channels}, **others}.items())
        self._channels = [ChannelFold(domain, channel, name) for name, channel in named]
        self._compiled: dict[tuple[str, ...], _CompiledFold] = {}
        self.suffixes = dict.fromkeys(chain.from_iterable(fold.suffixes for fold in self._channels))
        self.max_contents = len({(fold.input_key, fold.output_key) for fold in self._channels})

    def needed_streams(self, skus: Iterable[str]) -> list[str]:
        """The streams whose heads decide the sections of SKUs (encoded as in the log)."""
        suffixes = self.suffixes
        return [sku + suffix for sku in skus for suffix in suffixes]

    def unused_streams(self, streams: Iterable[str]) -> list[str]:
        """Streams that no channel listens to. They give no section, but their heads are checked."""
        return [stream for stream in streams if stream[stream.find("/") :] not in self.suffixes]

    def fold(
        self,
        sku: str,
        heads: DecodedEvents,
        trace: FoldTrace | None = None,
        answers: SkuAnswers | None = None,
    ) -> SharedSections:
        """The sections of one SKU (encoded as in the log). Raises `ChannelMismatch`, and `KeptPages`.

        A channel has none if no source that it listens to has ever sent an event. A `trace` receives every decision,
        which makes sense where the fold is for one channel. `answers` tell which SKUs exist, and receive which the
        product names; it raises `UnknownSkus` for those that are not known. Without it, all exist.
        """
        key = tuple(heads)
        if (compiled := self._compiled.get(key)) is None:
            if len(self._compiled) >= MAX_COMPILED_FOLDS:
                self._compiled.clear()
            compiled = self._compiled[key] = _CompiledFold(self._domain, key, self._channels)
        return compiled.fold(decode_part(sku), list(heads.values()), trace, answers)


def skus_of(streams: Iterable[str]) -> list[str]:
    """The distinct SKUs of streams, in order and encoded as in the log.

    A stream without a slash is an application's, whose topic may be the name of a domain: it belongs to no SKU.
    """
    return sorted({stream[: stream.index("/")] for stream in streams if "/" in stream})
