"""Requirement sets: what products must have to be complete, by family, with rules for values. Pure.

A set is a versioned document. Several sets count together, and so do their family trees.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from enum import Enum
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET

from pagefold.domains.channel_view import Completeness, ShownProduct
from pagefold.domains.fold_trace import FoldReason, FoldTrace, Path
from pagefold.projections.known_skus import NamedSkus, lacking_text
from pagefold.projections.transforms.accepted_values import AcceptedValues
from pagefold.projections.transforms.errors import InvalidMapping, InvalidValue
from pagefold.projections.transforms.paths import NestedScope, path_names
from pagefold.projections.transforms.rules import Rule, compile_rules

MAX_FAMILIES_COMPILED = 10_000
MAX_FAMILY_DEPTH = 32

UNKNOWN_CATEGORY = "@categories"
"""Stands among foreign texts for a category that the channel's tree does not have."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Field: TypeAlias = Literal["categories", "family", "parent", "sku"]


class Requirement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Attributes that products must have, or rules for their values."""

    attributes: Annotated[list[Name], msgspec.Meta(description="the attributes, each of which is required")] = []
    fields: Annotated[
        list[Field],
        msgspec.Meta(description="the same of `categories`, `family`, `parent` and `sku`, which every product has"),
    ] = []
    any_of: Annotated[
        list[Name | list[Name]],
        msgspec.Meta(description="attributes, or lists of attributes, of which one is enough"),
    ] = []
    family: Annotated[
        list[Name], msgspec.Meta(description="only products of these families, and of families below them")
    ] = []
    only: Annotated[
        dict[Name, list[str | int | float | bool]],
        msgspec.Meta(description="only products whose attributes have one of these values"),
    ] = {}
    locale: Annotated[
        Literal["any", "channel"],
        msgspec.Meta(description="`channel`: a text in one of the channel's fallbacks counts as missing"),
    ] = "any"
    severity: Annotated[
        Literal["blocks", "warns"],
        msgspec.Meta(description="`blocks`: without it, the catalog of the page is not ready"),
    ] = "blocks"
    in_tree: Annotated[
        bool, msgspec.Meta(description="of `fields` with `categories`: the channel's tree must have each of them")
    ] = False
    in_catalog: Annotated[
        bool,
        msgspec.Meta(
            description="of SKUs in `attributes`, and of `fields` with `parent`: the channel's catalog must have each"
        ),
    ] = False
    check: Annotated[dict[str, object], msgspec.Meta(description="rules that a value must keep")] = {}


class RequirementSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A requirement set as it is written. `families` maps a family to the one above it.

    `requires` are attributes that must be filled, `checks` rules for attributes that may be left out. With
    `valid_from`, it counts from that day on, in place of an earlier set of its name; who folds knows which sets count.
    """

    name: Name
    version: Annotated[int, msgspec.Meta(ge=1)] = 1
    valid_from: date | None = None
    description: str = ""
    families: dict[Name, Name] = {}
    requires: list[Requirement] = []
    checks: list[Requirement] = []

    @property
    def identity(self) -> str:
        """Its name and version, such as `google-merchant@1`."""
        return f"{self.name}@{self.version}"


class _State(Enum):
    """What a requirement says of a product."""

    MET = "met"
    MISSING = "missing"
    INVALID = "invalid"
    NOT_ASKED = "not asked"


MET, MISSING, INVALID, NOT_ASKED = _State  # a member of the class takes twice as long to find


class _Place(NamedTuple):
    """An attribute of a product, or one of its other fields."""

    name: str
    is_field: bool = False

    def value(self, product: ShownProduct) -> object:
        """What the product has there; None if nothing."""
        if self.is_field and self.name == "sku":
            return True
        return getattr(product, self.name) if self.is_field else product.attributes.get(self.name)


class _Need(NamedTuple):
    """One requirement of one attribute, or of several of which one is enough.

    `skus` reads the SKUs of which each must exist. None if it is of none.
    """

    label: str
    alternatives: tuple[tuple[_Place, ...], ...]
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

    def state(self, product: ShownProduct, foreign: set[str], named: NamedSkus | None = None) -> _State:
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

    def _state_of_skus(self, value: object, named: NamedSkus) -> _State:
        """The state of a value that names SKUs."""
        if not is_filled(value):
            return MISSING
        is_valid = self.rule is None or _passes(self.rule, value)
        return INVALID if named.lacking(value) or not is_valid else MET

    def _state_of(self, places: Sequence[_Place], product: ShownProduct, foreign: set[str]) -> _State:
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


class Measured(NamedTuple):
    """The completeness of a product, and whether something is lacking that blocks."""

    completeness: Completeness
    blocked: bool


