"""Catalog: what a product is.

It gives a page its identity: a page is live only while its catalog section is enabled.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence

import msgspec

from pagefold.domains.channel_view import ShownProduct
from pagefold.domains.domain import ChannelContext, Contribution, Domain, Entries, Said, SectionBody, encode
from pagefold.domains.fold_trace import FoldTrace, Given, Path
from pagefold.domains.locales import TextsByLocale, are_canonical, canonical_text, upcast_text
from pagefold.domains.references import Ids, canonical_references, ids_by_kind
from pagefold.domains.values import check_json

ATTRIBUTES_DEPTH = 3
"""The levels around an attribute's value: the event, its payload, `attributes`."""


class Catalog(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"
):
    """A source's catalog payload: attributes by code, texts by locale, and the product's classification."""

    attributes: dict[str, object] = {}
    """Values by attribute code, any JSON: numbers exact as doubles, integers up to 2^53−1."""

    localized: dict[str, TextsByLocale] = {}
    """Texts by attribute code and locale. A page shows each as an attribute, in its channel's language."""

    categories: list[str] = []
    """The product's categories, in order."""

    family: str | None = None
    """The product's family."""

    parent: str | None = None
    """The SKU of the product that this one is a variant of."""

    enabled: bool = True
    """False disables the page in the channels of the event."""

    references: dict[str, Ids] = {}
    """Ids under which other systems know the product, by kind: text, an integer, or a list. No page shows them."""


def validate(payload: Catalog) -> Catalog:
    """Checks free-form attributes, and brings texts and references into canonical form.

    Attributes are JSON that every reader decodes alike. Null and blank translations are dropped, and so is a text
    without any. Ids are text without white space around it, in
    order, each once; a list of one is that one.
    """
    if payload.references:
        payload = msgspec.structs.replace(payload, references=canonical_references(payload.references))
    for code, value in payload.attributes.items():
        if not isinstance(value, str):
            check_json(f"attributes.{code}", value, ATTRIBUTES_DEPTH)
    if are_canonical(payload.localized.values()):
        return payload
    texts = {code: canonical_text(f"localized.{code}", text) for code, text in payload.localized.items()}
    return msgspec.structs.replace(payload, localized={code: text for code, text in texts.items() if text})


def upcast(payload: Catalog) -> Catalog:
    """Brings texts of older logs, whose keys were not checked, into canonical form."""
    if are_canonical(payload.localized.values()):
        return payload
    localized = {code: upcast_text(text) for code, text in payload.localized.items()}
    return msgspec.structs.replace(payload, localized=localized)


def fold(
    contributions: Sequence[Contribution[Catalog]], context: ChannelContext, trace: FoldTrace | None = None
) -> SectionBody | None:
    """Takes each attribute, family, parent and categories from the first source that has it.

    If any source disables the product, the section is disabled; else it is ready, unless the channel's view finds that
    something is lacking.
    """
    attributes: dict[str, object] = {}
    categories: list[object] = []
    family = parent = None
    for contribution in contributions:
        payload = contribution.payload
        if not payload.enabled:
            if trace is not None:
                trace.stop("disabled", source=contribution.source)
            return None
        own = _attributes(payload, context)
        if trace is not None:
            _explain(contribution, context, ShownProduct(attributes, categories, family, parent), trace)
        attributes = own | attributes if attributes else own
        categories = categories or [*payload.categories]
        family = payload.family if family is None else family
        parent = payload.parent if parent is None else parent
    product = ShownProduct(attributes, categories, family, parent)
    if context.view is None:
        return SectionBody(encode(product))
    shown = context.view.shown(product, lambda: _text_locales(contributions, context.locales), trace)
    return None if shown is None else SectionBody(encode(shown[0]), shown[1])


def _explain(
    contribution: Contribution[Catalog], context: ChannelContext, before: ShownProduct, trace: FoldTrace
) -> None:
    """What one source gives to what sources of a higher rank gave `before`."""
    source, payload = contribution.source, contribution.payload
    for code, text in payload.localized.items():
        path, origin = ("attributes", code), ("localized", code)
        locale = next(filter(text.__contains__, context.locales), None)
        if locale is None:
            trace.pass_over(path, Given(source, origin, text), "no-language", ", ".join(text))
            continue
        given = Given(source, (*origin, locale), text[locale])
        _take_first(path, given, trace, is_taken=code in before.attributes, locale=locale)
        if code in payload.attributes:
            trace.pass_over(path, Given(source, ("attributes", code), payload.attributes[code]), "own-text")
    for code, value in payload.attributes.items():
        if not any(locale in payload.localized.get(code, {}) for locale in context.locales):
            given = Given(source, ("attributes", code), value)
            _take_first(("attributes", code), given, trace, is_taken=code in before.attributes)
    for name, value, known in (
        ("categories", [*payload.categories] or None, before.categories or None),
        ("family", payload.family, before.family),
        ("parent", payload.parent, before.parent),
    ):
        if value is not None:
            _take_first((name,), Given(source, (name,), value), trace, is_taken=known is not None)


def _take_first(path: Path, given: Given, trace: FoldTrace, *, is_taken: bool, locale: str = "") -> None:
    if is_taken:
        trace.pass_over(path, given, "lower-rank")
    else:
        trace.take(path, given, how="text" if locale else "stated", rule=locale)


