"""The fold: from the heads of a SKU's streams to the sections of its pages. Pure."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import msgspec

from pagefold.domains import AnyDomain, ChannelContext, Contribution
from pagefold.projections.channels import Channel
from pagefold.projections.streams import EVERY_CHANNEL, decode_part, encode_part


class DecodedEvent(msgspec.Struct, eq=False, gc=False, rename="camel"):
    """The head of one stream, as its `state` is decoded.

    `payload` is None when the source has taken its statement back. The two moments are text in one fixed-width form
    of UTC, so that they compare as text. `version` is not part of the state: whoever decodes sets it. Compared by
    identity.
    """

    occurred_at: str
    recorded_at: str
    payload: msgspec.Struct | None
    version: int = -1


DecodedEvents: TypeAlias = Mapping[str, DecodedEvent]
"""The words about one SKU in one domain, by the tail of their stream: `/channel/domain/source`."""


class Section(NamedTuple):
    """One domain's part of one page, as it is stored.

    `versions` and `body` are JSON as a page shows it: `{"pricing/erp":9}`; `body` is None exactly when the section is
    disabled. The moments are fixed-width UTC text.
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
"""A section but for whose it is: `enabled` and everything behind it."""

SectionRow: TypeAlias = tuple[str, str, str, bool, bool, bytes, bytes | None, str, str]
"""What a section has, in its order."""

_new = tuple.__new__  # a third of the time that the class itself would take


class SharedSections(NamedTuple):
    """One domain's sections of pages of one SKU, of which several channels have the same.

    `channels` are the names of those that have one, in order, each with the place of its content.
    """

    sku: str
    domain: str
    channels: Sequence[tuple[str, int]]
    contents: Sequence[Content]

    @property
    def size(self) -> int:
        """Bytes of `versions` and bodies, of each channel's."""
        sizes = [len(content[2]) + len(content[3] or b"") for content in self.contents]
        return sum([sizes[place] for _, place in self.channels])

    def rows(self) -> list[SectionRow]:
        """Each channel's, but for the names of what it has: that takes half the time."""
        sku, domain, channels, contents = self
        return [(sku, channel, domain, *contents[place]) for channel, place in channels]

    def sections(self) -> list[Section]:
        """Each channel's."""
        return [_new(Section, row) for row in self.rows()]


def sections_of(folded: Iterable[SharedSections]) -> list[Section]:
    """The sections of several SKUs."""
    return list(chain.from_iterable([each.sections() for each in folded]))


class ChannelMismatch(ValueError):
    """A statement made for a channel does not suit it (any more: its configuration has changed since)."""

    def __init__(self, tail: str, reason: str) -> None:
        super().__init__(reason)
        self.tail = tail
        self.reason = reason


_Source: TypeAlias = tuple[str, str, tuple[tuple[int, bool], ...]]
"""A source that speaks to a channel: name, label in `versions`, where its words are, and which is for it alone."""

_Heard: TypeAlias = tuple[list[Contribution[Any]], bytes, str, str]
"""Contributions, and what a section shows of where they are from: `versions`, and the two moments."""


class ChannelFold:
    """One domain of one channel: whom it listens to, and what of the channel its sections depend on."""

    def __init__(self, domain: AnyDomain, channel: Channel) -> None:
        self.channel = channel.name
        self.view = channel.view()
        sources = channel.sources.get(domain.name, ())
        own = [stream_suffix(channel.name, domain.name, source) for source in sources]
        shared = [stream_suffix(EVERY_CHANNEL, domain.name, source) for source in sources]
        self.tails = [*own, *shared]
        self._listens_to = [
            (source, f'"{domain.name}/{source}":', ((for_channel, True), (for_all, False)))
            for source, for_channel, for_all in zip(sources, own, shared, strict=True)
        ]
        self.hearing: Hashable = self.view.currency if domain.fits else None
        """Equal for channels that hear the same in the same words."""
        self.showing: Hashable = domain.depends_on(self.view)
        """Equal for channels that show the same of what they hear."""

    def heard(self, places: Mapping[str, int]) -> tuple[_Source, ...]:
        """Who speaks to it, whoever counts most first. `places` are those of the words that there are, by tail."""
        found: list[_Source] = []
        for source, label, tails in self._listens_to:
            if spoken := tuple([(places[tail], own) for tail, own in tails if tail in places]):
                found.append((source, label, spoken))
        return tuple(found)


