"""What a channel shows of a product, compiled from its documents: its contract and its requirement sets. Pure."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec

from pagefold.domains.channel_view import ShownProduct, TextLocales
from pagefold.domains.locales import with_general_forms
from pagefold.projections.channel_contracts import CompiledContract, parse_contract
from pagefold.projections.requirements import Requirements, parse_requirements
from pagefold.projections.transforms import Registry


class View:
    """The `ChannelView` of one channel."""

    def __init__(
        self,
        contract: Mapping[str, object] | None,
        requirements: Sequence[Mapping[str, object]],
        locales: Sequence[str],
        registry: Registry,
        *,
        hides: bool,
    ) -> None:
        """Compiles the documents of a channel. Raises `InvalidMapping`.

        `locales` are those that the channel tries for a text, its own first. With `hides`, a product that lacks
        something that blocks has no page.
        """
        self._contract = None if contract is None else CompiledContract(parse_contract(contract), locales, registry)
        self._requirements = None
        if requirements:
            self._requirements = Requirements([parse_requirements(each) for each in requirements])
        self._own = frozenset(with_general_forms(locales[0]))
        self._hides = hides
        written = msgspec.json.encode([contract, requirements, hides], order="deterministic")
        self.key = sha256(written).hexdigest()

    def shown(self, product: ShownProduct, locales: TextLocales) -> tuple[ShownProduct, bool] | None:
        """The product as the channel shows it, and whether its catalog is ready; None if it has no page."""
        requirements = self._requirements
        foreign: set[str] = set()
        if requirements is not None and requirements.needs_language:
            foreign = {code for code, locale in locales().items() if locale not in self._own}
        blocked = False
        if self._contract is not None:
            product, foreign, unmapped = self._contract.applied(product, foreign)
            if unmapped:
                product.unmapped = sorted(unmapped)
                blocked = self._contract.level == "fail"
        if requirements is not None:
            product.completeness, lacks = requirements.measure(product, foreign)
            blocked = blocked or lacks
        if blocked and self._hides:
            return None
        return product, not blocked
