"""Requirement sets: what products must have to be complete, by family, with rules for values. Pure.

A set is a versioned document. Several sets count together, and so do their family trees.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Literal, NamedTuple, TypeAlias

import msgspec

from pagefold.domains.channel_view import Completeness, LocaleOf, ShownProduct
from pagefold.domains.locales import with_general_forms
from pagefold.projections.transforms.accepted_values import AcceptedValues
from pagefold.projections.transforms.errors import InvalidMapping, InvalidValue
from pagefold.projections.transforms.rules import Rule, compile_rules

MAX_FAMILIES_COMPILED = 10_000
MAX_FAMILY_DEPTH = 32

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Field: TypeAlias = Literal["categories", "family", "parent"]


class Requirement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Attributes that products must have, or rules for their values."""

    attributes: Annotated[list[Name], msgspec.Meta(description="the attributes, each of which is required")] = []
    fields: Annotated[
        list[Field],
        msgspec.Meta(description="the same of `categories`, `family` and `parent`"),
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
    check: Annotated[dict[str, object], msgspec.Meta(description="rules that a value must keep")] = {}


class RequirementSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A requirement set as it is written. `families` maps a family to the one above it.

    `requires` are attributes that must be filled, `checks` rules for attributes that may be left out.
    """

    name: Name
    version: Annotated[int, msgspec.Meta(ge=1)] = 1
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


class _Place(NamedTuple):
    """An attribute of a product, or one of its other fields."""

    name: str
    is_field: bool = False

    def value(self, product: ShownProduct) -> object:
        """What the product has there; None if nothing."""
        return getattr(product, self.name) if self.is_field else product.attributes.get(self.name)


class _Need(NamedTuple):
    """One requirement of one attribute, or of several of which one is enough."""

    label: str
    alternatives: tuple[tuple[_Place, ...], ...]
    is_required: bool
    blocks: bool
    families: frozenset[str]
    only: tuple[tuple[str, AcceptedValues], ...]
    own_language: bool
    rule: Rule | None

    @property
    def is_plain(self) -> bool:
        """Whether it asks for one attribute of every product of its families, and for nothing else."""
        places = self.alternatives[0]
        alone = len(self.alternatives) == 1 and not places[0].is_field
        return alone and self.is_required and self.blocks and not (self.only or self.own_language or self.rule)

    def state(self, product: ShownProduct, locales: "_Locales") -> _State:
        """What it says of a product."""
        if not all(values.has(product.attributes.get(name)) for name, values in self.only):
            return _State.NOT_ASKED
        states = [self._state_of(places, product, locales) for places in self.alternatives]
        if _State.MET in states:
            return _State.MET
        if _State.INVALID in states:
            return _State.INVALID
        return _State.MISSING if self.is_required else _State.NOT_ASKED

    def _state_of(self, places: Sequence[_Place], product: ShownProduct, locales: "_Locales") -> _State:
        """The state of attributes that are needed together."""
        values = [place.value(product) for place in places]
        if not all(map(is_filled, values)):
            return _State.MISSING
        if self.own_language and not all(map(locales.is_own, places)):
            return _State.MISSING
        return _State.MET if self.rule is None or all(_passes(self.rule, value) for value in values) else _State.INVALID


class _Locales(NamedTuple):
    """The locales of a product's texts, and those that are the channel's own."""

    locale_of: LocaleOf
    own: frozenset[str]

    def is_own(self, place: _Place) -> bool:
        """Whether a value is in the channel's language, or in none."""
        locale = None if place.is_field else self.locale_of(place.name)
        return locale is None or locale in self.own


class Measured(NamedTuple):
    """The completeness of a product, and whether something is lacking that blocks."""

    completeness: Completeness
    blocked: bool


class _FamilyNeeds(NamedTuple):
    """What is asked of the products of a family: attributes that must be filled, and all other needs by label."""

    plain: tuple[str, ...]
    others: tuple[tuple[str, tuple[_Need, ...]], ...]


class Requirements:
    """The requirement sets of one channel, compiled. `locale` is the channel's own."""

    def __init__(self, sets: Sequence[RequirementSet], locale: str) -> None:
        """Raises `InvalidMapping` for rules that cannot be, and for families that have no tree."""
        self._above = _family_tree(sets)
        self._needs = [need for each in sets for need in _needs_of(each)]
        self._own = frozenset(with_general_forms(locale))
        self._needs_of = lru_cache(maxsize=MAX_FAMILIES_COMPILED)(self._compiled)

    def measure(self, product: ShownProduct, locale_of: LocaleOf) -> Measured:
        """What a product has of what is required of its family. Raises nothing."""
        needs = self._needs_of(product.family)
        get = product.attributes.get
        missing = [name for name in needs.plain if not is_filled(get(name))]
        blocked = bool(missing)
        invalid: list[str] = []
        warns: list[str] = []
        asked = len(needs.plain)
        locales = _Locales(locale_of, self._own)
        for label, own in needs.others:
            state, blocks = _worst(own, product, locales)
            if state is _State.NOT_ASKED:
                continue
            asked += 1
            if state is _State.MET:
                continue
            (missing if state is _State.MISSING else invalid).append(label)
            blocked = blocked or blocks
            if not blocks:
                warns.append(label)
        met = asked - len(missing) - len(invalid)
        percent = 100 * met // asked if asked else 100
        return Measured(Completeness(percent, sorted(missing), sorted(invalid), sorted(warns)), blocked)

    def _compiled(self, family: str | None) -> _FamilyNeeds:
        within = set() if family is None else set(_upwards(family, self._above))
        by_label: dict[str, list[_Need]] = {}
        for need in self._needs:
            if not need.families or need.families & within:
                by_label.setdefault(need.label, []).append(need)
        plain = tuple(label for label, needs in by_label.items() if all(need.is_plain for need in needs))
        others = ((label, tuple(needs)) for label, needs in by_label.items() if label not in plain)
        return _FamilyNeeds(plain, tuple(others))


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
    _family_tree([found])
    list(_needs_of(found))
    return found


def _worst(needs: Iterable[_Need], product: ShownProduct, locales: _Locales) -> tuple[_State, bool]:
    """What several requirements of one attribute say together, and whether it blocks."""
    found = [(need.state(product, locales), need.blocks) for need in needs]
    for state in (_State.MISSING, _State.INVALID):
        lacking = [blocks for each, blocks in found if each is state]
        if lacking:
            return state, any(blocks for each, blocks in found if each in {_State.MISSING, _State.INVALID})
    return (_State.MET if any(each is _State.MET for each, _ in found) else _State.NOT_ASKED), False


def _passes(rule: Rule, value: object) -> bool:
    try:
        rule(value)
    except InvalidValue:
        return False
    return True


def _needs_of(document: RequirementSet) -> Iterator[_Need]:
    for name, is_required in (("requires", True), ("checks", False)):
        for index, each in enumerate(getattr(document, name)):
            yield from _needs(each, f"{name}[{index}]", is_required=is_required)


def _needs(written: Requirement, key: str, *, is_required: bool) -> Iterator[_Need]:
    if not (written.attributes or written.fields or written.any_of):
        raise InvalidMapping(key, "names nothing: give `attributes`, `fields` or `any_of`")
    if not (is_required or written.check):
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
            rule,
        )


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


def _family_tree(sets: Sequence[RequirementSet]) -> Mapping[str, str]:
    """The family above each family. Raises `InvalidMapping` for a family with two, and for a cycle."""
    above: dict[str, str] = {}
    for each in sorted(sets, key=attrgetter("name")):
        for family, parent in each.families.items():
            if above.setdefault(family, parent) != parent:
                problem = f"is below {above[family]!r:.60} and, in {each.identity}, below {parent!r:.60}"
                raise InvalidMapping(f"families.{family}", problem)
    for family in above:
        if len(list(_upwards(family, above))) > MAX_FAMILY_DEPTH:
            raise InvalidMapping(
                f"families.{family}", f"is below itself, or more than {MAX_FAMILY_DEPTH} families deep"
            )
    return above


def _upwards(family: str | None, above: Mapping[str, str]) -> Iterator[str]:
    """A family and those above it; one more than there may be where they have no end."""
    for _ in range(MAX_FAMILY_DEPTH + 1):
        if family is None:
            return
        yield family
        family = above.get(family)
