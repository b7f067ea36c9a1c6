"""The streams that the rows of a snapshot can name. Others are not missing when no row names them."""

from collections.abc import Collection, Mapping
from typing import NamedTuple, Self

from pagefold.engine.configuration.config import Config
from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.possible_values import possible_values
from pagefold.engine.intake.contracts.statement_mapping import StatementMapping
from pagefold.projections.streams import EVERY_CHANNEL, encode_part, normalise_sku

NOTHING_FIXED: Mapping[str, str] = {}
"""The parts of an event that are the same in every row, by target, if rows may have any."""


class CoveredStreams(NamedTuple):
    """Streams of one domain that rows can name: sources, channels, and SKUs or any, as in the log."""

    domain: bytes
    sources: frozenset[bytes]
    channels: frozenset[bytes]
    skus: frozenset[bytes] | None = None


class Coverage(NamedTuple):
    """The streams that rows can name.

    `others` are the sources beside the snapshot's own that rows may name, each with its domain. Where it is not known
    which of them rows name, they are in none of the `parts`: nothing is missing of them. `domains` are those of the
    snapshot's own source.
    """

    parts: tuple[CoveredStreams, ...] = ()
    others: frozenset[tuple[str, str]] = frozenset()
    domains: frozenset[str] = frozenset()

    @classmethod
    def of_events(cls, config: Config, source: str, fixed: Mapping[str, object]) -> Self:
        """What rows that are events cover, whose parts in `fixed`, by target, are always the same."""
        domain, sku = fixed.get("type"), fixed.get("sku")
        channels = None if fixed.get("channel") is None else {str(fixed["channel"])}
        domains = [name for name in config.sources[source].domains if domain in (None, name)]
        skus = None if sku is None else {str(sku)}
        return cls(tuple(_covered(config, name, {source}, channels, skus) for name in domains))

    @classmethod
    def of_contract(cls, config: Config, source: str, contract: Contract) -> Self:
        """What the statements of a contract can be of.

        A part of a stream that is a constant, or looked up in a table, has the values there; any other has any value.
        """
        parts: list[CoveredStreams] = []
        named: set[tuple[str, str]] = set()
        for mapping in contract.statements:
            domain = mapping.domain
            writers = config.sources_of(domain)
            sources = {source} if "source" not in mapping.fields else _values(mapping, "source", contract)
            named |= {(domain, name) for name in (writers if sources is None else sources.intersection(writers))}
            channels = {EVERY_CHANNEL} if "channel" not in mapping.fields else _values(mapping, "channel", contract)
            skus = _values(mapping, "sku", contract)
            currencies = possible_values(_currency(mapping), contract.head.tables)
            certain = {source} if sources is None else sources
            parts.append(_covered(config, domain, certain, channels, skus, currencies))
        own = frozenset(config.sources[source].domains)
        return cls(tuple(parts), frozenset(named - {(domain, source) for domain in own}), own)

    def other_sources(self, domains: Collection[str]) -> list[tuple[str, str]]:
        """The other sources, each with its domain, in order. Of the source's own domains, only `domains` count."""
        return sorted(pair for pair in self.others if pair[0] in domains or pair[0] not in self.domains)

    def has(self, stream: bytes) -> bool:
        """Whether a row can name the stream, and its absence means something."""
        sku, *rest = stream.split(b"/")
        if len(rest) != 3:  # noqa: PLR2004  # channel, domain and source; applications may use any names
            return False
        channel, domain, source = rest
        return any(
            part.domain == domain
            and source in part.sources
            and channel in part.channels
            and (part.skus is None or sku in part.skus)
            for part in self.parts
        )


NOTHING = Coverage()


def _values(mapping: StatementMapping, field: str, contract: Contract) -> frozenset[str] | None:
    return possible_values(mapping.written.fields.get(field), contract.head.tables)


def _currency(mapping: StatementMapping) -> object:
    """What the contract says of a price's currency."""
    return next((place.mapping for place in mapping.written.places if place.path == ("currency",)), None)


def _covered(  # the parts of a stream
    config: Config,
    domain: str,
    sources: Collection[str],
    channels: Collection[str] | None,
    skus: Collection[str] | None,
    currencies: Collection[str] | None = None,
) -> CoveredStreams:
    """Streams of a domain. Channels that are not configured are not covered: their rows are skipped.

    A price in one currency fits only channels of that currency.
    """
    fitting = [
        name
        for name, channel in config.channels.items()
        if domain != "pricing" or currencies is None or channel.currency in currencies
    ]
    found = [name for name in (EVERY_CHANNEL, *fitting) if channels is None or name in channels]
    return CoveredStreams(
        domain.encode(),
        frozenset(encode_part(name).encode() for name in sources),
        frozenset(name.encode() for name in found),
        None if skus is None else frozenset(encode_part(normalise_sku(each)).encode() for each in skus),
    )
