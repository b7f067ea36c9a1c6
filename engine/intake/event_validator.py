"""Every rule that an event must keep to enter the log, the same for files, HTTP and Python callers.

What passes here can be stored, folded and served: nothing that was accepted fails later for its form. The rules are
those of the design's section 9.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from pagefold.domains import DOMAINS, AnyDomain, InvalidPayload
from pagefold.domains.domain import DECODE_ERRORS, Rules, encode
from pagefold.domains.numbers import exact_number
from pagefold.domains.values import MAX_INTEGER, format_timestamp
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import Rejected
from pagefold.engine.events import NULL, DomainEvent, ValidatedEvent
from pagefold.engine.intake.event_parser import LARGEST_EVENT, EventEnvelope
from pagefold.engine.intake.named_epochs import version_in_epoch
from pagefold.engine.intake.strict_json import check_keys, check_null_characters, refusal
from pagefold.engine.intake.text_limits import LONGEST_IDENTIFIER, check_text
from pagefold.engine.stores.event_state import EncodedEvent, EventState
from pagefold.projections.streams import (
    DIGITS,
    EVERY_CHANNEL,
    encode_part,
    is_spreadsheet_number,
    normalise_sku,
    sku_error,
)


class _Gate(NamedTuple):
    """One domain at the door: how its payloads are read, and by whom it may be written."""

    domain: AnyDomain
    decoder: msgspec.json.Decoder[msgspec.Struct]
    writers: frozenset[str]


_encoder = msgspec.json.Encoder()


_SPREADSHEET = (
    "%r looks like a number that a spreadsheet has rounded: several SKUs may have become one; export the column as "
    'text or, where SKUs do look like that, set spreadsheet_skus = "accept" for the source'
)


def rules_of(config: Config) -> dict[str, Rules]:
    """The rules of the sources that have any which are not the usual ones."""
    rules = {name: config.rules(name) for name in config.sources}
    return {name: each for name, each in rules.items() if each != Rules()}


class EventValidator:
    """Admits events under one configuration. `channels` are those that an event may name."""

    def __init__(self, config: Config) -> None:
        self._gates = {
            domain.name: _Gate(
                domain,
                msgspec.json.Decoder(domain.payload, float_hook=exact_number),
                frozenset(config.sources_of(domain.name)),
            )
            for domain in DOMAINS
        }
        self._views = {channel.name: channel.context() for channel in config.resolved_channels}
        self._sources = frozenset(config.sources)
        self.channels = frozenset((EVERY_CHANNEL, *self._views))
        self._rules = rules_of(config)
        self._takes_spreadsheets = {
            name for name, source in config.sources.items() if source.spreadsheet_skus == "accept"
        }

    def admit(self, event: DomainEvent, recorded_at: str, made_id: str) -> EncodedEvent:
        """The event as it will be stored. `made_id` is used when it has no id of its own. Raises `Rejected`."""
        said = self.examine(event)
        state = EventState(
            id=said.id or made_id,
            occurred_at=said.occurred_at,
            recorded_at=recorded_at,
            correlation_id=said.correlation_id,
            payload=msgspec.Raw(said.content),
        )
        return EncodedEvent(
            said.originator_id, said.originator_version, said.topic, _encoder.encode(state), said.content, said.epoch
        )

    def examine(self, event: DomainEvent) -> ValidatedEvent:
        """What the event states, when it keeps to every rule. Raises `Rejected`."""
        stream, gate = self._place(event)
        _check_version(event.source_version)
        version = event.source_version if event.epoch is None else version_in_epoch(event, event.epoch)
        _check_identifier("id", event.id)
        _check_identifier("correlationId", event.correlation_id)
        content = NULL if event.payload is None else self._content(event, event.payload, gate)
        return ValidatedEvent(
            stream,
            version,
            event.type,
            content,
            _admit_moment("occurredAt", event.occurred_at),
            event.id,
            event.correlation_id,
            event.epoch,
        )

    def stream_of(self, event: DomainEvent | EventEnvelope) -> str:
        """The stream of an event, whatever it states there. Raises `Rejected` when it can be in none."""
        return self._place(event)[0]

    def _place(self, event: DomainEvent | EventEnvelope) -> tuple[str, _Gate]:
        gate = self._gate(event)
        sku = _admit_sku(event.sku)
        if sku[0] in DIGITS and is_spreadsheet_number(sku) and event.source not in self._takes_spreadsheets:
            raise Rejected("sku", _SPREADSHEET % sku)
        return f"{encode_part(sku)}/{event.channel}/{event.type}/{event.source}", gate

    def _gate(self, event: DomainEvent | EventEnvelope) -> _Gate:
        if type(event.type) is type(event.source) is type(event.channel) is str:
            gate = self._gates.get(event.type)
            listens = event.channel == EVERY_CHANNEL or event.channel in self._views
            if gate is not None and event.source in gate.writers and listens:
                return gate
        raise self._why_not(event)

    def _why_not(self, event: DomainEvent | EventEnvelope) -> Rejected:
        for name, value in (("type", event.type), ("source", event.source), ("channel", event.channel)):
            if type(value) is not str:
                return Rejected(name, f"expected a string, got {type(value).__name__}")
        if event.type not in self._gates:
            return Rejected("type", f"{event.type!r:.100} is no domain; there are {', '.join(self._gates)}")
        if event.source not in self._sources:
            return Rejected("source", f"{event.source!r:.100} is not in the configuration")
        if event.source not in self._gates[event.type].writers:
            return Rejected("source", f"{event.source!r} was not given the domain {event.type}")
        return Rejected("channel", f"{event.channel!r:.100} is neither '*' nor a channel of the configuration")

    def _check_rules(self, event: DomainEvent, payload: msgspec.Struct, gate: _Gate) -> None:
        rules = self._rules.get(event.source)
        if rules is None or gate.domain.violates is None:
            return
        violation = gate.domain.violates(payload, rules)
        if violation is not None:
            raise Rejected(f"payload.{violation.path}", violation.reason)

    def _content(self, event: DomainEvent, given: Mapping[str, object] | bytes, gate: _Gate) -> bytes:
        """The canonical payload."""
        payload = _decode(given, gate) if isinstance(given, bytes) else _convert(given, gate)
        try:
            payload = gate.domain.validate(payload)
            content = encode(payload)
        except InvalidPayload as invalid:
            raise Rejected(f"payload.{invalid.path}", invalid.reason) from None
        except UnicodeEncodeError:
            raise Rejected("payload", "must not contain a lone surrogate") from None
        except TypeError as error:  # a subclass of str, int or float, which no encoder takes
            raise Rejected("payload", f"is not JSON: {error}") from None
        if isinstance(given, bytes):
            check_keys(given, content, "payload")
        check_null_characters("payload", content)
        if len(content) > LARGEST_EVENT:
            raise Rejected("payload", f"has {len(content)} bytes; at most {LARGEST_EVENT} are allowed")
        if self._rules:
            self._check_rules(event, payload, gate)
        if gate.domain.channel_mismatch is not None and event.channel != EVERY_CHANNEL:
            misfit = gate.domain.channel_mismatch(payload, self._views[event.channel])
            if misfit is not None:
                raise Rejected(f"payload.{misfit.path}", misfit.reason)
        return content


def _decode(text: bytes, gate: _Gate) -> msgspec.Struct:
    try:
        payload = gate.decoder.decode(text)
    except DECODE_ERRORS as error:
        raise refusal(error, text, "payload") from None
    return payload


def _convert(mapping: Mapping[str, object], gate: _Gate) -> msgspec.Struct:
    if not isinstance(mapping, Mapping):
        raise Rejected("payload", f"expected a mapping, or JSON as bytes, got {type(mapping).__name__}")
    try:
        payload: msgspec.Struct = msgspec.convert(dict(mapping), gate.domain.payload)
    except (msgspec.MsgspecError, RecursionError, TypeError, ValueError) as error:
        raise refusal(error, mapping, "payload") from None
    return payload


def _admit_sku(given: str) -> str:
    if not isinstance(given, str):
        raise Rejected("sku", f"expected a string, got {type(given).__name__}")
    sku = normalise_sku(given)
    if (fault := sku_error(sku)) is not None:
        raise Rejected("sku", fault)
    return sku


def _check_version(version: int) -> None:
    if type(version) is not int:
        raise Rejected("sourceVersion", f"expected an integer, got {type(version).__name__}")
    if not 0 <= version <= MAX_INTEGER:
        raise Rejected("sourceVersion", "is not between 0 and 2^53-1")


def _check_identifier(path: str, identifier: str | None) -> None:
    if identifier is not None:
        check_text(path, identifier, LONGEST_IDENTIFIER)


def _admit_moment(path: str, moment: datetime) -> str:
    if not isinstance(moment, datetime):
        raise Rejected(path, f"expected a datetime, got {type(moment).__name__}")
    if moment.utcoffset() is None:
        raise Rejected(path, "needs its offset from UTC, such as '2026-01-01T00:00:00Z'")
    try:
        return format_timestamp(moment)
    except OverflowError:
        raise Rejected(path, "is outside the years 1 to 9999 in UTC") from None