def stream_suffix(channel: str, domain: str, source: str) -> str:
    """The part of a stream's name that follows the SKU."""
    return "/" + "/".join(map(encode_part, (channel, domain, source)))


class _SharedInputs:
    """What channels hear that hear the same. `views` are of those among them that show the same of it."""

    def __init__(
        self, domain: AnyDomain, sources: Sequence[_Source], tails: Sequence[str], views: list[ChannelContext]
    ) -> None:
        self.views = views
        self._fits = domain.fits
        self._tails = tails
        self._sources = sources
        (self._source, self._label, ((self._place, self._own), *more)), *others = sources
        self.hear = self._several if more or others else self._one

    def _one(self, words: Sequence[DecodedEvent]) -> _Heard:
        """A single word, as most have it."""
        word = words[self._place]
        heard: list[Contribution[Any]] = []
        if self._counts(word, self._place, own=self._own):
            heard.append(Contribution(self._source, word.payload))
        return heard, f"{{{self._label}{word.version}}}".encode(), word.occurred_at, word.recorded_at

    def _several(self, words: Sequence[DecodedEvent]) -> _Heard:
        """Of each source the word for the channel, or else the one for all. Where none counts, its version is shown."""
        occurred_at = recorded_at = ""
        versions: list[str] = []
        heard: list[Contribution[Any]] = []
        for source, label, places in self._sources:
            shown = words[places[0][0]]
            counting = None
            for place, own in places:
                word = words[place]
                if word.occurred_at > occurred_at:  # noqa: PLR1730  # max() takes three times as long
                    occurred_at = word.occurred_at
                if word.recorded_at > recorded_at:  # noqa: PLR1730  # likewise
                    recorded_at = word.recorded_at
                if counting is None and self._counts(word, place, own=own):
                    shown = counting = word
                    heard.append(Contribution(source, word.payload))
            versions.append(f"{label}{shown.version}")
        versions.sort()
        return heard, ("{" + ",".join(versions) + "}").encode(), occurred_at, recorded_at

    def _counts(self, word: DecodedEvent, place: int, *, own: bool) -> bool:
        """A word that was taken back does not count, nor one for every channel that does not suit this one."""
        if word.payload is None:
            return False
        if self._fits is None or (misfit := self._fits(word.payload, self.views[0])) is None:
            return True
        if own:
            raise ChannelMismatch(self._tails[place], misfit.reason)
        return False


class _CompiledFold:
    """How words about a SKU become sections: what several channels hear, or show, is folded once.

    SKUs have words in the same few streams, so that a plan serves many of them. `tails` are those of the words, in
    their order. The sections are in the order of the channels; a channel has none where nobody whom it listens to has
    ever spoken.
    """

    def __init__(self, domain: AnyDomain, tails: Sequence[str], channels: Sequence[ChannelFold]) -> None:
        self._domain = domain.name
        self._fold = domain.fold
        places = {tail: place for place, tail in enumerate(tails)}
        kinds: dict[tuple[tuple[_Source, ...], Hashable], dict[Hashable, list[ChannelFold]]] = {}
        for channel in channels:
            if sources := channel.heard(places):
                kinds.setdefault((sources, channel.hearing), {}).setdefault(channel.showing, []).append(channel)
        shown = [alike for kind in kinds.values() for alike in kind.values()]
        content_of = {channel: content for content, alike in enumerate(shown) for channel in alike}
        self._channels = [(channel.channel, content_of[channel]) for channel in channels if channel in content_of]
        self._hearings = [
            _SharedInputs(domain, sources, tails, [alike[0].view for alike in kind.values()])
            for (sources, _), kind in kinds.items()
        ]

    def fold(self, name: str, words: Sequence[DecodedEvent]) -> SharedSections:
        """The sections of the SKU of that name. Raises `ChannelMismatch`."""
        fold = self._fold
        contents: list[Content] = []
        for hearing in self._hearings:
            heard, versions, occurred_at, recorded_at = hearing.hear(words)
            for view in hearing.views:
                body = fold(heard, view) if heard else None
                if body is None:
                    contents.append((False, False, versions, None, occurred_at, recorded_at))
                else:
                    contents.append((True, body.ready, versions, body.json, occurred_at, recorded_at))
        return _new(SharedSections, (name, self._domain, self._channels, contents))


