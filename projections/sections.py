"""The fold: from the heads of a SKU's streams to the sections of its pages. Pure."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from domains import AnyDomain, Body, Contribution, View
from projections.channels import Channel
from projections.streams import EVERY_CHANNEL, decode_part, encode_part


class Word(NamedTuple):
    """The head of one stream, decoded. `payload` is None when the source has taken its statement back.

    The two moments are text in one fixed-width form of UTC, so that they compare as text.
    """

    version: int
    payload: msgspec.Struct | None
    occurred_at: str
    recorded_at: str


Words: TypeAlias = Mapping[str, Word]
"""The words about one SKU in one domain, by the tail of their stream: `/channel/domain/source`."""


class Section(NamedTuple):
    """One domain's part of one page, as it is stored. `body` is None exactly when the section is disabled."""

    sku: str
    channel: str
    domain: str
    enabled: bool
    ready: bool
    versions: bytes
    body: bytes | None
    occurred_at: str
    recorded_at: str


class Misfit(ValueError):
    """A statement made for a channel does not suit it (any more: its configuration has changed since)."""

    def __init__(self, tail: str, reason: str) -> None:
        super().__init__(reason)
        self.tail = tail
        self.reason = reason


class _Listening(NamedTuple):
    """One source that a channel listens to: where it speaks for the channel, and where for every channel."""

    source: str
    own: str
    shared: str


class ChannelFold:
    """Folds one domain of one channel. `shares` tells which channels get the same bytes from the same words."""

    def __init__(self, domain: AnyDomain, channel: Channel) -> None:
        self.domain = domain
        self.channel = channel.name
        self.view: View = channel.view()
        self.shares: Hashable = domain.depends_on(self.view)
        self.listens = [
            _Listening(source, tail_of(channel.name, domain.name, source), tail_of(EVERY_CHANNEL, domain.name, source))
            for source in channel.sources.get(domain.name, ())
        ]
        self.tails = [tail for listening in self.listens for tail in (listening.own, listening.shared)]

    def fold(self, sku: str, words: Words, bodies: dict[Hashable, Body | None]) -> Section | None:
        """The section for a SKU, or None when nobody whom the channel listens to has ever spoken.

        `bodies` remembers what was folded for this SKU, for channels that share it. Raises `Misfit`.
        """
        contributions: list[Contribution[msgspec.Struct]] = []
        versions: list[tuple[str, int]] = []
        occurred_at = recorded_at = ""
        counting: list[str] = []
        for source, own_tail, shared_tail in self.listens:
            own, shared = words.get(own_tail), words.get(shared_tail)
            for word in (own, shared):
                if word is not None:
                    occurred_at = max(occurred_at, word.occurred_at)
                    recorded_at = max(recorded_at, word.recorded_at)
            if own is not None and self._counts_own(own, own_tail):
                counts, tail = own, own_tail
            elif shared is not None and self._counts_shared(shared):
                counts, tail = shared, shared_tail
            else:
                silent = own or shared
                if silent is not None:
                    versions.append((source, silent.version))
                continue
            versions.append((source, counts.version))
            counting.append(tail)
            contributions.append(Contribution(source, counts.payload))  # type: ignore[arg-type]  # counting words have one
        if not versions:
            return None
        body = self._body(contributions, tuple(counting), bodies)
        return Section(
            sku,
            self.channel,
            self.domain.name,
            body is not None,
            body is not None and body.ready,
            encode_versions(versions),
            None if body is None else body.json,
            occurred_at,
            recorded_at,
        )

    def _counts_own(self, word: Word, tail: str) -> bool:
        if word.payload is None:
            return False
        if (reason := self.domain.fits(word.payload, self.view)) is not None:
            raise Misfit(tail, reason)
        return True

    def _counts_shared(self, word: Word) -> bool:
        return word.payload is not None and self.domain.fits(word.payload, self.view) is None

    def _body(
        self,
        contributions: Sequence[Contribution[msgspec.Struct]],
        counting: tuple[str, ...],
        bodies: dict[Hashable, Body | None],
    ) -> Body | None:
        if not contributions:
            return None
        key = (counting, self.shares)
        if key not in bodies:
            bodies[key] = self.domain.fold(contributions, self.view)
        return bodies[key]


def tail_of(channel: str, domain: str, source: str) -> str:
    """The part of a stream's name that follows the SKU."""
    return "/" + "/".join(map(encode_part, (channel, domain, source)))


def encode_versions(versions: Iterable[tuple[str, int]]) -> bytes:
    """Source -> version, as compact JSON. Names of sources need no escaping: the configuration sees to it."""
    return ("{" + ",".join([f'"{source}":{version}' for source, version in sorted(versions)]) + "}").encode()


class DomainFold:
    """Folds one domain for all channels: which streams it wants to see for a change, and the sections they give."""

    def __init__(self, domain: AnyDomain, channels: Sequence[Channel]) -> None:
        self.domain = domain
        self._channels = {channel.name: ChannelFold(domain, channel) for channel in channels}
        self._tails = list(dict.fromkeys(tail for fold in self._channels.values() for tail in fold.tails))

    def affected(self, streams: Iterable[str]) -> dict[str, list[ChannelFold]]:
        """By SKU (as encoded in the log), the channels whose sections the streams can change."""
        everywhere = list(self._channels.values())
        affected: dict[str, list[ChannelFold]] = {}
        for stream in streams:
            sku, channel, _ = stream.split("/", 2)
            if channel == EVERY_CHANNEL:
                affected[sku] = everywhere
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
            if len(folds) == len(self._channels):
                wanted += [sku + tail for tail in self._tails]
            elif len(folds) == 1:
                wanted += [sku + tail for tail in folds[0].tails]
            else:
                wanted += dict.fromkeys(sku + tail for fold in folds for tail in fold.tails)
        return wanted

    def fold(self, sku: str, words: Words, channels: Iterable[ChannelFold]) -> list[Section]:
        """The sections of one SKU (as encoded in the log), in the order of the channels given. Raises `Misfit`."""
        bodies: dict[Hashable, Body | None] = {}
        name = decode_part(sku)
        sections = [fold.fold(name, words, bodies) for fold in channels]
        return [section for section in sections if section is not None]


