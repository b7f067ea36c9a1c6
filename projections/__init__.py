"""How changes become pages.

Streams and channels, the fold of contributions into sections, the splice. All of it pure.
"""

from projections.channels import Channel, fingerprint_parts
from projections.pages import Splicer
from projections.sections import ChannelFold, DomainFold, Misfit, Section, SharedSections, Word, sections_of
from projections.streams import Stream, normalise_sku, parse_stream_id, stream_id

__all__ = [
    "Channel",
    "ChannelFold",
    "DomainFold",
    "Misfit",
    "Section",
    "SharedSections",
    "Splicer",
    "Stream",
    "Word",
    "fingerprint_parts",
    "normalise_sku",
    "parse_stream_id",
    "sections_of",
    "stream_id",
]
