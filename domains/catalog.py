"""Catalog: what a product is. It gives a page its identity: without it, or disabled by it, nothing is shown."""

from collections.abc import Sequence

import msgspec

from domains.domain import Body, Contribution, Domain, View, encode
from domains.values import TextByLocale, check_json, resolve

DEPTH_OF_ATTRIBUTES = 3
"""The event, its payload, `attributes`: what stands around an attribute's value."""


class Catalog(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"
):
    """What a source may state: attributes by code, some of them texts by locale, and the product's place."""

    attributes: dict[str, object] = {}
    localized: dict[str, TextByLocale] = {}
    categories: list[str] = []
    family: str | None = None
    parent: str | None = None
    enabled: bool = True


def admit(payload: Catalog) -> Catalog:
    """Attributes are free-form JSON, within what every reader reads alike."""
    for code, value in payload.attributes.items():
        if not isinstance(value, str):
            check_json(f"attributes.{code}", value, DEPTH_OF_ATTRIBUTES)
    return payload


def fold(contributions: Sequence[Contribution[Catalog]], view: View) -> Body | None:
    """By attribute, and for family, parent and categories: the first source that has it. One that disables, disables."""
    attributes: dict[str, object] = {}
    categories: list[str] = []
    family = parent = None
    for _, payload in contributions:
        if not payload.enabled:
            return None
        attributes = _attributes(payload, view) | attributes
        categories = categories or payload.categories
        family = payload.family if family is None else family
        parent = payload.parent if parent is None else parent
    return Body(
        encode({"attributes": attributes, "categories": categories, "family": family, "parent": parent})  # type: ignore[dict-item]  # decoded JSON
    )


def _attributes(payload: Catalog, view: View) -> dict[str, object]:
    """One source's attributes, its texts resolved for the channel. A text that no locale has is absent."""
    attributes = dict(payload.attributes)
    for code, text in payload.localized.items():
        if (resolved := resolve(text, view.locales)) is not None:
            attributes[code] = resolved
    return attributes


CATALOG = Domain(
    name="catalog",
    payload=Catalog,
    admit=admit,
    fold=fold,
    depends_on=lambda view: view.locales,
    gives_identity=True,
)
