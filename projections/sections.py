"""The fold: from the heads of a SKU's streams to the sections of its pages. Pure."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
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

Memory: TypeAlias = dict[Hashable, Content | None]
"""What was folded for one SKU: channels that agree on what matters to a domain share it."""


class Misfit(ValueError):
    """A statement made for a channel does not suit it (any more: its configuration has changed since)."""

    def __init__(self, tail: str, reason: str) -> None:
        super().__init__(reason)
        self.tail = tail
        self.reason = reason


class ChannelFold:
    """Folds one domain of one channel.

    `alike` is equal for channels that give the same words the same content.
    """

    def __init__(self, domain: AnyDomain, channel: Channel, alike: int) -> None:
        self.channel = channel.name
        self._name = domain.name
        self._fits = domain.fits
        self._fold = domain.fold
        self._view = channel.view()
        self._alike = alike
        sources = channel.sources.get(domain.name, ())
        own = [tail_of(channel.name, domain.name, source) for source in sources]
        shared = [tail_of(EVERY_CHANNEL, domain.name, source) for source in sources]
        labels = [f'"{domain.name}/{source}":' for source in sources]
        self._listens = list(zip(sources, labels, own, shared, strict=True))
        self.tails = [*own, *shared]

    def fold(self, sku: str, words: Words, memory: Memory) -> Section | None:
        """The section for a SKU, or None when nobody whom the channel listens to has ever spoken. Raises `Misfit`."""
        key = (self._alike, *map(words.get, self.tails))
        if key in memory:
            content = memory[key]
        else:
            content = memory[key] = self._content(words)
        return None if content is None else Section(sku, self.channel, self._name, *content)

    def _content(self, words: Words) -> Content | None:
        occurred_at = recorded_at = ""
        versions: list[str] = []
        contributions: list[Contribution[msgspec.Struct]] = []
        for source, label, own_tail, shared_tail in self._listens:
            counting = silent = None
            for tail, own in ((own_tail, True), (shared_tail, False)):
                if (word := words.get(tail)) is None:
                    continue
                occurred_at = max(occurred_at, word.occurred_at)
                recorded_at = max(recorded_at, word.recorded_at)
                silent = silent or word
                if counting is None and self._counts(word, tail, own=own):
                    counting = word
            if counting is not None and counting.payload is not None:
                contributions.append(Contribution(source, counting.payload))
            elif silent is None:
                continue
            versions.append(f"{label}{(counting or silent).version}")  # type: ignore[union-attr]  # one of them spoke
        if not versions:
            return None
        body = self._fold(contributions, self._view) if contributions else None
        shown = ("{" + ",".join(sorted(versions)) + "}").encode()
        if body is None:
            return False, False, shown, None, occurred_at, recorded_at
        return True, body.ready, shown, body.json, occurred_at, recorded_at

    def _counts(self, word: Word, tail: str, *, own: bool) -> bool:
        """A word that was taken back does not count, nor one for every channel that does not suit this one."""
        if word.payload is None:
            return False
        if self._fits is None or (reason := self._fits(word.payload, self._view)) is None:
            return True
        if own:
            raise Misfit(tail, reason)
        return False


def tail_of(channel: str, domain: str, source: str) -> str:
    """The part of a stream's name that follows the SKU."""
    return "/" + "/".join(map(encode_part, (channel, domain, source)))


class DomainFold:
    """Folds one domain for all channels: which streams it wants to see for a change, and the sections they give."""

    def __init__(self, domain: AnyDomain, channels: Sequence[Channel]) -> None:
        kinds: dict[Hashable, int] = {}
        self._channels: dict[str, ChannelFold] = {}
        for channel in channels:
            view = channel.view()
            kind = (channel.sources.get(domain.name), view.currency, domain.depends_on(view))
            self._channels[channel.name] = ChannelFold(domain, channel, kinds.setdefault(kind, len(kinds)))
        self._everywhere = list(self._channels.values())
        self._tails = list(dict.fromkeys(chain.from_iterable(fold.tails for fold in self._everywhere)))

    def affected(self, streams: Iterable[str]) -> dict[str, list[ChannelFold]]:
        """By SKU (as encoded in the log), the channels whose sections the streams can change."""
        affected: dict[str, list[ChannelFold]] = {}
        for stream in streams:
            sku, _, rest = stream.partition("/")
            channel, separator, _ = rest.partition("/")
            if not separator:  # an application's own, under a topic that is also a domain's name
                continue
            if channel == EVERY_CHANNEL:
                affected[sku] = self._everywhere
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
            if len(folds) == len(self._everywhere):
                tails: Iterable[str] = self._tails
            elif len(folds) == 1:
                tails = folds[0].tails
            else:
                tails = dict.fromkeys(chain.from_iterable(fold.tails for fold in folds))
            wanted += [sku + tail for tail in tails]
        return wanted

    def fold(self, sku: str, words: Words, channels: Iterable[ChannelFold]) -> list[Section]:
        """The sections of one SKU (as encoded in the log), in the order of the channels given. Raises `Misfit`."""
        memory: Memory = {}
        name = decode_part(sku)
        sections = [fold.fold(name, words, memory) for fold in channels]
        return [section for section in sections if section is not None]
