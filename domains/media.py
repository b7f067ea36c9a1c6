"""Media: what a product looks like. The assets of all sources, in one order."""

from collections.abc import Sequence

import msgspec

from domains.domain import JSON, Body, Contribution, Domain, Invalid, View, encode
from domains.values import Count, Integer, TextByLocale, resolve


class Asset(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"
):
    """One picture, film or document. Sizes are in pixels."""

    url: str
    role: str | None = None
    position: Integer = 0
    alt: TextByLocale = {}
    width: Count | None = None
    height: Count | None = None
    mime_type: str | None = None


class Media(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a source may state: all its assets of the SKU."""

    assets: list[Asset] = []


def admit(payload: Media) -> Media:
    """An asset has an address."""
    for index, asset in enumerate(payload.assets):
        if not asset.url:
            raise Invalid(f"assets[{index}].url", "must not be empty")
    return payload


def fold(contributions: Sequence[Contribution[Media]], view: View) -> Body | None:
    """All assets by (position, url); equal ones in the order of their sources. Ready when there is at least one."""
    assets = [asset for each in contributions for asset in each.payload.assets]
    assets.sort(key=lambda asset: (asset.position, asset.url))
    return Body(encode({"assets": [_asset(asset, view) for asset in assets]}), ready=bool(assets))


def _asset(asset: Asset, view: View) -> dict[str, JSON]:
    served: dict[str, JSON] = {"position": asset.position, "url": asset.url}
    if asset.role is not None:
        served["role"] = asset.role
    if asset.alt and (alt := resolve(asset.alt, view.locales)) is not None:
        served["alt"] = alt
    if asset.width is not None:
        served["width"] = asset.width
    if asset.height is not None:
        served["height"] = asset.height
    if asset.mime_type is not None:
        served["mimeType"] = asset.mime_type
    return served


MEDIA = Domain(name="media", payload=Media, admit=admit, fold=fold, depends_on=lambda view: view.locales)
