"""Which pages of a channel are counted: of a family, of a category, or with an attribute."""

from collections.abc import Callable, Mapping

import msgspec

from pagefold.domains.channel_view import ShownProduct
from pagefold.engine.configuration.config import Config
from pagefold.projections.category_trees import CategoryForest

MAX_NAMES = 8
"""Names of an attribute's path."""


class PageSelection(msgspec.Struct, frozen=True, omit_defaults=True):
    """Pages of a family or one below it, of a category or one below it, with an attribute; None selects all.

    An `attribute` is a name, or a name and a value, as `color=red`. What counts is what the channel shows.
    """

    family: str | None = None
    category: str | None = None
    attribute: str | None = None

    @property
    def problem(self) -> tuple[str, str] | None:
        """What cannot be selected by, and why; None if all can."""
        if self.category is not None and not any(each.strip() for each in self.category.split(">")):
            return "category", "has no name"
        name = "x" if self.attribute is None else self.attribute.partition("=")[0]
        names = name.split(".")
        if not all(names) or len(names) > MAX_NAMES or name.startswith("@"):
            return "attribute", f"{name!r:.60} is not an attribute; give a name, or a name and a value: color=red"
        return None

    def compiled(self, config: Config, channel: str) -> "SelectedPages | None":
        """The selection for a channel of this configuration; None if it selects all pages. It has no `problem`."""
        tree = config.channels[channel].tree
        only = self._values(tree if isinstance(tree, dict) else {})
        if not only:
            return None
        from pagefold.projections.channel_filters import Filters  # noqa: PLC0415  # its packages are an extra
        from pagefold.projections.requirement_sets import family_tree  # noqa: PLC0415  # likewise
        from pagefold.projections.requirements import parse_requirements  # noqa: PLC0415  # likewise

        sets = [parse_requirements(each) for each in config.channels[channel].requirements if isinstance(each, dict)]
        return SelectedPages(Filters({"selection": {"only": only}}, family_tree(sets)).shows)

    def _values(self, tree: Mapping[str, object]) -> dict[str, bool | list[str]]:
        only: dict[str, bool | list[str]] = {}
        if self.family is not None:
            only["@family"] = [self.family]
        if self.category is not None:
            above = msgspec.convert(tree.get("above", {}), dict[str, str | None])
            below = CategoryForest(above, {}).below(self.category)
            only["@categories"] = sorted(below) or [self.category]
        if self.attribute is not None:
            name, equals, value = self.attribute.partition("=")
            only[name] = [value] if equals else True
        return only


class SelectedPages:
    """Pages that a selection has. `has` says whether a product is among them."""

    def __init__(self, has: Callable[[ShownProduct], bool]) -> None:
        self._has = has

    def has(self, body: bytes) -> bool:
        """Whether the page with this catalog section is selected."""
        shown = _shown.decode(body)
        ends = [path[-1] for path in shown.categories if isinstance(path, list) and path]  # as a tree has them
        return self._has(ShownProduct(shown.attributes, [*shown.categories, *ends], shown.family, None))


class _Shown(msgspec.Struct):
    """What of a catalog section is selected by."""

    attributes: dict[str, object]
    categories: list[object]
    family: str | None


_shown = msgspec.json.Decoder(_Shown)
