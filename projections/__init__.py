"""How events become pages: streams, channels, the fold of contributions into sections, the splice. Pure."""

from pagefold.projections.channels import Channel, fingerprint_parts
from pagefold.projections.section_fold import (
    ChannelMap,
    ChannelMismatch,
    DecodedEvent,
    DomainFold,
    KeptPages,
    Section,
    SharedSections,
    sections_of,
    shared_sections,
    skus_of,
)
from pagefold.projections.splicer import Splicer
from pagefold.projections.streams import Stream, normalise_sku, parse_stream_id, stream_id

__all__ = [
    "Channel",
    "ChannelMap",
    "ChannelMismatch",
    "DecodedEvent",
    "DomainFold",
    "KeptPages",
    "Section",
    "SharedSections",
    "Splicer",
    "Stream",
    "fingerprint_parts",
    "normalise_sku",
    "parse_stream_id",
    "sections_of",
    "shared_sections",
    "skus_of",
    "stream_id",
]
