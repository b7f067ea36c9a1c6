"""Catalog: what a product is. It gives a page its identity: without it, or disabled by it, nothing is shown."""

from collections.abc import Sequence

import msgspec

from pagefold.domains.domain import JSON, ChannelContext, Contribution, Domain, SectionBody, encode
from pagefold.domains.locales import TextByLocale, are_plain, plain_text, upcast_text
from pagefold.domains.values import check_json

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


class Served(msgspec.Struct, gc=False):
    """What a page shows."""

    attributes: dict[str, JSON]
    categories: list[JSON]
    family: str | None
    parent: str | None


def admit(payload: Catalog) -> Catalog:
    """Attributes are free-form JSON, within what every reader reads alike; texts have the one form that they have.

    A translation that is null or blank is none, and a text without any is none either: they are not kept.
    """
    for code, value in payload.attributes.items():
        if not isinstance(value, str):
            check_json(f"attributes.{code}", value, DEPTH_OF_ATTRIBUTES)
    if are_plain(payload.localized.values()):
        return payload
    texts = {code: plain_text(f"localized.{code}", text) for code, text in payload.localized.items()}
    return msgspec.structs.replace(payload, localized={code: text for code, text in texts.items() if text})


def upcast(payload: Catalog) -> Catalog:
    """Texts had any keys once."""
    if are_plain(payload.localized.values()):
        return payload
    localized = {code: upcast_text(text) for code, text in payload.localized.items()}
    return msgspec.structs.replace(payload, localized=localized)


def fold(contributions: Sequence[Contribution[Catalog]], view: ChannelContext) -> SectionBody | None:
    """By attribute, and for family, parent and categories.

    The first source that has it. One that disables, disables.
    """
    attributes: dict[str, JSON] = {}
    categories: list[JSON] = []
    family = parent = None
    for contribution in contributions:
        payload = contribution.payload
        if not payload.enabled:
            return None
        own = _attributes(payload, view)
        attributes = own | attributes if attributes else own
        categories = categories or [*payload.categories]
        family = payload.family if family is None else family
        parent = payload.parent if parent is None else parent
    return SectionBody(encode(Served(attributes, categories, family, parent)))


def _attributes(payload: Catalog, view: ChannelContext) -> dict[str, JSON]:
    """One source's attributes, its texts resolved for the channel. A text that no locale has is absent."""
    attributes = payload.attributes.copy()
    locales = view.locales
    for code, text in payload.localized.items():
        for locale in locales:  # as `resolve` does, for less
            if locale in text:
                attributes[code] = text[locale]
                break
    return attributes  # type: ignore[return-value]  # what was decoded from JSON is JSON


CATALOG = Domain(
    name="catalog",
    payload=Catalog,
    admit=admit,
    fold=fold,
    upcast=upcast,
    depends_on=lambda view: view.locales,
    gives_identity=True,
    fold_version=2,
)
