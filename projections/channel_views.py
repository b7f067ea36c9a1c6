"""What a channel shows of a product, compiled from its filter, its contract and its requirement sets. Pure."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Literal, TypeAlias

import msgspec

from pagefold.domains.channel_view import ChannelView, Exists, ShownProduct, TextLocales
from pagefold.domains.fold_trace import FoldTrace
from pagefold.domains.locales import with_general_forms
from pagefold.projections.category_trees import CategoryTree, PlacedCategories
from pagefold.projections.channel_contracts import CompiledContract, MappedProduct, parse_contract
from pagefold.projections.channel_filters import Accepted, Filters
from pagefold.projections.known_skus import NamedSkus
from pagefold.projections.requirement_needs import UNKNOWN_CATEGORY
from pagefold.projections.requirements import Requirements, parse_requirements
from pagefold.projections.transforms import InvalidMapping, Registry
from pagefold.projections.transforms.transform import Level

IncompletePolicy: TypeAlias = Literal["show", "hide", "keep"]
"""What becomes of a page that lacks something that blocks."""

_POLICY_KEYS = {"show": False, "hide": True, "keep": "keep"}
"""The policies as they are in keys."""


class View:
    """The `ChannelView` of one channel."""

    def __init__(  # noqa: PLR0913  # the documents of a channel
        self,
        contract: Mapping[str, object] | None,
        requirements: Sequence[Mapping[str, object]],
        locales: Sequence[str],
        registry: Registry,
        *,
        incomplete: IncompletePolicy = "show",
        tree: Mapping[str, object] | None = None,
        filters: Mapping[str, Mapping[str, Mapping[str, Accepted]]] | None = None,
    ) -> None:
        """Compiles the documents of a channel. Raises `InvalidMapping`, and `InvalidTree`.

        `locales` are those that the channel tries for a text, its own first. `incomplete` says what becomes of a page
        that lacks something that blocks: it is shown and not ready, it is hidden, or it keeps an older version, if one
        is complete. `tree` is a `TreeDocument`. `filters` are the rules that every product of the channel meets, by
        name.
        """
        self._tree = None if tree is None else CategoryTree(tree)
        self._contract = None if contract is None else CompiledContract(parse_contract(contract), locales, registry)
        self._requirements = None
        if requirements:
            self._requirements = Requirements([parse_requirements(each) for each in requirements])
            if self._requirements.needs_tree and tree is None:
                raise InvalidMapping("requirements", "`in_tree` needs a `tree` of the channel")
        families = {} if self._requirements is None else self._requirements.families
        self._filters = Filters(filters, families) if filters else None
        self._own = frozenset(with_general_forms(locales[0]))
        self._hides = incomplete == "hide"
        said: list[object] = [contract, requirements, _POLICY_KEYS[incomplete]]
        said += [] if tree is None else [tree]
        said += [{"filters": filters}] if filters else []
        self.key = sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()
        self.asks = self._requirements is not None and self._requirements.names_skus
        self.older: ChannelView | None = _OlderView(self) if incomplete == "keep" else None

    def answered_by(self, exists: Exists) -> ChannelView:
        """The same view, with answers to whether SKUs exist."""
        return _AnsweredView(self, exists)

    def shown(
        self,
        product: ShownProduct,
        locales: TextLocales,
        trace: FoldTrace | None = None,
        exists: Exists | None = None,
    ) -> tuple[ShownProduct, bool] | None:
        """The product as the channel shows it, and whether its catalog is ready; None if it has no page.

        Raises `UnknownSkus`, but not without `exists`.
        """
        if self._filters is not None and not self._filters.shows(product):
            if trace is not None:
                trace.stop("filtered", ", ".join(self.hiding(product)))
            return None
        requirements = self._requirements
        foreign = self._foreign(locales) if requirements is not None and requirements.needs_language else set()
        named = NamedSkus(product, exists) if self.asks else None
        placed = None if self._tree is None else _placed(self._tree, product, trace)
        product, foreign, unmapped = self._mapped(product, foreign, placed, trace)
        blocked = bool(unmapped) and self._contract is not None and self._contract.level == "fail"
        if unmapped:
            product.unmapped = unmapped
        if placed is not None:
            product.breadcrumb = placed.breadcrumb
            if placed.unknown:
                foreign.add(UNKNOWN_CATEGORY)
        if requirements is not None:
            product.completeness, lacks = requirements.measure(product, foreign, trace, named)
            if named is not None:
                named.check()
            blocked = blocked or lacks
        if blocked and self._hides:
            if trace is not None:
                trace.stop("incomplete")
            return None
        return product, not blocked

    def renamed(self, product: ShownProduct) -> ShownProduct:
        """The product under the channel's names, whether it is shown or not."""
        placed = None if self._tree is None else self._tree.placed(product.categories)
        return self._mapped(product, set(), placed, None).product

    def _foreign(self, locales: TextLocales) -> set[str]:
        return {code for code, locale in locales().items() if locale not in self._own}

    def _mapped(
        self, product: ShownProduct, foreign: set[str], placed: PlacedCategories | None, trace: FoldTrace | None
    ) -> MappedProduct:
        """The product under the channel's names, with the paths of its categories, and what is not mapped, in order."""
        unmapped: list[str] = []
        level: Level = "warn"
        if self._contract is not None:
            product, foreign, unmapped = self._contract.applied(product, foreign, placed, trace)
            level = self._contract.level
        elif placed is not None:
            product.categories = placed.paths
        if placed is not None and placed.unknown and level != "skip":
            unmapped = [*unmapped, "categories"]
            if trace is not None:
                trace.lack(("categories",), "unmapped", f"the channel's tree lacks {', '.join(placed.unknown)}")
        return MappedProduct(product, foreign, sorted(set(unmapped)) if unmapped else unmapped)

    def hiding(self, product: ShownProduct) -> list[str]:
        """The names of the filter's rules that hide a product, in order; none of a product that the filter shows."""
        return [] if self._filters is None else self._filters.hiding(product)


