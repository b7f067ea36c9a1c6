"""Media: what a product looks like. The assets of all sources, in one order."""

from collections.abc import Sequence
from operator import attrgetter

import msgspec

from pagefold.domains.domain import ChannelContext, Contribution, Domain, InvalidPayload, SectionBody, encode
from pagefold.domains.locales import TextByLocale, are_plain, plain_text, resolve, upcast_text
from pagefold.domains.values import NonNegative, SafeInteger


class Asset(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"
):
    """One picture, film or document. Sizes are in pixels."""

    url: str
    role: str | None = None
    position: SafeInteger = 0
    alt: TextByLocale = {}
    width: NonNegative | None = None
    height: NonNegative | None = None
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
    for index, asset in enumerate(payload.assets):
        if not asset.url:
            raise InvalidPayload(f"assets[{index}].url", "must not be empty")
    if _are_plain(payload):
        return payload
    replace = msgspec.structs.replace
    return Media(
        assets=[
            replace(asset, alt=plain_text(f"assets[{index}].alt", asset.alt))
            for index, asset in enumerate(payload.assets)
        ]
    )


def upcast(payload: Media) -> Media:
    """Texts had any keys once."""
    if _are_plain(payload):
        return payload
    return Media(assets=[msgspec.structs.replace(asset, alt=upcast_text(asset.alt)) for asset in payload.assets])


def _are_plain(payload: Media) -> bool:
    return are_plain([asset.alt for asset in payload.assets if asset.alt])


def fold(contributions: Sequence[Contribution[Media]], view: ChannelContext) -> SectionBody | None:
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
    return SectionBody(encode({"assets": served}), ready=bool(assets))


MEDIA = Domain(
    name="media",
    payload=Media,
    admit=admit,
    fold=fold,
    upcast=upcast,
    depends_on=lambda view: view.locales,
    fold_version=2,
)
