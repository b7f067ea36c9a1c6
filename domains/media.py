"""Media: what a product looks like. The assets of all sources, in one order."""

from collections.abc import Mapping, Sequence
from operator import attrgetter

import msgspec

from pagefold.domains.domain import (
    ChannelContext,
    Contribution,
    Domain,
    InvalidPayload,
    Said,
    SectionBody,
    encode,
    fields_of,
)
from pagefold.domains.fold_trace import FoldTrace, Given, Path
from pagefold.domains.locales import TextByLocale, are_canonical, canonical_text, resolve, upcast_text
from pagefold.domains.values import NonNegative, SafeInteger


class Asset(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"
):
    """One picture, film or document. Sizes are in pixels."""

    url: str
    """The address; not empty."""

    role: str | None = None
    """What it is for, such as `main`."""

    position: SafeInteger = 0
    """Its place in the order."""

    alt: TextByLocale = {}
    """The text to show in its place."""

    width: NonNegative | None = None
    """In pixels."""

    height: NonNegative | None = None
    """In pixels."""

    mime_type: str | None = None
    """The media type, such as `image/jpeg`."""


class Media(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A source's media payload: all its assets of the SKU."""

    assets: list[Asset] = []
    """All assets of the SKU."""


_position = attrgetter("position")


class Served(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """An asset as served: its text in the channel's language, without unknown fields."""

    position: int
    """Its place in the order."""

    url: str
    """The address."""

    alt: str | None = None
    """The text, in the channel's language."""

    height: int | None = None
    """In pixels."""

    mime_type: str | None = None
    """The media type."""

    role: str | None = None
    """What it is for."""

    width: int | None = None
    """In pixels."""


def validate(payload: Media) -> Media:
    """Requires an address for every asset, and brings texts into canonical form."""
    for index, asset in enumerate(payload.assets):
        if not asset.url:
            raise InvalidPayload(f"assets[{index}].url", "must not be empty")
    if _are_canonical(payload):
        return payload
    replace = msgspec.structs.replace
    return Media(
        assets=[
            replace(asset, alt=canonical_text(f"assets[{index}].alt", asset.alt))
            for index, asset in enumerate(payload.assets)
        ]
    )


def upcast(payload: Media) -> Media:
    """Brings texts of older logs, whose keys were not checked, into canonical form."""
    if _are_canonical(payload):
        return payload
    return Media(assets=[msgspec.structs.replace(asset, alt=upcast_text(asset.alt)) for asset in payload.assets])


def _are_canonical(payload: Media) -> bool:
    return are_canonical([asset.alt for asset in payload.assets if asset.alt])


def fold(
    contributions: Sequence[Contribution[Media]], context: ChannelContext, trace: FoldTrace | None = None
) -> SectionBody | None:
    """Sorts all assets by position, then by the rank of their source, then in the order in which it sent them.

    Ready if there is at least one.
    """
    assets = [asset for each in contributions for asset in each.payload.assets]
    assets.sort(key=_position)  # stable: contributions come by rank
    locales = context.locales
    served = [_served(asset, locales) for asset in assets]
    if trace is not None:
        _explain(contributions, context, trace)
    return SectionBody(encode({"assets": served}), ready=bool(assets))


def _served(asset: Asset, locales: Sequence[str]) -> Served:
    return Served(
        asset.position,
        asset.url,
        resolve(asset.alt, locales) if asset.alt else None,
        asset.height,
        asset.mime_type,
        asset.role,
        asset.width,
    )


def says(payload: Media, context: ChannelContext, _source: str) -> Mapping[Path, Said]:
    """Each asset, as it is served; and each of its texts, which may be in a language that the channel does not show."""
    said: dict[Path, Said] = {}
    for asset in payload.assets:
        name = encode(_served(asset, context.locales)).decode()
        way = ((("assets", name), True),)
        said["assets", name] = Said(asset.url, (way,))
        shown = next(filter(asset.alt.__contains__, context.locales), None)
        for locale, text in asset.alt.items():
            said["alt", asset.url, locale] = Said(text, (way,) if locale == shown else ())
    return said


def shows(section: Mapping[str, object]) -> dict[Path, object]:
    """Each asset."""
    assets = section.get("assets")
    return {("assets", encode(each).decode()): True for each in assets} if isinstance(assets, list) else {}


def _explain(contributions: Sequence[Contribution[Media]], context: ChannelContext, trace: FoldTrace) -> None:
    given = [(each.source, index, asset) for each in contributions for index, asset in enumerate(each.payload.assets)]
    given.sort(key=lambda each: each[2].position)  # stable, as in `fold`
    for place, (source, index, asset) in enumerate(given):
        fields = {"position": 0, **fields_of(asset)}
        for name, value in fields.items():
            path, origin = ("assets", place, name), ("assets", index, name)
            if name != "alt":
                trace.take(path, Given(source, origin, value))
            elif (locale := next(filter(asset.alt.__contains__, context.locales), None)) is not None:
                trace.take(path, Given(source, (*origin, locale), asset.alt[locale]), how="text", rule=locale)
            else:
                trace.pass_over(path, Given(source, origin, value), "no-language", ", ".join(asset.alt))
    if not given:
        trace.stop("empty")


MEDIA = Domain(
    name="media",
    payload=Media,
    validate=validate,
    fold=fold,
    upcast=upcast,
    says=says,
    shows=shows,
    varies_by=lambda context: context.locales,
    fold_version=2,
)
