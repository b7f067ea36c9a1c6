"""The requirement sets of a channel, compiled: what a product lacks of what its family must have. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from pagefold.domains.channel_view import Completeness, ShownProduct
from pagefold.domains.fold_trace import FoldReason, FoldTrace
from pagefold.projections.known_skus import NamedSkus
from pagefold.projections.requirement_needs import (
    INVALID,
    MET,
    MISSING,
    NOT_ASKED,
    Need,
    State,
    is_filled,
    needs_of,
)
from pagefold.projections.requirement_sets import RequirementSet, family_tree, upwards
from pagefold.projections.transforms.errors import InvalidMapping, InvalidValue
from pagefold.projections.transforms.rules import Rule

MAX_FAMILIES_COMPILED = 10_000


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

    def state(self, value: object) -> tuple[State, bool]:
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
    others: tuple[tuple[str, tuple[Need, ...]], ...]


class Requirements:
    """The requirement sets of one channel, compiled.

    `needs_language` says whether `measure` asks for foreign texts, `needs_tree` whether for unknown categories,
    `names_skus` whether for the SKUs that a product names.
    """

    def __init__(self, sets: Sequence[RequirementSet]) -> None:
        """Raises `InvalidMapping` for rules that cannot be, and for families that have no tree."""
        self.families = family_tree(sets)
        """The family above each family."""
        self._needs = [need for each in sets for need in needs_of(each)]
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
        by_label: dict[str, list[Need]] = {}
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


def _measured(found: Sequence[tuple[str, State, bool]], asked: int) -> Measured:
    """The measure of a product that lacks something of what is asked: each label, its state, and whether it blocks."""
    missing = sorted([label for label, state, _ in found if state is MISSING])
    invalid = sorted([label for label, state, _ in found if state is INVALID])
    warns = sorted([label for label, _, blocks in found if not blocks])
    completeness = Completeness(100 * (asked - len(found)) // asked, missing, invalid, warns)
    return Measured(completeness, any(blocks for _, _, blocks in found))


def _ruled(label: str, needs: Sequence[Need]) -> _Ruled:
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


def parse_requirements(document: Mapping[str, object]) -> RequirementSet:
    """A requirement set, checked by itself. Raises `InvalidMapping` with the place."""
    try:
        found = msgspec.convert(document, RequirementSet)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        raise InvalidMapping(place.removesuffix("`").lstrip("."), problem[:1].lower() + problem[1:]) from None
    family_tree([found])
    list(needs_of(found))
    return found


def _worst(
    needs: Sequence[Need], product: ShownProduct, foreign: set[str], named: NamedSkus | None
) -> tuple[State, bool]:
    """What several requirements of one attribute say together, and whether it blocks."""
    if len(needs) == 1:
        return needs[0].state(product, foreign, named), needs[0].blocks
    found = [(need.state(product, foreign, named), need.blocks) for need in needs]
    states = [state for state, _ in found]
    worst = next((each for each in (MISSING, INVALID, MET) if each in states), NOT_ASKED)
    return worst, any(blocks for state, blocks in found if state is MISSING or state is INVALID)
