"""Channels: the storefronts and marketplaces that pages are made for, and the sources that each listens to."""

from collections.abc import Mapping, Sequence

import msgspec

from pagefold.domains import AnyDomain, ChannelContext
from pagefold.domains.channel_view import ChannelView
from pagefold.domains.locales import with_general_forms

MAX_LEVELS = 3
"""The most parents above a variant."""


class Inherit(msgspec.Struct, frozen=True):
    """How a source inherits: a variant's payload is laid over that of the parent that it names, and so on.

    At most `levels` parents are above a variant. With `ignore_case`, parents are found in any case. Attributes in `own`
    are never taken from a parent.
    """

    levels: int = MAX_LEVELS
    ignore_case: bool = False
    own: tuple[str, ...] = ()


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A storefront or marketplace.

    `locale` and `fallbacks`, which are tried after it, are canonical BCP 47 tags; `currency` is an ISO 4217 code. A
    page is ready if every domain in `requires` is and it has an identity: see `Splicer`. `sources` ranks, by domain,
    the sources that the channel uses, highest first. `view` is what it shows and requires of a product. `inherit` says
    of sources in which variants inherit from their parents how they do.
    """

    name: str
    locale: str
    fallbacks: tuple[str, ...]
    currency: str
    requires: frozenset[str]
    sources: Mapping[str, tuple[str, ...]]
    view: ChannelView | None = None
    inherit: Mapping[str, Inherit] = {}

    def context(self) -> ChannelContext:
        """The part of this channel that a domain sees."""
        return ChannelContext(locale_chain(self.locale, self.fallbacks), self.currency, self.view)


def locale_chain(locale: str, fallbacks: Sequence[str]) -> tuple[str, ...]:
    """The locales to try, each followed by its more general forms: `de-AT` with `en` gives `de-AT`, `de`, `en`."""
    chain: dict[str, None] = {}
    for tag in (locale, *fallbacks):
        chain.update(dict.fromkeys(with_general_forms(tag)))
    return tuple(chain)


def fingerprint_parts(domain: AnyDomain, channels: Sequence[Channel]) -> list[object]:
    """Everything in the channels that affects the sections of a domain, as plain JSON, channels in name order.

    Two configurations with equal parts give equal sections. The domain's `fold_version` is included. What a channel
    requires is not: readiness of a page is decided when it is read.
    """
    return [
        domain.fold_version,
        *[
            [
                channel.name,
                list(channel.context().locales),
                channel.currency,
                list(channel.sources.get(domain.name, ())),
                *([channel.view.key] if domain.has_view and channel.view is not None else []),
                *_inherit_parts(domain, channel),
            ]
            for channel in sorted(channels, key=lambda channel: channel.name)
        ],
    ]


def _inherit_parts(domain: AnyDomain, channel: Channel) -> list[object]:
    """How the sources of a domain inherit. Empty if none does."""
    if domain.parent_field is None:
        return []
    sources = channel.sources.get(domain.name, ())
    found = {name: channel.inherit[name] for name in sources if name in channel.inherit}
    return [{name: [each.levels, each.ignore_case, sorted(each.own)] for name, each in found.items()}] if found else []
