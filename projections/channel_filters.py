"""Channel filters: which products a channel shows, by family, categories and attributes. Pure.

A filter is a set of named rules; a product is shown if it meets all of them. Rules read the product as a channel
without a contract shows it, and nothing of other domains.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from msgspec import UNSET

from pagefold.domains.channel_view import ShownProduct
from pagefold.projections.requirement_needs import is_filled
from pagefold.projections.requirement_sets import upwards
from pagefold.projections.transforms.accepted_values import AcceptedValues
from pagefold.projections.transforms.errors import InvalidMapping
from pagefold.projections.transforms.paths import NestedScope

FILTER_FACTS = ("@categories", "@family", "@parent")
"""Paths of what a rule may read beside attributes: the other fields of the product."""

SEPARATOR = ">"
"""What stands between the names of a category that is written as a path, such as `Clothing > Shirts`."""

CategoryPath: TypeAlias = tuple[str, ...]
Accepted: TypeAlias = bool | Sequence[object]
_Condition: TypeAlias = Callable[[ShownProduct], bool]


class Filters:
    """The filter of one channel, compiled."""

    def __init__(
        self, rules: Mapping[str, Mapping[str, Mapping[str, Accepted]]], families: Mapping[str, str] | None = None
    ) -> None:
        """Compiles rules by name. Each has `only`, `without` or both: by path, the values to have, or not to have.

        `families` is the family above each family. Raises `InvalidMapping` with the place.
        """
        self._rules = [(name, _compiled(f"filters.{name}", rule, families or {})) for name, rule in rules.items()]
        self._conditions = [condition for _, rule in self._rules for condition in rule]

    def shows(self, product: ShownProduct) -> bool:
        """Whether a product meets every rule. Raises nothing."""
        return all(condition(product) for condition in self._conditions)

    def hiding(self, product: ShownProduct) -> list[str]:
        """The names of the rules that a product does not meet, in order."""
        return sorted(name for name, rule in self._rules if not all(condition(product) for condition in rule))


def category_path(category: object) -> CategoryPath:
    """The names of a category, the topmost first: of a text such as `Clothing > Shirts`, or of a list of names."""
    names = category.split(SEPARATOR) if isinstance(category, str) else category
    if not isinstance(names, Sequence):
        return ()
    return tuple(stripped for name in names if isinstance(name, str) and (stripped := name.strip()))


def _compiled(
    key: str, rule: Mapping[str, Mapping[str, Accepted]], families: Mapping[str, str]
) -> tuple[_Condition, ...]:
    conditions: list[_Condition] = []
    for name, wanted in (("only", True), ("without", False)):
        for path, values in rule.get(name, {}).items():
            has = _has(f"{key}.{name}.{path}", path, values, families)
            conditions.append(has if wanted else _unless(has))
    if not conditions:
        raise InvalidMapping(key, "has no condition: give `only` or `without`")
    return tuple(conditions)


def _unless(has: _Condition) -> _Condition:
    return lambda product: not has(product)


def _has(key: str, path: str, values: Accepted, families: Mapping[str, str]) -> _Condition:
    """Whether a product has one of these values at a path; of `true` and `false`, whether it has any."""
    if path.startswith("@") and path not in FILTER_FACTS:
        raise InvalidMapping(key, f"there is no {path!r:.40}; there are {', '.join(FILTER_FACTS)}")
    if isinstance(values, bool):
        return _is_present(key, path, wanted=values)
    if not values:
        raise InvalidMapping(key, "has no value")
    if path == "@categories":
        return _is_within(key, values)
    if any(isinstance(value, list) for value in values):
        raise InvalidMapping(key, "has a list as value; only a category may be one")
    if path == "@family":
        return _is_of_family(frozenset(values), families)
    accepted = AcceptedValues(values)
    if path == "@parent":
        return lambda product: accepted.has(product.parent)
    read = NestedScope().reader(path, key)
    return lambda product: _is_among(read(product.attributes), accepted)


def _is_present(key: str, path: str, *, wanted: bool) -> _Condition:
    if path.startswith("@"):
        return lambda product: is_filled(getattr(product, path[1:])) is wanted
    read = NestedScope().reader(path, key)

    def is_there(product: ShownProduct) -> bool:
        value = read(product.attributes)
        return (value is not UNSET and is_filled(value)) is wanted

    return is_there


def _is_among(value: object, accepted: AcceptedValues) -> bool:
    """Whether a value is accepted; of a list, whether one of its items is."""
    return any(map(accepted.has, value)) if type(value) is list else accepted.has(value)


def _is_of_family(names: frozenset[object], families: Mapping[str, str]) -> _Condition:
    return lambda product: not names.isdisjoint(upwards(product.family, families))


def _is_within(key: str, values: Iterable[object]) -> _Condition:
    """Whether a product is in one of some categories, or below one."""
    wanted = {category_path(value) for value in values}
    if () in wanted:
        raise InvalidMapping(key, "has a category without a name")
    return lambda product: any(not wanted.isdisjoint(_prefixes(path)) for path in _paths(product.categories))


def _prefixes(path: CategoryPath) -> list[CategoryPath]:
    return [path[:length] for length in range(1, len(path) + 1)]


def _paths(categories: Sequence[object]) -> list[CategoryPath]:
    """The paths of a product's categories. Several that are plain names may be one path together, written as a list."""
    paths = [path for path in map(category_path, categories) if path]
    if len(paths) > 1 and all(len(path) == 1 for path in paths):
        paths.append(tuple(path[0] for path in paths))
    return paths