def _text_locales(contributions: Sequence[Contribution[Catalog]], locales: Sequence[str]) -> Mapping[str, str]:
    """The locale of each text that a page shows."""
    found: dict[str, str] = {}
    shown: set[str] = set()
    for contribution in contributions:
        payload = contribution.payload
        for code, text in payload.localized.items():
            for locale in locales:
                if locale in text:
                    if code not in shown:
                        found.setdefault(code, locale)
                    break
        if len(contributions) > 1:
            shown.update(payload.attributes)
    return found


def _attributes(payload: Catalog, context: ChannelContext) -> dict[str, object]:
    """One source's attributes, with texts resolved for the channel. A text without a matching locale is absent."""
    attributes = payload.attributes.copy()
    locales = context.locales
    for code, text in payload.localized.items():
        for locale in locales:  # as `resolve`, inlined for speed
            if locale in text:
                attributes[code] = text[locale]
                break
    return attributes


def inherit(payload: Catalog, above: Catalog, own: Collection[str]) -> Catalog:
    """A variant's payload laid over its parent's: by attribute, by text and locale, by categories and family.

    An attribute that one of them states as a text by locale and the other as a value is the variant's. `parent`,
    `enabled` and `references` are the variant's own.
    """
    attributes = above.attributes
    if own:
        attributes = {code: value for code, value in attributes.items() if code not in own}
    localized = {
        code: text for code, text in above.localized.items() if code not in own and code not in payload.attributes
    }
    for code, text in payload.localized.items():
        localized[code] = localized.get(code, {}) | text
    return Catalog(
        attributes=attributes | payload.attributes,
        localized=localized,
        categories=payload.categories or above.categories,
        family=above.family if payload.family is None else payload.family,
        parent=payload.parent,
        enabled=payload.enabled,
        references=payload.references,
    )


def references(payload: Catalog) -> Mapping[str, Sequence[str]]:
    """The ids under which other systems know the product, by kind."""
    return ids_by_kind(payload.references) if payload.references else {}


def says(payload: Catalog, context: ChannelContext, _source: str) -> Mapping[Path, Said]:
    """Each attribute and text, as the channel shows it; whether the page is shown; references, which no page shows.

    A channel with rules of its own shows attributes under its names, which are looked up one by one: one of which it
    shows something only together with others is not shown.
    """
    said: dict[Path, Said] = {("references", kind): Said(ids) for kind, ids in payload.references.items()}
    products: dict[Path, tuple[object, ShownProduct]] = {}
    for code, value in payload.attributes.items():
        is_shown = not any(locale in payload.localized.get(code, {}) for locale in context.locales)
        products["attributes", code] = value, ShownProduct({code: value} if is_shown else {}, [], None, None)
    for code, texts in payload.localized.items():
        shown = next(filter(texts.__contains__, context.locales), None)
        for locale, text in texts.items():
            attributes: dict[str, object] = {code: text} if locale == shown else {}
            products["localized", code, locale] = text, ShownProduct(attributes, [], None, None)
    if payload.categories:
        products["categories",] = payload.categories, ShownProduct({}, [*payload.categories], None, None)
    if payload.family is not None:
        products["family",] = payload.family, ShownProduct({}, [], payload.family, None)
    if payload.parent is not None:
        products["parent",] = payload.parent, ShownProduct({}, [], None, payload.parent)
    for path, (value, product) in products.items():
        entries = _entries(product, context)
        said[path] = Said(value, (entries,) if entries else ())
    said["enabled",] = Said(payload.enabled, (((("enabled",), payload.enabled),),))
    return said


def _entries(product: ShownProduct, context: ChannelContext) -> Entries:
    if context.view is None:
        return tuple(_filled(product).items())
    always = _filled(context.view.renamed(ShownProduct({}, [], None, None)))
    shown = _filled(context.view.renamed(product))
    return tuple((path, value) for path, value in shown.items() if path not in always or always[path] != value)


def _filled(product: ShownProduct) -> dict[Path, object]:
    found: dict[Path, object] = {("attributes", code): value for code, value in product.attributes.items()}
    for name in ("categories", "family", "parent"):
        if value := getattr(product, name):
            found[name,] = value
    return found


def shows(section: Mapping[str, object]) -> dict[Path, object]:
    """Each attribute, the classification, and that the page is shown."""
    attributes = section.get("attributes")
    found: dict[Path, object] = {("enabled",): True}
    if isinstance(attributes, dict):
        found |= {("attributes", code): value for code, value in attributes.items()}
    return found | {(name,): section[name] for name in ("categories", "family", "parent") if section.get(name)}


def varies_by(context: ChannelContext) -> Hashable:
    """The channel's locales, and what it shows of a product."""
    return context.locales if context.view is None else (context.locales, context.view.key)


CATALOG = Domain(
    name="catalog",
    payload=Catalog,
    validate=validate,
    fold=fold,
    upcast=upcast,
    references=references,
    parent_field="parent",
    inherit=inherit,
    says=says,
    shows=shows,
    varies_by=varies_by,
    has_view=True,
    gives_identity=True,
    fold_version=2,
)
