"""The channels that ask whether SKUs exist, and the links by which products that name a SKU are found. Pure.

A SKU exists in a channel if what counts of it there is not withdrawn: of any source that the channel listens to, what
it states for the channel, else what it states for every channel. Whether it is enabled, hidden by a filter or complete
does not matter. It is found by its name as it is written. By a name in another case, it exists in channels in which a
source states it that ignores case.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

from pagefold.domains import AnyDomain
from pagefold.projections.channels import Channel
from pagefold.projections.inheritance import Named, fold_case
from pagefold.projections.known_skus import SkuAnswers
from pagefold.projections.section_fold import stream_suffix
from pagefold.projections.streams import EVERY_CHANNEL, decode_part, is_storable_sku, normalise_sku

FOUND, LACKING, PARTLY = "@names/found", "@names/lacking", "@names/partly"
"""The kinds of links of a product to the SKUs that it names, by the answers that its fold got.

They exist in all channels of the product that ask, in none, or in some. No kind of reference begins with `@`.
"""

MAX_COMBINATIONS = 1_000
"""How many combinations of streams are cached."""


_Suffixes: TypeAlias = dict[str, set[str]]
"""The suffixes of the streams by which a SKU exists in a channel, by channel."""


class AskingChannels:
    """The channels of one domain whose views ask."""

    def __init__(self, domain: AnyDomain, channels: Sequence[Channel]) -> None:
        asking = [each for each in channels if domain.has_view and each.view is not None and each.view.asks]
        self.names = frozenset(each.name for each in asking)
        self._suffixes: dict[str, _Suffixes] = {}
        """By source, "" for all."""
        for each in asking:
            for source in each.sources.get(domain.name, ()):
                suffixes = {stream_suffix(scope, domain.name, source) for scope in (each.name, EVERY_CHANNEL)}
                is_ignoring = (inherit := each.inherit.get(source)) is not None and inherit.ignore_case
                for key in ("", source) if is_ignoring else ("",):
                    self._suffixes.setdefault(key, {}).setdefault(each.name, set()).update(suffixes)
        self.ignoring_case = sorted(self._suffixes.keys() - {""})
        self._having = lru_cache(maxsize=MAX_COMBINATIONS)(self._channels_with)

    def having(self, live: frozenset[str], source: str = "") -> frozenset[str]:
        """The channels in which a SKU exists, by the suffixes of its streams that are not withdrawn.

        With a source that ignores case, those in which it states the SKU.
        """
        return self._having(live, source)

    def _channels_with(self, live: frozenset[str], source: str) -> frozenset[str]:
        suffixes_of = self._suffixes.get(source, {})
        return frozenset(name for name, suffixes in suffixes_of.items() if not suffixes.isdisjoint(live))

    def code(self, name: str) -> str | None:
        """The name of a SKU, as links have it. None if no SKU can have it."""
        code = normalise_sku(name)
        if not is_storable_sku(code):
            return None
        return fold_case(code) if self.ignoring_case else code

    def spelled(self, name: str) -> list[Named]:
        """The codes by which sources that ignore case may have a SKU of this name."""
        code = self.code(name)
        return [] if code is None else [Named(source, code) for source in self.ignoring_case]

    def links(self, answers: SkuAnswers) -> Mapping[str, Sequence[str]]:
        """What is kept of a product to find it when a SKU that it names comes or goes: codes, by kind."""
        found: dict[str, set[str]] = {}
        for name, given in answers.given.items():
            if (code := self.code(name)) is not None:
                exists = set(given.values())
                kind = PARTLY if len(exists) > 1 else FOUND if True in exists else LACKING
                found.setdefault(kind, set()).add(code)
        return {kind: sorted(codes) for kind, codes in found.items()}

    def outdated_links(self, sku: str, live: frozenset[str]) -> list[tuple[str, str]]:
        """The links (kind and code) of products whose answers about a SKU may be outdated.

        The SKU is encoded as in the log; `live` are the suffixes of its streams that are not withdrawn.
        """
        code = self.code(decode_part(sku))
        if code is None:
            return []
        having = self.having(live)
        kinds = [PARTLY, *([LACKING] if having else []), *([FOUND] if having != self.names else [])]
        return [(kind, code) for kind in kinds]
