"""What a channel shows of a product, compiled from its documents: its contract and its requirement sets. Pure."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec

from pagefold.domains.channel_view import LocaleOf, ShownProduct
from pagefold.projections.requirements import Requirements, parse_requirements


class View:
    """The `ChannelView` of one channel."""

    def __init__(self, requirements: Sequence[Mapping[str, object]], locale: str, *, hides: bool) -> None:
        """Compiles the documents of a channel with this locale. Raises `InvalidMapping`.

        With `hides`, a product that lacks something that blocks has no page.
        """
        self._requirements = Requirements([parse_requirements(each) for each in requirements], locale)
        self._hides = hides
        self.key = sha256(msgspec.json.encode([requirements, hides], order="deterministic")).hexdigest()

    def shown(self, product: ShownProduct, locale_of: LocaleOf) -> tuple[ShownProduct, bool] | None:
        """The product as the channel shows it, and whether its catalog is ready; None if it has no page."""
        measured = self._requirements.measure(product, locale_of)
        if measured.blocked and self._hides:
            return None
        product.completeness = measured.completeness
        return product, not measured.blocked