def _placed(tree: CategoryTree, product: ShownProduct, trace: FoldTrace | None) -> PlacedCategories:
    if trace is not None:
        trace.derive(("categories",), "the paths to them in the channel's tree")
        trace.derive(("breadcrumb",), "the texts along the first path", of=("categories",))
    return tree.placed(product.categories)


class _OlderView:
    """The view of older versions of products: it shows those that are complete, and says that they are older."""

    def __init__(self, view: View) -> None:
        self.key = f"older {view.key}"
        self.asks = view.asks
        self.older: ChannelView | None = None
        self._view = view
        self.renamed = view.renamed

    def answered_by(self, exists: Exists) -> ChannelView:
        """The same view, with answers to whether SKUs exist."""
        return _AnsweredView(self, exists)

    def shown(
        self,
        product: ShownProduct,
        locales: TextLocales,
        trace: FoldTrace | None = None,
        exists: Exists | None = None,
    ) -> tuple[ShownProduct, bool] | None:
        """The product as the channel shows it, if it is complete. Raises as `View.shown`."""
        shown = self._view.shown(product, locales, trace, exists)
        if shown is None or not shown[1]:
            return None
        shown[0].kept = True
        if trace is not None:
            trace.take(("kept",), how="requirements", rule="the newest version that is complete")
        return shown


class _AnsweredView:
    """A view with answers to whether SKUs exist."""

    def __init__(self, view: View | _OlderView, exists: Exists) -> None:
        self.key = view.key
        self.asks = view.asks
        self.older = view.older
        self._view = view
        self.renamed = view.renamed
        self._exists = exists

    def answered_by(self, exists: Exists) -> ChannelView:
        """The same view, with other answers."""
        return _AnsweredView(self._view, exists)

    def shown(
        self, product: ShownProduct, locales: TextLocales, trace: FoldTrace | None = None
    ) -> tuple[ShownProduct, bool] | None:
        """What the view shows. Raises `UnknownSkus`."""
        return self._view.shown(product, locales, trace, self._exists)
