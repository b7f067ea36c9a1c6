"""The domains: what a change means. One file a domain, each ending in one `Domain` value.

To add a domain, add its file and list it here.
"""

from pagefold.domains.catalog import CATALOG
from pagefold.domains.domain import AnyDomain, ChannelContext, Contribution, Domain, InvalidPayload, Rules, SectionBody
from pagefold.domains.inventory import INVENTORY
from pagefold.domains.media import MEDIA
from pagefold.domains.pricing import PRICING

DOMAINS: tuple[AnyDomain, ...] = (
    CATALOG,
    PRICING,
    INVENTORY,
    MEDIA,
)
"""Every domain, in the order of a page's sections."""

__all__ = ["DOMAINS", "AnyDomain", "ChannelContext", "Contribution", "Domain", "InvalidPayload", "Rules", "SectionBody"]
