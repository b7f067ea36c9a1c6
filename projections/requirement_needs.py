"""One requirement, compiled: what it says of a product, and what is wrong with it in words. Pure."""

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from operator import attrgetter
from typing import NamedTuple

from msgspec import UNSET

from pagefold.domains.channel_view import ShownProduct
from pagefold.domains.fold_trace import Path
from pagefold.projections.known_skus import NamedSkus, lacking_text
from pagefold.projections.requirement_sets import Requirement, RequirementSet
from pagefold.projections.transforms.accepted_values import AcceptedValues
from pagefold.projections.transforms.errors import InvalidMapping, InvalidValue
from pagefold.projections.transforms.paths import NestedScope, path_names
from pagefold.projections.transforms.rules import Rule, compile_rules

UNKNOWN_CATEGORY = "@categories"
"""Stands among foreign texts for a category that the channel's tree does not have."""


class State(Enum):
    """What a requirement says of a product."""

    MET = "met"
    MISSING = "missing"
    INVALID = "invalid"
    NOT_ASKED = "not asked"


MET, MISSING, INVALID, NOT_ASKED = State  # a member of the class takes twice as long to find


class Place(NamedTuple):
    """An attribute of a product, or one of its other fields."""

    name: str
    is_field: bool = False

    def value(self, product: ShownProduct) -> object:
        """What the product has there; None if nothing."""
        if self.is_field and self.name == "sku":
            return True
        return getattr(product, self.name) if self.is_field else product.attributes.get(self.name)


class Need(NamedTuple):
    """One requirement of one attribute, or of several of which one is enough.

    `skus` reads the SKUs of which each must exist. None if it is of none.
    """

    label: str
    alternatives: tuple[tuple[Place, ...], ...]
    is_required: bool
    blocks: bool
    families: frozenset[str]
    only: tuple[tuple[str, AcceptedValues], ...]
    own_language: bool
    in_tree: bool
    skus: Callable[[NamedSkus], object] | None
    rule: Rule | None
    document: str

    @property
    def is_plain(self) -> bool:
        """Whether it asks for one attribute of every product of its families, and for nothing else but its language."""
        return self._is_of_one_attribute and self.is_required and self.blocks and self.rule is None

    @property
    def is_simple(self) -> bool:
        """Whether it asks for one attribute of every product of its families, in any language."""
        return self._is_of_one_attribute and not self.own_language

    @property
    def _is_of_one_attribute(self) -> bool:
        places = self.alternatives[0]
        is_one = len(self.alternatives) == len(places) == 1 and not places[0].is_field
        return is_one and not self.only and self.skus is None

    def state(self, product: ShownProduct, foreign: set[str], named: NamedSkus | None = None) -> State:
        """What it says of a product."""
        for name, values in self.only:
            if not values.has(product.attributes.get(name)):
                return NOT_ASKED
        if self.skus is not None and named is not None:
            states = [self._state_of_skus(self.skus(named), named)]
        else:
            states = [self._state_of(places, product, foreign) for places in self.alternatives]
        state = states[0] if len(states) == 1 else next((each for each in (MET, INVALID) if each in states), MISSING)
        return state if state is not MISSING or self.is_required else NOT_ASKED

    @property
    def path(self) -> Path:
        """Where the page has it, if it does."""
        place = self.alternatives[0][0]
        if place.is_field:
            return (place.name,)
        return ("attributes", self.label) if self.skus is None else ("attributes", *path_names(self.label, ""))

    def problem(self, product: ShownProduct, foreign: set[str], named: NamedSkus | None = None) -> str:
        """What is wrong, in words, where something is: who asks for it, whether that blocks, which rule is broken."""
        asks = f"{self.document}{'' if self.blocks else ', a warning'}"
        if self.skus is not None and named is not None:
            value = self.skus(named)
            lacking = named.lacking(value)
            return f"{asks}: {lacking_text(lacking)}" if lacking else asks + self._broken(value)
        for place in (place for places in self.alternatives for place in places):
            value = place.value(product)
            if UNKNOWN_CATEGORY in foreign and self.in_tree:
                return f"{asks}: the channel's tree lacks one"
            if self.own_language and place.name in foreign and not place.is_field:
                return f"{asks}: not in the channel's own language"
            if broken := self._broken(value):
                return asks + broken
        return asks

    def _broken(self, value: object) -> str:
        """Which rule a value breaks, in words. "" if none."""
        if self.rule is not None and is_filled(value):
            try:
                self.rule(value)
            except InvalidValue as error:
                return f": {error}"
        return ""

    def _state_of_skus(self, value: object, named: NamedSkus) -> State:
        """The state of a value that names SKUs."""
        if not is_filled(value):
            return MISSING
        is_valid = self.rule is None or _passes(self.rule, value)
        return INVALID if named.lacking(value) or not is_valid else MET

    def _state_of(self, places: Sequence[Place], product: ShownProduct, foreign: set[str]) -> State:
        """The state of attributes that are needed together."""
        state = MET
        for place in places:
            if self.in_tree and UNKNOWN_CATEGORY in foreign:
                state = INVALID
                continue
            value = place.value(product)
            if not is_filled(value) or (self.own_language and not place.is_field and place.name in foreign):
                return MISSING
            if self.rule is not None and not _passes(self.rule, value):
                state = INVALID
        return state


