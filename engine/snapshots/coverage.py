"""The streams that the rows of a snapshot can name. Others are not missing when no row names them."""

from collections.abc import Mapping
from typing import NamedTuple, Self

from pagefold.engine.configuration.config import Config
from pagefold.projections.streams import EVERY_CHANNEL, encode_part, normalise_sku

NOTHING_FIXED: Mapping[str, str] = {}
"""The parts of an event that are the same in every row, by target, if rows may have any."""


class Coverage(NamedTuple):
    """The streams of a source that rows can name: channels by domain, and one SKU or any, as in the log."""

    channels: Mapping[bytes, frozenset[bytes]]
    sku: bytes | None = None

    @classmethod
    def of(cls, config: Config, source: str, fixed: Mapping[str, object]) -> Self:
        """What rows cover whose parts in `fixed`, by target, are always the same.

        Channels that are not configured are not covered: their rows are skipped.
        """
        domain, sku = fixed.get("type"), fixed.get("sku")
        return cls(
            {
                name.encode(): frozenset(channel.encode() for channel in _channels(config, name, fixed))
                for name in config.sources[source].domains
                if domain in (None, name)
            },
            None if sku is None else encode_part(normalise_sku(str(sku))).encode(),
        )

    def has(self, stream: bytes) -> bool:
        """Whether a row can name the stream."""
        sku, *rest = stream.split(b"/")
        if len(rest) != 3:  # noqa: PLR2004  # channel, domain and source; applications may use any names
            return False
        return rest[0] in self.channels.get(rest[1], ()) and self.sku in (None, sku)


NOTHING = Coverage({})


def _channels(config: Config, domain: str, fixed: Mapping[str, object]) -> list[str]:
    """The channels that rows of a domain can name. A price in one currency fits only channels of that currency."""
    currency = fixed.get("payload.currency") if domain == "pricing" else None
    names = [name for name, channel in config.channels.items() if currency in (None, channel.currency)]
    return [name for name in (EVERY_CHANNEL, *names) if fixed.get("channel") in (None, name)]