MOST_PLANS = 1_000
"""So many plans are remembered."""


class DomainFold:
    """Folds one domain for all channels: which streams it wants to see for a change, and the sections they give.

    `everywhere` are all channels, by name; `tails` the ends of the names of all streams that any of them listens to;
    `contents` how many different sections an event for every channel gives.
    """

    def __init__(self, domain: AnyDomain, channels: Sequence[Channel]) -> None:
        self._domain = domain
        self._channels = {channel.name: ChannelFold(domain, channel) for channel in channels}
        self._plans: dict[tuple[tuple[str, ...], tuple[ChannelFold, ...] | None], _CompiledFold] = {}
        self.everywhere = [self._channels[name] for name in sorted(self._channels)]
        self.tails = dict.fromkeys(chain.from_iterable(fold.tails for fold in self.everywhere))
        self.contents = len({(fold.hearing, fold.showing) for fold in self.everywhere})

    def affected(self, streams: Iterable[str]) -> dict[str, list[ChannelFold]]:
        """By SKU (as encoded in the log), the channels whose sections the streams can change."""
        affected: dict[str, list[ChannelFold]] = {}
        for stream in streams:
            sku, _, rest = stream.partition("/")
            channel, separator, _ = rest.partition("/")
            if not separator:  # an application's own, under a topic that is also a domain's name
                continue
            if channel == EVERY_CHANNEL:
                affected[sku] = self.everywhere
                continue
            known = affected.setdefault(sku, [])
            fold = self._channels.get(decode_part(channel))
            if fold is not None and fold not in known:
                affected[sku] = [*known, fold]
        return affected

    def wanted(self, affected: Mapping[str, Sequence[ChannelFold]]) -> list[str]:
        """The streams whose heads decide those sections."""
        wanted: list[str] = []
        for sku, folds in affected.items():
            if len(folds) == len(self.everywhere):
                tails: Iterable[str] = self.tails
            elif len(folds) == 1:
                tails = folds[0].tails
            else:
                tails = dict.fromkeys(chain.from_iterable(fold.tails for fold in folds))
            wanted += [sku + tail for tail in tails]
        return wanted

    def unheard(self, streams: Iterable[str]) -> list[str]:
        """Those of the streams that no channel listens to: they give no section, but their heads are looked at."""
        return [stream for stream in streams if stream[stream.find("/") :] not in self.tails]

    def fold(self, sku: str, words: DecodedEvents, channels: Sequence[ChannelFold]) -> SharedSections:
        """The sections of one SKU (as encoded in the log) in some channels, in their order. Raises `ChannelMismatch`.

        A channel has none where nobody whom it listens to has ever spoken.
        """
        key = tuple(words), None if channels is self.everywhere else tuple(channels)
        if (plan := self._plans.get(key)) is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            plan = self._plans[key] = _CompiledFold(self._domain, key[0], channels)
        return plan.fold(decode_part(sku), list(words.values()))

    def is_whole(self, stream: str, channels: Sequence[ChannelFold]) -> bool:
        """Whether a fold for these channels leaves nothing that the stream's head could still change."""
        return channels is self.everywhere or f"/{EVERY_CHANNEL}/" not in stream
