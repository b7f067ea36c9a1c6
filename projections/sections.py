"""The fold: from the heads of a SKU's streams to the sections of its pages. Pure."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple, TypeAlias

import msgspec

from domains import AnyDomain, Contribution
from projections.channels import Channel
from projections.streams import EVERY_CHANNEL, decode_part, encode_part


class Word(msgspec.Struct, eq=False, gc=False, rename="camel"):
    """The head of one stream, as its `state` is decoded.

    `payload` is None when the source has taken its statement back. The two moments are text in one fixed-width form
    of UTC, so that they compare as text. `version` is not part of the state: whoever decodes sets it. Compared by
    identity.
    """

    occurred_at: str
    recorded_at: str
    payload: msgspec.Struct | None
    version: int = -1


Words: TypeAlias = Mapping[str, Word]
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

_new = tuple.__new__  # a third of the time that the class itself would take

_Source: TypeAlias = tuple[str, str, tuple[tuple[str, bool], ...]]
"""A source that a channel listens to: name, label in `versions`, and where it speaks, for the channel or for all."""


class Misfit(ValueError):
    """A statement made for a channel does not suit it (any more: its configuration has changed since)."""

    def __init__(self, tail: str, reason: str) -> None:
        super().__init__(reason)
        self.tail = tail
        self.reason = reason


class Heard(msgspec.Struct, frozen=True, gc=False):
    """What a channel hears about a SKU: contributions, and what a section shows of where they are from."""

    contributions: list[Contribution[msgspec.Struct]]
    versions: bytes
    occurred_at: str
    recorded_at: str


class ChannelFold:
    """Folds one domain of one channel."""

    def __init__(self, domain: AnyDomain, channel: Channel) -> None:
        self.channel = channel.name
        self._name = domain.name
        self._fits = domain.fits
        self._fold = domain.fold
        self._view = view = channel.view()
        sources = channel.sources.get(domain.name, ())
        own = [tail_of(channel.name, domain.name, source) for source in sources]
        shared = [tail_of(EVERY_CHANNEL, domain.name, source) for source in sources]
        labels = [f'"{domain.name}/{source}":' for source in sources]
        self.own_tails = frozenset(own)
        self.tails = [*own, *shared]
        self._hears = [
            (source, label, ((for_channel, True), (for_all, False)))
            for source, label, for_channel, for_all in zip(sources, labels, own, shared, strict=True)
        ]
        self._hears_shared = [
            (source, label, ((for_all, False),)) for source, label, for_all in zip(sources, labels, shared, strict=True)
        ]
        self.hearing: Hashable = (sources, view.currency if domain.fits else None)
        """Equal for channels that hear the same in words that are meant for every channel."""
        self.showing: Hashable = domain.depends_on(view)
        """Equal for channels that show the same of what they hear."""

    def fold(self, sku: str, words: Words) -> Section | None:
        """The section for a SKU, or None when nobody whom the channel listens to has ever spoken. Raises `Misfit`."""
        heard = self._heard(words, self._hears)
        return None if heard is None else self.section(sku, self.content(heard))

    def heard_shared(self, words: Words) -> Heard | None:
        """What the channel hears where nobody has a word for it alone; None when nobody has ever spoken."""
        return self._heard(words, self._hears_shared)

    def content(self, heard: Heard) -> Content:
        """What the channel shows of it."""
        body = self._fold(heard.contributions, self._view) if heard.contributions else None
        if body is None:
            return False, False, heard.versions, None, heard.occurred_at, heard.recorded_at
        return True, body.ready, heard.versions, body.json, heard.occurred_at, heard.recorded_at

    def section(self, sku: str, content: Content) -> Section:
        """The content as this channel's section."""
        return _new(Section, (sku, self.channel, self._name, *content))

    def _heard(self, words: Words, hears: Sequence[_Source]) -> Heard | None:
        occurred_at = recorded_at = ""
        versions: list[str] = []
        contributions: list[Contribution[msgspec.Struct]] = []
        for source, label, tails in hears:
            counting = silent = None
            for tail, own in tails:
                if (word := words.get(tail)) is None:
                    continue
                if word.occurred_at > occurred_at:  # noqa: PLR1730  # max() takes three times as long
                    occurred_at = word.occurred_at
                if word.recorded_at > recorded_at:  # noqa: PLR1730  # likewise
                    recorded_at = word.recorded_at
                silent = silent or word
                if counting is None and self._counts(word, tail, own=own):
                    counting = word
            if counting is not None and counting.payload is not None:
                contributions.append(Contribution(source, counting.payload))
                versions.append(f"{label}{counting.version}")
            elif silent is not None:
                versions.append(f"{label}{silent.version}")
        if not versions:
            return None
        versions.sort()
        return Heard(contributions, ("{" + ",".join(versions) + "}").encode(), occurred_at, recorded_at)

    def _counts(self, word: Word, tail: str, *, own: bool) -> bool:
        """A word that was taken back does not count, nor one for every channel that does not suit this one."""
        if word.payload is None:
            return False
        if self._fits is None or (misfit := self._fits(word.payload, self._view)) is None:
            return True
        if own:
            raise Misfit(tail, misfit.reason)
        return False