def needs_of(document: RequirementSet) -> Iterator[Need]:
    """Each requirement of a set. Raises `InvalidMapping`, with the place, for one that cannot be."""
    for name, is_required in (("requires", True), ("checks", False)):
        for index, each in enumerate(getattr(document, name)):
            yield from _needs(each, f"{name}[{index}]", document.identity, is_required=is_required)


def _needs(written: Requirement, key: str, document: str, *, is_required: bool) -> Iterator[Need]:
    if not (written.attributes or written.fields or written.any_of):
        raise InvalidMapping(key, "names nothing: give `attributes`, `fields` or `any_of`")
    if written.in_tree and "categories" not in written.fields:
        raise InvalidMapping(f"{key}.in_tree", 'is of categories: give `fields = ["categories"]`')
    if written.in_catalog and (written.any_of or not {"parent"}.issuperset(written.fields)):
        problem = 'is of SKUs: give `attributes`, or `fields = ["parent"]`, and nothing else'
        raise InvalidMapping(f"{key}.in_catalog", problem)
    if not (is_required or written.check or written.in_tree or written.in_catalog):
        raise InvalidMapping(f"{key}.check", "is required: which rules a value must keep")
    rule = compile_rules(written.check, f"{key}.check") if written.check else None
    only = tuple((name, AcceptedValues(values)) for name, values in written.only.items())
    for label, alternatives in _alternatives(written, key):
        yield Need(
            label,
            alternatives,
            is_required,
            written.severity == "blocks",
            frozenset(written.family),
            only,
            written.locale == "channel",
            written.in_tree and label == "categories",
            _sku_reader(label, alternatives[0][0], key) if written.in_catalog else None,
            rule,
            document,
        )


def _sku_reader(path: str, place: Place, key: str) -> Callable[[NamedSkus], object]:
    """Reads the SKUs at a path of a product's attributes, or its parent."""
    if place.is_field:
        return attrgetter("parent")
    read = NestedScope().reader(path, f"{key}.attributes")
    return lambda named: None if (value := read(named.attributes)) is UNSET else value


def _alternatives(written: Requirement, key: str) -> Iterator[tuple[str, tuple[tuple[Place, ...], ...]]]:
    """Each thing that is required, with its label."""
    for name in written.attributes:
        yield name, ((Place(name),),)
    for field in written.fields:
        yield field, ((Place(field, is_field=True),),)
    if written.any_of:
        groups = [[each] if isinstance(each, str) else each for each in written.any_of]
        if not all(groups):
            raise InvalidMapping(f"{key}.any_of", "has an empty list")
        label = " or ".join(" and ".join(group) for group in groups)
        yield label, tuple(tuple(map(Place, group)) for group in groups)


def labels(written: Requirement, key: str) -> list[str]:
    """The names of what it asks for. Raises `InvalidMapping` with the key."""
    return [label for label, _ in _alternatives(written, key)]


def _passes(rule: Rule, value: object) -> bool:
    try:
        rule(value)
    except InvalidValue:
        return False
    return True


def is_filled(value: object) -> bool:
    """Whether a value counts: `0` and `false` do; null, blank text, and what has nothing that counts in it do not."""
    kind = type(value)
    if kind is str:
        return bool(value) and not value.isspace()  # type: ignore[attr-defined]  # it is text
    if kind is list:
        return any(map(is_filled, value))  # type: ignore[call-overload]  # it is a list
    if kind is dict:
        return any(map(is_filled, value.values()))  # type: ignore[attr-defined]  # it is an object
    return value is not None
