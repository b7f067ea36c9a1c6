"""What a change means.

One file a domain, each ending in one `Domain` value. A new domain is its file and a line here.
"""

from domains.catalog import CATALOG
from domains.domain import AnyDomain, Body, Contribution, Domain, Invalid, Rules, View
from domains.inventory import INVENTORY
from domains.media import MEDIA
from domains.pricing import PRICING

DOMAINS: tuple[AnyDomain, ...] = (
    CATALOG,
    PRICING,
    INVENTORY,
    MEDIA,
)
"""Every domain, in the order of a page's sections."""

__all__ = ["DOMAINS", "AnyDomain", "Body", "Contribution", "Domain", "Invalid", "Rules", "View"]
