"""What a channel shows of a product, under its own names, and what it asks for. Its rules are compiled elsewhere."""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from pagefold.domains.fold_trace import FoldTrace

TextLocales: TypeAlias = Callable[[], Mapping[str, str]]
"""The locale of the text that each attribute shows, without attributes that are no texts by locale. Asked if needed."""

Exists: TypeAlias = Callable[[str], bool | None]
"""Whether a SKU exists in a channel, by the name that a product gives it. None if that is not known yet."""


class UnknownSkus(Exception):  # no error: who folds finds out, and folds again
    """Raised by a view that asks for SKUs that are not known yet."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__(", ".join(sorted(names)))
        self.names = frozenset(names)


class Completeness(msgspec.Struct, gc=False, omit_defaults=True):
    """What a product has of what its channel requires."""

    percent: int
    """The share of the required attributes that are filled and valid, rounded down."""

    missing: list[str]
    """The attributes that are not filled, in order."""

    invalid: list[str] = []
    """Those that break a rule, in order."""

    warns: list[str] = []
    """Those of both that do not block."""


class ShownProduct(msgspec.Struct, gc=False):
    """The catalog section of a page. `contract` and `completeness` are absent in channels that have none."""

    attributes: dict[str, object]
    """Attributes and texts together. A text that none of the channel's locales has is absent."""

    categories: list[object]
    """The categories of the first source that has any; in a channel with a tree, the path to each that it shows."""

    family: str | None
    """The family of the first source that has one."""

    parent: str | None
    """The parent of the first source that has one."""

    contract: str | UnsetType = UNSET
    """The name and version of the channel's contract, such as `web@2`. Absent without one."""

    unmapped: list[str] | UnsetType = UNSET
    """The attributes with a value that the contract cannot map, in order. Absent if there are none."""

    breadcrumb: list[str] | UnsetType = UNSET
    """The texts of the first path of its categories that no other one continues. Absent in channels without a tree."""

    kept: bool | UnsetType = UNSET
    """True if the channel shows an older version, since the newest one is not complete. Absent else."""

    completeness: Completeness | UnsetType = UNSET
    """What the product has of what the channel requires. Absent without requirements."""


class ChannelView(Protocol):
    """What one channel makes of a product. Pure: views with equal keys make the same of equal products and locales."""

    key: str
    """A digest of everything that the channel says."""

    older: "ChannelView | None"
    """What the channel makes of an older version, which it shows in place of an incomplete page; None if it never does.

    It is never incomplete: it shows no page of a version that is.
    """

    asks: bool
    """Whether it asks if SKUs exist. Unless it is `answered_by` somebody, all do."""

    def answered_by(self, exists: Exists) -> "ChannelView":
        """The same view, with answers to whether SKUs exist. Its `shown` may raise `UnknownSkus`."""

    def renamed(self, product: ShownProduct) -> ShownProduct:
        """The product under the channel's names, whether it is shown or not. Raises nothing."""

    def shown(
        self, product: ShownProduct, locales: TextLocales, trace: FoldTrace | None = None
    ) -> tuple[ShownProduct, bool] | None:
        """What the channel shows, and whether nothing is lacking that blocks. None to show no page. Raises nothing."""
