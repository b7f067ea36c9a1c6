"""What a channel shows of a product, compiled from its documents: its contract and its requirement sets. Pure."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec

from pagefold.domains.channel_view import ShownProduct, TextLocales
from pagefold.domains.locales import with_general_forms
from pagefold.projections.category_trees import CategoryTree, PlacedCategories
from pagefold.projections.channel_contracts import CompiledContract, MappedProduct, parse_contract
from pagefold.projections.requirements import UNKNOWN_CATEGORY, Requirements, parse_requirements
from pagefold.projections.transforms import InvalidMapping, Registry
from pagefold.projections.transforms.transform import Level


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
        tree: Mapping[str, object] | None = None,
    ) -> None:
        """Compiles the documents of a channel. Raises `InvalidMapping`, and `InvalidTree`.

        `locales` are those that the channel tries for a text, its own first. With `hides`, a product that lacks
        something that blocks has no page. `tree` is a `TreeDocument`.
        """
        self._tree = None if tree is None else CategoryTree(tree)
        self._contract = None if contract is None else CompiledContract(parse_contract(contract), locales, registry)
        self._requirements = None
        if requirements:
            self._requirements = Requirements([parse_requirements(each) for each in requirements])
            if self._requirements.needs_tree and tree is None:
                raise InvalidMapping("requirements", "`in_tree` needs a `tree` of the channel")
        self._own = frozenset(with_general_forms(locales[0]))
        self._hides = hides
        documents = [contract, requirements, hides, *([] if tree is None else [tree])]
        self.key = sha256(msgspec.json.encode(documents, order="deterministic")).hexdigest()

    def shown(self, product: ShownProduct, locales: TextLocales) -> tuple[ShownProduct, bool] | None:
        """The product as the channel shows it, and whether its catalog is ready; None if it has no page."""
        requirements = self._requirements
        foreign: set[str] = set()
        if requirements is not None and requirements.needs_language:
            foreign = {code for code, locale in locales().items() if locale not in self._own}
        placed = None if self._tree is None else self._tree.placed(product.categories)
        product, foreign, unmapped = self._mapped(product, foreign, placed)
        blocked = bool(unmapped) and self._contract is not None and self._contract.level == "fail"
        if unmapped:
            product.unmapped = unmapped
        if placed is not None:
            product.breadcrumb = placed.breadcrumb
            if placed.has_unknown:
                foreign.add(UNKNOWN_CATEGORY)
        if requirements is not None:
            product.completeness, lacks = requirements.measure(product, foreign)
            blocked = blocked or lacks
        if blocked and self._hides:
            return None
        return product, not blocked

    def _mapped(self, product: ShownProduct, foreign: set[str], placed: PlacedCategories | None) -> MappedProduct:
        """The product under the channel's names, with the paths of its categories, and what is not mapped, in order."""
        unmapped: list[str] = []
        level: Level = "warn"
        if self._contract is not None:
            product, foreign, unmapped = self._contract.applied(product, foreign, placed)
            level = self._contract.level
        elif placed is not None:
            product.categories = placed.paths
        if placed is not None and placed.has_unknown and level != "skip":
            unmapped = [*unmapped, "categories"]
        return MappedProduct(product, foreign, sorted(set(unmapped)) if unmapped else unmapped)