def tail_of(channel: str, domain: str, source: str) -> str:
    """The part of a stream's name that follows the SKU."""
    return "/" + "/".join(map(encode_part, (channel, domain, source)))


_Alike: TypeAlias = tuple[
    Callable[[Words], Heard | None],
    Sequence[tuple[Callable[[Heard], Content], Sequence[tuple[int, str]]]],
]
"""What channels hear that hear the same; what those of them show that show the same; their places and names."""

MOST_KNOWN = 1_000
"""So many sets of channels for which somebody has a word of their own are remembered."""


class DomainFold:
    """Folds one domain for all channels: which streams it wants to see for a change, and the sections they give.

    `everywhere` are all channels, by name; `tails` the ends of the names of all streams that any of them listens to.
    """

    def __init__(self, domain: AnyDomain, channels: Sequence[Channel]) -> None:
        self._channels = {channel.name: ChannelFold(domain, channel) for channel in channels}
        self.everywhere = [self._channels[name] for name in sorted(self._channels)]
        self._places = {fold: place for place, fold in enumerate(self.everywhere)}
        self._name = domain.name
        self._known_alike: dict[tuple[int, ...], Sequence[_Alike]] = {}
        self._alike = self._alike_among(self.everywhere)
        self._own_tails = frozenset(chain.from_iterable(fold.own_tails for fold in self.everywhere))
        self.tails = dict.fromkeys(chain.from_iterable(fold.tails for fold in self.everywhere))

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

    def fold(self, sku: str, words: Words, channels: Sequence[ChannelFold]) -> list[Section]:
        """The sections of one SKU (as encoded in the log) in some channels, or in all, by channel. Raises `Misfit`."""
        name = decode_part(sku)
        if channels is self.everywhere:
            return self._fold_everywhere(name, words)
        found = [fold.fold(name, words) for fold in channels]
        return [section for section in found if section is not None]

    def _fold_everywhere(self, name: str, words: Words) -> list[Section]:
        """What several channels hear, or show, is folded once. Those for which somebody has a word go their own way."""
        found: list[Section | None] = [None] * len(self.everywhere)
        alike = self._alike
        if not self._own_tails.isdisjoint(words):
            apart = [fold for fold in self.everywhere if not fold.own_tails.isdisjoint(words)]
            for fold in apart:
                found[self._places[fold]] = fold.fold(name, words)
            alike = self._alike_but(apart)
        for hear, shown in alike:
            if (heard := hear(words)) is None:
                continue
            for show, channels in shown:
                content = show(heard)
                for place, channel in channels:
                    found[place] = _new(Section, (name, channel, self._name, *content))
        return [section for section in found if section is not None]

    def _alike_but(self, apart: Sequence[ChannelFold]) -> Sequence[_Alike]:
        """As `_alike_among`, of all channels but some: remembered, for it is mostly the same ones."""
        key = tuple([self._places[fold] for fold in apart])
        if (known := self._known_alike.get(key)) is None:
            if len(self._known_alike) >= MOST_KNOWN:
                self._known_alike.clear()
            known = self._known_alike[key] = self._alike_among([fold for fold in self.everywhere if fold not in apart])
        return known

    def _alike_among(self, folds: Iterable[ChannelFold]) -> Sequence[_Alike]:
        """The channels that hear the same, and among them those that show the same."""
        kinds: dict[Hashable, dict[Hashable, list[ChannelFold]]] = {}
        for fold in folds:
            kinds.setdefault(fold.hearing, {}).setdefault(fold.showing, []).append(fold)
        return [
            (
                next(iter(kind.values()))[0].heard_shared,
                [(shown[0].content, [(self._places[fold], fold.channel) for fold in shown]) for shown in kind.values()],
            )
            for kind in kinds.values()
        ]

    def is_whole(self, stream: str, channels: Sequence[ChannelFold]) -> bool:
        """Whether a fold for these channels leaves nothing that the stream's head could still change."""
        return channels is self.everywhere or f"/{EVERY_CHANNEL}/" not in stream