class _Ruled(NamedTuple):
    """Simple requirements of one attribute: whether it is required, whether that blocks, rules and whether they do."""

    name: str
    is_required: bool
    blocks: bool
    rules: tuple[tuple[Rule, bool], ...]

    def state(self, value: object) -> tuple[_State, bool]:
        """What they say of a value together, and whether it blocks."""
        if not is_filled(value):
            return (MISSING, self.blocks) if self.is_required else (NOT_ASKED, False)
        state, is_blocked = MET, False
        for rule, blocks in self.rules:
            try:
                rule(value)
            except InvalidValue:
                state, is_blocked = INVALID, is_blocked or blocks
        return state, is_blocked


class _FamilyNeeds(NamedTuple):
    """What is asked of the products of a family.

    Attributes that must be filled, those of them that must be in the channel's language, attributes with rules, and all
    other needs by label.
    """

    plain: tuple[str, ...]
    own_language: tuple[str, ...]
    ruled: tuple["_Ruled", ...]
    others: tuple[tuple[str, tuple[_Need, ...]], ...]


class Requirements:
    """The requirement sets of one channel, compiled.

    `needs_language` says whether `measure` asks for foreign texts, `needs_tree` whether for unknown categories,
    `names_skus` whether for the SKUs that a product names.
    """

    def __init__(self, sets: Sequence[RequirementSet]) -> None:
        """Raises `InvalidMapping` for rules that cannot be, and for families that have no tree."""
        self.families = family_tree(sets)
        """The family above each family."""
        self._needs = [need for each in sets for need in _needs_of(each)]
        self.needs_language = any(need.own_language for need in self._needs)
        self.needs_tree = any(need.in_tree for need in self._needs)
        self.names_skus = any(need.skus is not None for need in self._needs)
        self._needs_of = lru_cache(maxsize=MAX_FAMILIES_COMPILED)(self._compiled)

    def measure(
        self,
        product: ShownProduct,
        foreign: set[str],
        trace: FoldTrace | None = None,
        named: NamedSkus | None = None,
    ) -> Measured:
        """What a product has of what is required of its family. Raises nothing.

        `foreign` are the attributes that show a text in a language that is not the channel's own, and
        `UNKNOWN_CATEGORY` if the channel's tree lacks a category of the product. `named` are the SKUs that it names.
        """
        needs = self._needs_of(product.family)
        missing = _unfilled(product.attributes, needs.plain)
        if foreign:
            missing += [name for name in needs.own_language if name in foreign and name not in missing]
        found = [(name, MISSING, True) for name in missing]
        asked = len(needs.plain)
        get = product.attributes.get
        states = [(each.name, each.state(get(each.name))) for each in needs.ruled]
        states += [(label, _worst(own, product, foreign, named)) for label, own in needs.others]
        for label, (state, blocks) in states:
            if state is MET:
                asked += 1
            elif state is not NOT_ASKED:
                asked += 1
                found.append((label, state, blocks))
        if trace is not None:
            self._explain([label for label, _, _ in found], product, foreign, trace, named)
        return _measured(found, asked) if found else COMPLETE

    def _explain(
        self,
        labels: Collection[str],
        product: ShownProduct,
        foreign: set[str],
        trace: FoldTrace,
        named: NamedSkus | None,
    ) -> None:
        """Which set asks for each thing that is lacking, and what it says."""
        documents = dict.fromkeys(need.document for need in self._needs)
        trace.take(("completeness",), how="requirements", rule=", ".join(documents))
        within = set() if product.family is None else set(upwards(product.family, self.families))
        for need in self._needs:
            if need.label in labels and (not need.families or need.families & within):
                state = need.state(product, foreign, named)
                if state is MISSING or state is INVALID:
                    reason: FoldReason = "missing" if state is MISSING else "invalid"
                    trace.lack(need.path, reason, need.problem(product, foreign, named))

    def _compiled(self, family: str | None) -> _FamilyNeeds:
        within = set() if family is None else set(upwards(family, self.families))
        by_label: dict[str, list[_Need]] = {}
        for need in self._needs:
            if not need.families or need.families & within:
                by_label.setdefault(need.label, []).append(need)
        plain = tuple(label for label, needs in by_label.items() if all(need.is_plain for need in needs))
        own_language = tuple(label for label in plain if any(need.own_language for need in by_label[label]))
        rest = {label: needs for label, needs in by_label.items() if label not in plain}
        ruled = {label for label, needs in rest.items() if all(need.is_simple for need in needs)}
        others = ((label, tuple(needs)) for label, needs in rest.items() if label not in ruled)
        return _FamilyNeeds(plain, own_language, tuple(_ruled(label, rest[label]) for label in ruled), tuple(others))


COMPLETE = Measured(Completeness(100, []), blocked=False)
"""The measure of a product that lacks nothing."""


