"""Category trees: which category is below which, and the path to each category that a channel shows. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

MAX_TREE_DEPTH = 32
"""Categories of a path."""


class InvalidTree(Exception):
    """What is wrong with a category of a tree."""

    def __init__(self, category: str, problem: str) -> None:
        super().__init__(f"{category!r:.60} {problem}")
        self.category = category
        self.problem = problem


class CategoryForest:
    """Categories below one root, or below several. `above` has the category above each, None of a root."""

    def __init__(self, above: Mapping[str, str | None], texts: Mapping[str, Mapping[str, str]]) -> None:
        """`texts` are the texts of categories by locale.

        Raises `InvalidTree` for a category that is below itself, or below one that is not there.
        """
        self.above = above
        self._texts = texts
        self._paths = _paths(above)

    @property
    def roots(self) -> list[str]:
        """The categories that are below no other, in order."""
        return sorted(category for category, parent in self.above.items() if parent is None)

    def below(self, root: str) -> frozenset[str]:
        """A category, and those below it."""
        return frozenset(category for category, path in self._paths.items() if root in path)

    def document(self, roots: Iterable[str], locales: Sequence[str]) -> dict[str, object]:
        """The tree of a channel with these locales, whose paths begin at these categories: a `TreeDocument`.

        It has the text of each category in the first of the locales that has one. Equal trees give equal documents.
        """
        tops = frozenset(roots)
        shown = {category for category, path in self._paths.items() if not tops.isdisjoint(path)}
        above = {category: None if category in tops else self.above[category] for category in sorted(shown)}
        texts = {category: self._text(category, locales) for category in above}
        return msgspec.to_builtins(  # type: ignore[no-any-return]  # a struct becomes an object
            TreeDocument(above, {name: text for name, text in texts.items() if text}, sorted(self.above.keys() - shown))
        )

    def _text(self, category: str, locales: Sequence[str]) -> str:
        texts = self._texts.get(category, {})
        return next((texts[locale] for locale in locales if texts.get(locale, "").strip()), "")


class TreeDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tree of a channel.

    `above` has the category above each that the channel shows, `texts` their texts in its language, and `others` are
    the categories that it does not show.
    """

    above: dict[str, str | None]
    texts: dict[str, str] = {}
    others: list[str] = []


class PlacedCategories(NamedTuple):
    """The categories of a product in a tree.

    `paths` lead from a root to each category that the channel shows, `breadcrumb` has the texts of the first path that
    no other one continues. `unknown` are those that the tree lacks.
    """

    paths: list[object]
    breadcrumb: list[str]
    unknown: list[str]


class CategoryTree:
    """The tree of one channel."""

    def __init__(self, document: Mapping[str, object]) -> None:
        """Raises `InvalidTree`, also for a document that is none."""
        try:
            tree = msgspec.convert(document, TreeDocument)
        except msgspec.ValidationError as error:
            raise InvalidTree("tree", f"is no tree of categories: {error}") from None
        self._paths = {category: list(path) for category, path in _paths(tree.above).items()}
        self._texts = tree.texts
        self._others = frozenset(tree.others)

    def placed(self, categories: Sequence[object]) -> PlacedCategories:
        """Where the categories of a product are: each once, in order."""
        known = self._paths
        named = list(dict.fromkeys(map(str, categories)))
        paths = [known[category] for category in named if category in known]
        unknown = [category for category in named if category not in known and category not in self._others]
        return PlacedCategories([*paths], self._breadcrumb(paths), unknown)

    def _breadcrumb(self, paths: Sequence[list[str]]) -> list[str]:
        if not paths:
            return []
        within = {category for path in paths for category in path[:-1]}
        deepest = next((path for path in paths if path[-1] not in within), paths[0])
        return [self._texts.get(category, category) for category in deepest]


def _paths(above: Mapping[str, str | None]) -> dict[str, tuple[str, ...]]:
    """The path to each category, from its root. Raises `InvalidTree`."""
    found: dict[str, tuple[str, ...]] = {}
    for category in above:
        steps = _steps_up(category, above, found)
        top = above[steps[-1]] if steps else None
        path = () if top is None else found[top]
        for step in reversed(steps):
            path = found[step] = (*path, step)
            if len(path) > MAX_TREE_DEPTH:
                raise InvalidTree(step, f"is more than {MAX_TREE_DEPTH} categories deep")
    return found


def _steps_up(category: str, above: Mapping[str, str | None], found: Mapping[str, object]) -> list[str]:
    """A category and those above it, up to one whose path is found."""
    steps: dict[str, None] = {}
    current: str | None = category
    while current is not None and current not in found:
        if current not in above:
            raise InvalidTree(list(steps)[-1], f"is below {current!r:.60}, which the tree does not have")
        if current in steps:
            raise InvalidTree(current, "is below itself")
        steps[current] = None
        current = above[current]
    return list(steps)
