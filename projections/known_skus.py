"""The SKUs that products name, and which of them exist: what a view has asked, and the answers. Pure.

A fold does not read. A view that asks for a SKU that is not known yet raises `UnknownSkus`: who folds finds out, and
folds again.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import msgspec

from pagefold.domains import ChannelContext, Contribution
from pagefold.domains.channel_view import Exists, ShownProduct, UnknownSkus
from pagefold.domains.domain import SectionBody
from pagefold.domains.fold_trace import FoldTrace

MAX_SHOWN = 5
"""SKUs that do not exist, of one value, that are shown to people."""

_Contributions: TypeAlias = Sequence[Contribution[Any]]
_Fold: TypeAlias = Callable[[_Contributions, ChannelContext, FoldTrace | None], SectionBody | None]


class Asking(NamedTuple):
    """A channel whose view asks. Channels with equal keys show the same if they get the same answers."""

    channel: str
    key: Hashable


class KnownSkus:
    """The channels in which SKUs exist, by the name that a product gives them, and the newest position of their events.

    Whoever reads them adds them.
    """

    def __init__(self) -> None:
        self.channels: dict[str, frozenset[str]] = {}
        self.positions: dict[str, int] = {}


class SkuAnswers:
    """The answers about the SKUs that a product names, for its fold: by name and channel, whether they exist.

    `stream` is the stream by which links of the product are kept, and `live` are the suffixes of its own streams that
    are not withdrawn; who folds it says so.
    """

    def __init__(self, known: KnownSkus) -> None:
        self.known = known
        self.given: dict[str, dict[str, bool]] = {}
        self.stream = ""
        self.live: frozenset[str] = frozenset()
        self._unknown: set[str] = set()
        self._made: dict[Hashable, tuple[_Contributions, Mapping[str, bool], SectionBody | None]] = {}

    @property
    def newest(self) -> int:
        """The newest position of any event of the SKUs that were asked for."""
        return max((self.known.positions.get(name, 0) for name in self.given), default=0)

    def fold(
        self,
        fold: _Fold,
        contributions: _Contributions,
        context: ChannelContext,
        asking: Asking,
        trace: FoldTrace | None,
    ) -> SectionBody | None:
        """The section in a channel whose view asks. Folded once for channels that get the same answers.

        None if anything is unknown: see `check`. While nothing is known yet, it raises `UnknownSkus` itself.
        """
        channel, key = asking
        made = self._made.get(key) if trace is None else None
        if made is not None and made[0] is contributions and self._tells(channel, made[1]):
            return made[2]
        asked: dict[str, bool] = {}
        try:
            body = fold(contributions, self.answered(context, channel, asked), trace)
        except UnknownSkus as unknown:
            if not self.known.channels:  # mostly, all channels ask for the same
                raise
            self._unknown |= unknown.names
            return None
        self._made[key] = contributions, asked, body
        return body

    def _tells(self, channel: str, asked: Mapping[str, bool]) -> bool:
        """Whether a channel gets the answers that another one got."""
        return all(self._answer(channel, name) is found for name, found in asked.items())

    def check(self) -> None:
        """Raises `UnknownSkus` if any fold asked for SKUs that are not known."""
        unknown, self._unknown = self._unknown, set()
        if unknown:
            raise UnknownSkus(unknown)

    def answered(self, context: ChannelContext, channel: str, asked: dict[str, bool] | None = None) -> ChannelContext:
        """A context whose view has the answers of a channel. What it asks for is also put into `asked`."""

        def exists(name: str) -> bool | None:
            found = self._answer(channel, name)
            if asked is not None and found is not None:
                asked[name] = found
            return found

        return context if context.view is None else replace(context, view=context.view.answered_by(exists))

    def _answer(self, channel: str, name: str) -> bool | None:
        channels = self.known.channels.get(name)
        if channels is None:
            return None
        found = channel in channels
        self.given.setdefault(name, {})[channel] = found
        return found


class NamedSkus:
    """The SKUs that a product names, as a channel without a contract shows it. Without `exists`, every SKU does."""

    def __init__(self, product: ShownProduct, exists: Exists | None) -> None:
        self.attributes = product.attributes
        self.parent = product.parent
        self._exists = exists
        self._unknown: set[str] = set()

    def lacking(self, value: object) -> list[str]:
        """The SKUs of a value that do not exist, and what is no SKU, as text. A list has several."""
        found: list[str] = []
        for each in value if type(value) is list else [value]:
            if type(each) is list:
                found += self.lacking(each)
            elif type(each) is str or type(each) is int:
                name = str(each)
                if name.strip() and not self._has(name):
                    found.append(name)
            elif each is not None:
                found.append(msgspec.json.encode(each).decode())
        return found

    def _has(self, name: str) -> bool:
        found = True if self._exists is None else self._exists(name)
        if found is None:
            self._unknown.add(name)
        return found is not False

    def check(self) -> None:
        """Raises `UnknownSkus` if any is not known."""
        if self._unknown:
            raise UnknownSkus(self._unknown)


def lacking_text(skus: Sequence[str]) -> str:
    """Which SKUs do not exist, in words."""
    more = f" and {len(skus) - MAX_SHOWN} more" if len(skus) > MAX_SHOWN else ""
    return f"the catalog does not have {', '.join(skus[:MAX_SHOWN])}{more}"