def _measured(found: Sequence[tuple[str, _State, bool]], asked: int) -> Measured:
    """The measure of a product that lacks something of what is asked: each label, its state, and whether it blocks."""
    missing = sorted([label for label, state, _ in found if state is MISSING])
    invalid = sorted([label for label, state, _ in found if state is INVALID])
    warns = sorted([label for label, _, blocks in found if not blocks])
    completeness = Completeness(100 * (asked - len(found)) // asked, missing, invalid, warns)
    return Measured(completeness, any(blocks for _, _, blocks in found))


def _ruled(label: str, needs: Sequence[_Need]) -> _Ruled:
    required = [need.blocks for need in needs if need.is_required]
    rules = tuple((need.rule, need.blocks) for need in needs if need.rule is not None)
    return _Ruled(label, bool(required), any(required), rules)


def _unfilled(attributes: Mapping[str, object], names: Iterable[str]) -> list[str]:
    """The attributes that do not count. Most values are text: they are checked without a call."""
    found: list[str] = []
    for name in names:
        value = attributes.get(name)
        if (not value or value.isspace()) if type(value) is str else not is_filled(value):
            found.append(name)
    return found


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


def parse_requirements(document: Mapping[str, object]) -> RequirementSet:
    """A requirement set, checked by itself. Raises `InvalidMapping` with the place."""
    try:
        found = msgspec.convert(document, RequirementSet)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        raise InvalidMapping(place.removesuffix("`").lstrip("."), problem[:1].lower() + problem[1:]) from None
    family_tree([found])
    list(_needs_of(found))
    return found


def labels(written: Requirement, key: str) -> list[str]:
    """The names of what it asks for. Raises `InvalidMapping` with the key."""
    return [label for label, _ in _alternatives(written, key)]


def _worst(
    needs: Sequence[_Need], product: ShownProduct, foreign: set[str], named: NamedSkus | None
) -> tuple[_State, bool]:
    """What several requirements of one attribute say together, and whether it blocks."""
    if len(needs) == 1:
        return needs[0].state(product, foreign, named), needs[0].blocks
    found = [(need.state(product, foreign, named), need.blocks) for need in needs]
    states = [state for state, _ in found]
    worst = next((each for each in (MISSING, INVALID, MET) if each in states), NOT_ASKED)
    return worst, any(blocks for state, blocks in found if state is MISSING or state is INVALID)


def _passes(rule: Rule, value: object) -> bool:
    try:
        rule(value)
    except InvalidValue:
        return False
    return True


def _needs_of(document: RequirementSet) -> Iterator[_Need]:
    for name, is_required in (("requires", True), ("checks", False)):
        for index, each in enumerate(getattr(document, name)):
            yield from _needs(each, f"{name}[{index}]", document.identity, is_required=is_required)


def _needs(written: Requirement, key: str, document: str, *, is_required: bool) -> Iterator[_Need]:
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
        yield _Need(
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


def _sku_reader(path: str, place: _Place, key: str) -> Callable[[NamedSkus], object]:
    """Reads the SKUs at a path of a product's attributes, or its parent."""
    if place.is_field:
        return attrgetter("parent")
    read = NestedScope().reader(path, f"{key}.attributes")
    return lambda named: None if (value := read(named.attributes)) is UNSET else value


def _alternatives(written: Requirement, key: str) -> Iterator[tuple[str, tuple[tuple[_Place, ...], ...]]]:
    """Each thing that is required, with its label."""
    for name in written.attributes:
        yield name, ((_Place(name),),)
    for field in written.fields:
        yield field, ((_Place(field, is_field=True),),)
    if written.any_of:
        groups = [[each] if isinstance(each, str) else each for each in written.any_of]
        if not all(groups):
            raise InvalidMapping(f"{key}.any_of", "has an empty list")
        label = " or ".join(" and ".join(group) for group in groups)
        yield label, tuple(tuple(map(_Place, group)) for group in groups)


def family_tree(sets: Sequence[RequirementSet]) -> Mapping[str, str]:
    """The family above each family. Raises `InvalidMapping` for a family with two, and for a cycle."""
    above: dict[str, str] = {}
    for each in sorted(sets, key=attrgetter("name")):
        for family, parent in each.families.items():
            if above.setdefault(family, parent) != parent:
                problem = f"is below {above[family]!r:.60} and, in {each.identity}, below {parent!r:.60}"
                raise InvalidMapping(f"families.{family}", problem)
    for family in above:
        if len(list(upwards(family, above))) > MAX_FAMILY_DEPTH:
            raise InvalidMapping(
                f"families.{family}", f"is below itself, or more than {MAX_FAMILY_DEPTH} families deep"
            )
    return above


def upwards(family: str | None, above: Mapping[str, str]) -> Iterator[str]:
    """A family and those above it; one more than there may be where they have no end."""
    for _ in range(MAX_FAMILY_DEPTH + 1):
        if family is None:
            return
        yield family
        family = above.get(family)
