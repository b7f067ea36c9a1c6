"""Which streams the rows of a snapshot can name. What they cannot name is not missing when no row names it."""

from collections.abc import Mapping
from typing import NamedTuple, Self

from pagefold.engine.configuration.config import Config
from pagefold.projections.streams import EVERY_CHANNEL, encode_part, normalise_sku

NOTHING_FIXED: Mapping[str, str] = {}
"""The parts of an event that are the same in every row, by target, where rows may say anything."""


class Coverage(NamedTuple):
    """The streams of one source that rows can name: channels by domain, and one SKU or any, all as in the log."""

    channels: Mapping[bytes, frozenset[bytes]]
    sku: bytes | None = None

    @classmethod
    def of(cls, config: Config, source: str, fixed: Mapping[str, object]) -> Self:
        """What rows cover of which these parts of an event, by target, are always the same.

        A channel that is none of the configuration is not covered: its rows are passed over.
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
        """Whether a row can name it."""
        sku, *rest = stream.split(b"/")
        if len(rest) != 3:  # noqa: PLR2004  # channel, domain and source; applications may use any names
            return False
        return rest[0] in self.channels.get(rest[1], ()) and self.sku in (None, sku)


NOTHING = Coverage({})


def _channels(config: Config, domain: str, fixed: Mapping[str, object]) -> list[str]:
    """Those that rows of a domain can name. A price in one currency cannot be one of a channel that has another."""
    currency = fixed.get("payload.currency") if domain == "pricing" else None
    names = [name for name, channel in config.channels.items() if currency in (None, channel.currency)]
    return [name for name in (EVERY_CHANNEL, *names) if fixed.get("channel") in (None, name)]
