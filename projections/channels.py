"""Channels: the storefronts and marketplaces that pages are made for, and what each of them listens to."""

from collections.abc import Mapping, Sequence

import msgspec

from pagefold.domains import AnyDomain, ChannelContext
from pagefold.domains.locales import more_general


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A storefront or marketplace.

    `locale` is a canonical BCP 47 tag, as `fallbacks` are, which are tried after it; `currency` is an ISO 4217 code; a
    page is ready when every domain in `requires` is, and it has an identity: see `Splicer`; `sources` ranks, by domain,
    the sources whose word counts, the first one most.
    """

    name: str
    locale: str
    fallbacks: tuple[str, ...]
    currency: str
    requires: frozenset[str]
    sources: Mapping[str, tuple[str, ...]]

    def view(self) -> ChannelContext:
        """What a domain may know of this channel."""
        return ChannelContext(locale_chain(self.locale, self.fallbacks), self.currency)


def locale_chain(locale: str, fallbacks: Sequence[str]) -> tuple[str, ...]:
    """The locales to try, each after its more specific form: `de-AT` with `en` gives `de-AT`, `de`, `en`."""
    chain: dict[str, None] = {}
    for tag in (locale, *fallbacks):
        chain.update(dict.fromkeys(more_general(tag)))
    return tuple(chain)


def fingerprint_parts(domain: AnyDomain, channels: Sequence[Channel]) -> list[object]:
    """Everything of the channels that the sections of a domain are made from, as plain JSON, channels in name order.

    Two configurations with equal parts give equal sections, under the same code: the version of the domain's fold is
    among them. What a channel requires is not: readiness of a page is decided when it is read.
    """
    return [
        domain.fold_version,
        *[
            [channel.name, list(channel.view().locales), channel.currency, list(channel.sources.get(domain.name, ()))]
            for channel in sorted(channels, key=lambda channel: channel.name)
        ],
    ]
