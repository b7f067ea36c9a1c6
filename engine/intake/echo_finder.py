"""Finds echoes among events that are to be appended: of sources that are targets, too.

What was offered counts as sent, since a system may answer before its receipt is stored. What is not known any more, or
was overtaken by what its source has said since, makes no echo: a change that is left out would be worse than a turn
that is too many.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from pagefold.domains import DOMAINS, ChannelContext
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import StoreError
from pagefold.engine.intake.canonical_payloads import canonical_payload, content_of
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.stores.delivery_records import StoredDelivery
from pagefold.engine.stores.event_state import EncodedEvent, with_based_on
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import Store
from pagefold.projections.channels import Channel
from pagefold.projections.echoes import Receipt, Statement, is_echo, parse_receipt
from pagefold.projections.streams import EVERY_CHANNEL, Stream, encode_part, parse_stream_id

log = Logger(__name__)

_DOMAINS = frozenset(domain.name for domain in DOMAINS)


class Findings(NamedTuple):
    """The numbers of events that are echoes; and, of others, what their source had been sent: versions by stream."""

    echoes: Collection[int] = frozenset()
    based_on: Mapping[int, Mapping[str, int]] = {}

    def completed(self, events: Sequence[EncodedEvent]) -> list[EncodedEvent]:
        """The events, with what they are based on where they do not say it themselves."""
        found = list(events)
        for number, versions in self.based_on.items():
            found[number] = with_based_on(found[number], versions)
        return found


NOTHING = Findings()


class Said(NamedTuple):
    """What an event says, as it is to be compared: its stream, version in its epoch, and canonical payload.

    `replaces`: it may replace what is stored at its version.
    """

    stream: str
    version: int
    domain: str
    content: bytes
    replaces: bool = False


class _Sent(NamedTuple):
    """What a target was sent of one page, as its row and its receipt have it, and the page's channel."""

    row: StoredDelivery
    receipt: Receipt
    context: ChannelContext

    @property
    def is_acknowledged(self) -> bool:
        """Whether the target holds it, for certain."""
        return self.row.claimed_by is None and self.row.acked_tag == self.receipt.tag != ""


def sources_of_targets(config: Config) -> dict[str, list[str]]:
    """The targets of each source that is one, by the source's name in streams."""
    found: dict[str, list[str]] = {}
    for name, target in config.targets.items():
        if target.source is not None:
            found.setdefault(encode_part(target.source), []).append(name)
    return found


class EchoFinder:
    """Finds echoes by the receipts of a store. `validator` has the configuration under which events are accepted."""

    def __init__(self, store: Store, config: Config, validator: EventValidator) -> None:
        self._store = store
        self._validator = validator
        self._targets = sources_of_targets(config)
        self._channels: tuple[Config, dict[str, tuple[Channel, ChannelContext]]] | None = None

    async def find(self, events: Sequence[EncodedEvent]) -> Findings:
        """The echoes among events that are placed in their epochs. Raises nothing: without receipts, there are none."""
        if not self._targets:
            return NOTHING
        said = {
            number: Said(*event.key, event.topic, event.content, event.tie != "keep")
            for number, event in enumerate(events)
            if self._concerns(event.originator_id) and event.topic in _DOMAINS
        }
        return await self.find_said(said) if said else NOTHING

    async def find_said(self, said: Mapping[int, Said]) -> Findings:
        """The same, of what sources say, by number; of other sources, nothing."""
        said = {number: each for number, each in said.items() if self._concerns(each.stream)}
        if not said:
            return NOTHING
        try:
            return await self._find(said)
        except StoreError as error:
            log.warning("receipts cannot be read: whatever targets send back is appended", error=str(error))
            return NOTHING

    def _concerns(self, stream: str) -> bool:
        return stream.rpartition("/")[2] in self._targets

    async def _find(self, said: Mapping[int, Said]) -> Findings:
        streams = {number: parse_stream_id(each.stream) for number, each in said.items()}
        sent = await self._sent(streams.values())
        if not sent:
            return NOTHING
        # Heads are read after receipts: what was appended meanwhile is newer than any of these.
        heads = {
            head.originator_id: head
            for head in await self._store.log.heads(sorted({each[0] for each in said.values()}))
        }
        echoes: set[int] = set()
        changed: set[str] = set()
        based_on: dict[int, dict[str, int]] = {}
        for number, stream in streams.items():
            each = said[number]
            found = [
                self._concerned(sent.get((target, stream.sku), ()), stream)
                for target in self._targets[encode_part(stream.source)]
            ]
            head = heads.get(each.stream)
            if each.stream not in changed and any(_is_echo(each, stream, head, some) for some in found):
                echoes.add(number)
                continue
            changed.add(each.stream)
            if versions := _acknowledged([one for some in found for one in some]):
                based_on[number] = versions
        return Findings(echoes, based_on)

    async def _sent(self, streams: Collection[Stream]) -> dict[tuple[str, str], list[_Sent]]:
        """What targets were sent of some SKUs, by target and SKU."""
        channels = self._contexts()
        skus = sorted({stream.sku for stream in streams})
        found: dict[tuple[str, str], list[_Sent]] = {}
        names = {target for stream in streams for target in self._targets[encode_part(stream.source)]}
        for row in await self._store.deliveries.receipts(skus, next(iter(names)) if len(names) == 1 else None):
            receipt = parse_receipt(row.echo) if row.target in names else None
            if receipt is not None and row.channel in channels:
                sent = _Sent(row, receipt, channels[row.channel][1])
                found.setdefault((row.target, row.sku), []).append(sent)
        return found

    def _concerned(self, sent: Sequence[_Sent], stream: Stream) -> list[_Sent]:
        """What was sent in the channels that a statement is about, and that listen to its source."""
        channels = self._contexts()
        return [
            each
            for each in sent
            if stream.channel in (EVERY_CHANNEL, each.row.channel)
            and stream.source in channels[each.row.channel][0].sources.get(stream.domain, ())
        ]

    def _contexts(self) -> dict[str, tuple[Channel, ChannelContext]]:
        config = self._validator.config
        if self._channels is None or self._channels[0] is not config:
            known = {channel.name: (channel, channel.context()) for channel in config.resolved_channels}
            self._channels = config, known
        return self._channels[1]


def _is_echo(said: Said, stream: Stream, head: StoredEvent | None, sent: Sequence[_Sent]) -> bool:
    """Whether something is the newest that its source has said, and says no more than one target was sent."""
    before = None
    if head is not None:
        newest = head.originator_version
        content = content_of(head)
        if (
            content is None
            or said.version < newest
            or any(head.notification_id > each.receipt.position for each in sent)
        ):
            return False
        before = canonical_payload(said.domain, content)
        if said.version == newest and (not said.replaces or before == said.content):
            return False  # it is in the log, or in conflict with what is
    statement = Statement(stream.domain, stream.source, said.content, before)
    return is_echo(statement, [(each.receipt, each.context) for each in sent])


def _acknowledged(sent: Sequence[_Sent]) -> dict[str, int]:
    """The newest versions that a system had been sent, by domain and source, as far as it has acknowledged them."""
    found: dict[str, int] = {}
    for each in sent:
        if each.is_acknowledged:
            for name, version in each.receipt.versions.items():
                found[name] = max(version, found.get(name, 0))
    return found
