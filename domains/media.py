"""Media: what a product looks like. The assets of all sources, in one order."""

from collections.abc import Sequence
from operator import attrgetter

import msgspec

from domains.domain import Body, Contribution, Domain, Invalid, View, encode
from domains.locales import TextByLocale, is_plain, plain_text, resolve
from domains.values import Count, Integer


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


_position = attrgetter("position")


class Served(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """An asset as a page shows it: its text in the channel's language, and only what is known."""

    position: int
    url: str
    alt: str | None = None
    height: int | None = None
    mime_type: str | None = None
    role: str | None = None
    width: int | None = None


def admit(payload: Media) -> Media:
    """An asset has an address, and its text the one form that texts have: see `plain_text`."""
    is_whole = True
    for index, asset in enumerate(payload.assets):
        if not asset.url:
            raise Invalid(f"assets[{index}].url", "must not be empty")
        if asset.alt and not is_plain(asset.alt):
            is_whole = False
    return payload if is_whole else Media(assets=[_admit_asset(*each) for each in enumerate(payload.assets)])


def _admit_asset(index: int, asset: Asset) -> Asset:
    return msgspec.structs.replace(asset, alt=plain_text(f"assets[{index}].alt", asset.alt))


def fold(contributions: Sequence[Contribution[Media]], view: View) -> Body | None:
    """All assets by position; equal ones by the rank of their source, then in the order in which it gave them.

    Ready when there is at least one.
    """
    assets = [asset for each in contributions for asset in each.payload.assets]
    assets.sort(key=_position)  # stable: contributions come by rank
    locales = view.locales
    served = [
        Served(
            asset.position,
            asset.url,
            resolve(asset.alt, locales) if asset.alt else None,
            asset.height,
            asset.mime_type,
            asset.role,
            asset.width,
        )
        for asset in assets
    ]
    return Body(encode({"assets": served}), ready=bool(assets))


MEDIA = Domain(
    name="media", payload=Media, admit=admit, fold=fold, depends_on=lambda view: view.locales, fold_version=2
)
