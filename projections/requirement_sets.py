"""Requirement sets as they are written: what products must have, by family. Pure.

A set is a versioned document. Several sets count together, and so do their family trees.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from operator import attrgetter
from typing import Annotated, Literal, TypeAlias

import msgspec

from pagefold.projections.transforms.errors import InvalidMapping

MAX_FAMILY_DEPTH = 32

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
