"""Every rule that an event must keep to enter the log, the same for files, HTTP and Python callers.

What passes can be stored, folded and served: no accepted event fails later because of its form. The rules are those of
section 9 of the design.
"""

from collections.abc import Container, Mapping
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
from pagefold.engine.intake.causality import check_based_on
from pagefold.engine.intake.event_parser import MAX_EVENT_BYTES, EventEnvelope
from pagefold.engine.intake.named_epochs import version_in_epoch
from pagefold.engine.intake.strict_json import check_keys, check_null_characters, decode_rejection
from pagefold.engine.intake.text_limits import MAX_IDENTIFIER_LENGTH, check_text
from pagefold.engine.stores.event_state import EncodedEvent, EventState, stored_based_on
from pagefold.projections.releases import RELEASE_DOMAINS, release_of
from pagefold.projections.streams import (
    DIGITS,
    EVERY_CHANNEL,
    encode_part,
    is_spreadsheet_number,
    normalise_sku,
    sku_error,
)


class _DomainRules(NamedTuple):
    """How one domain's payloads are decoded, and which sources may write it."""

    domain: AnyDomain
    decoder: msgspec.json.Decoder[msgspec.Struct]
    writers: frozenset[str]


_encoder = msgspec.json.Encoder()


_SPREADSHEET = (
    "%r looks like a number that a spreadsheet has rounded: several SKUs may have become one; export the column as "
    'text or, where SKUs do look like that, set spreadsheet_skus = "accept" for the source'
)


_NOT_APPLIED = "it is in the file, whose configuration is not applied yet: `pagefold plan`"


def rules_of(config: Config) -> dict[str, Rules]:
    """The rules by source, of those whose rules differ from the defaults."""
    rules = {name: config.rules(name) for name in config.sources}
    return {name: each for name, each in rules.items() if each != Rules()}


class EventValidator:
    """Validates events under a configuration. `releases` are those that exist, whose statements are accepted, too."""

    def __init__(self, config: Config, releases: Container[str] = ()) -> None:
        self._given = config
        self._releases = releases
        self._validator = _ConfiguredValidator(config, releases, config)

    def configure(self, config: Config) -> None:
        """From now on, validates under another configuration. Each event is validated under one."""
        self._validator = _ConfiguredValidator(config, self._releases, self._given)

    @property
    def config(self) -> Config:
        """The configuration under which events are validated."""
        return self._validator.config

    @property
    def channels(self) -> frozenset[str]:
        """The names of channels that an event may use."""
        return self._validator.channels

    def encode(self, event: DomainEvent, recorded_at: str, default_id: str) -> EncodedEvent:
        """Encodes a valid event as it will be stored. `default_id` is used if it has no id. Raises `Rejected`."""
        return self._validator.encode(event, recorded_at, default_id)

    def validate(self, event: DomainEvent) -> ValidatedEvent:
        """Returns the event in canonical form. Raises `Rejected` if it breaks a rule."""
        return self._validator.validate(event)

    def stream_of(self, event: DomainEvent | EventEnvelope) -> str:
        """The stream of an event, without validating the rest. Raises `Rejected` if it cannot have one."""
        return self._validator.stream_of(event)


class _ConfiguredValidator:
    """Validates events under one configuration. `given` is the one that may not be applied yet."""

    def __init__(self, config: Config, releases: Container[str], given: Config) -> None:
        self.config = config
        self._given = given
        self._releases = releases
        self._by_domain = {
            domain.name: _DomainRules(
                domain,
                msgspec.json.Decoder(domain.payload, float_hook=exact_number),
                frozenset(config.sources_of(domain.name)),
            )
            for domain in DOMAINS
        }
        self._channels = {channel.name: channel.context() for channel in config.resolved_channels}
        self._sources = frozenset(config.sources)
        self.channels = frozenset((EVERY_CHANNEL, *self._channels))
        self._rules = rules_of(config)
        self._accepts_spreadsheet_skus = {
            name for name, source in config.sources.items() if source.spreadsheet_skus == "accept"
        }

    def encode(self, event: DomainEvent, recorded_at: str, default_id: str) -> EncodedEvent:
        """Encodes a valid event as it will be stored. `default_id` is used if it has no id. Raises `Rejected`."""
        valid = self.validate(event)
        state = EventState(
            id=valid.id or default_id,
            occurred_at=valid.occurred_at,
            recorded_at=recorded_at,
            correlation_id=valid.correlation_id,
            based_on=stored_based_on(valid.based_on),
            payload=msgspec.Raw(valid.content),
        )
        return EncodedEvent(
            valid.originator_id,
            valid.originator_version,
            valid.topic,
            _encoder.encode(state),
            valid.content,
            valid.epoch,
            event.tie,
        )

    def validate(self, event: DomainEvent) -> ValidatedEvent:
        """Returns the event in canonical form. Raises `Rejected` if it breaks a rule."""
        stream, domain_rules = self._place(event)
        _check_version(event.source_version)
        version = event.source_version if event.epoch is None else version_in_epoch(event, event.epoch)
        check_identifiers(event)
        if event.based_on is not None:
            check_based_on(event.based_on)
        content = NULL if event.payload is None else self._content(event, event.payload, domain_rules)
        return ValidatedEvent(
            stream,
            version,
            event.type,
            content,
            _formatted_timestamp("occurredAt", event.occurred_at),
            event.id,
            event.correlation_id,
            event.epoch,
            event.based_on,
        )

    def stream_of(self, event: DomainEvent | EventEnvelope) -> str:
        """The stream of an event, without validating the rest. Raises `Rejected` if it cannot have one."""
        return self._place(event)[0]

    def _place(self, event: DomainEvent | EventEnvelope) -> tuple[str, _DomainRules]:
        domain_rules = self._domain_rules(event)
        sku = _normalised_sku(event.sku)
        if sku[0] in DIGITS and is_spreadsheet_number(sku) and event.source not in self._accepts_spreadsheet_skus:
            raise Rejected("sku", _SPREADSHEET % sku)
        source = event.source if event.source in domain_rules.writers else encode_part(event.source)
        return f"{encode_part(sku)}/{event.channel}/{event.type}/{source}", domain_rules

    def _domain_rules(self, event: DomainEvent | EventEnvelope) -> _DomainRules:
        if type(event.type) is type(event.source) is type(event.channel) is str:
            domain_rules = self._by_domain.get(event.type)
            is_known = event.channel == EVERY_CHANNEL or event.channel in self._channels
            if domain_rules is None or not is_known:
                raise self._rejection(event)
            if event.source in domain_rules.writers or self._is_of_release(event):
                return domain_rules
        raise self._rejection(event)

    def _is_of_release(self, event: DomainEvent | EventEnvelope) -> bool:
        """Whether an event is a statement of a release that exists."""
        release = release_of(event.source)
        return release is not None and event.type in RELEASE_DOMAINS and release in self._releases

    def _rejection(self, event: DomainEvent | EventEnvelope) -> Rejected:
        for name, value in (("type", event.type), ("source", event.source), ("channel", event.channel)):
            if type(value) is not str:
                return Rejected(name, f"expected a string, got {type(value).__name__}")
        if event.type not in self._by_domain:
            return Rejected("type", f"unknown domain {event.type!r:.100}; the domains are {', '.join(self._by_domain)}")
        return self._source_rejection(event)

    def _source_rejection(self, event: DomainEvent | EventEnvelope) -> Rejected:
        source = event.source
        if (release := release_of(source)) is not None and release not in self._releases:
            return Rejected("source", f"there is no release {release!r}; `pagefold releases create` makes one")
        if release is None and source not in self._sources:
            why = _NOT_APPLIED if source in self._given.sources else "the configuration does not have it"
            return Rejected("source", f"unknown source {source!r:.100}; {why}")
        if source not in self._by_domain[event.type].writers and not self._is_of_release(event):
            return Rejected("source", f"{source!r} may not write the domain {event.type}")
        why = _NOT_APPLIED if event.channel in self._given.channels else "use '*' or a channel of the configuration"
        return Rejected("channel", f"unknown channel {event.channel!r:.100}; {why}")

    def _check_rules(self, event: DomainEvent, payload: msgspec.Struct, domain_rules: _DomainRules) -> None:
        rules = self._rules.get(event.source)
        if rules is None or domain_rules.domain.violates is None:
            return
        violation = domain_rules.domain.violates(payload, rules)
        if violation is not None:
            raise Rejected(f"payload.{violation.path}", violation.reason)

    def _content(self, event: DomainEvent, given: Mapping[str, object] | bytes, domain_rules: _DomainRules) -> bytes:
        """The canonical payload."""
        payload = _decode(given, domain_rules) if isinstance(given, bytes) else _convert(given, domain_rules)
        try:
            payload = domain_rules.domain.validate(payload)
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
        if len(content) > MAX_EVENT_BYTES:
            raise Rejected("payload", f"has {len(content)} bytes; at most {MAX_EVENT_BYTES} are allowed")
        if self._rules:
            self._check_rules(event, payload, domain_rules)
        if domain_rules.domain.channel_mismatch is not None and event.channel != EVERY_CHANNEL:
            mismatch = domain_rules.domain.channel_mismatch(payload, self._channels[event.channel])
            if mismatch is not None:
                raise Rejected(f"payload.{mismatch.path}", mismatch.reason)
        return content


def _decode(text: bytes, domain_rules: _DomainRules) -> msgspec.Struct:
    try:
        payload = domain_rules.decoder.decode(text)
    except DECODE_ERRORS as error:
        raise decode_rejection(error, text, "payload") from None
    return payload


def _convert(mapping: Mapping[str, object], domain_rules: _DomainRules) -> msgspec.Struct:
    if not isinstance(mapping, Mapping):
        raise Rejected("payload", f"expected a mapping, or JSON as bytes, got {type(mapping).__name__}")
    try:
        payload: msgspec.Struct = msgspec.convert(dict(mapping), domain_rules.domain.payload)
    except (msgspec.MsgspecError, RecursionError, TypeError, ValueError) as error:
        raise decode_rejection(error, mapping, "payload") from None
    return payload


def _normalised_sku(given: str) -> str:
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


def check_identifiers(event: DomainEvent) -> None:
    """Raises `Rejected` for an id or a correlation id that cannot be stored."""
    for path, identifier in (("id", event.id), ("correlationId", event.correlation_id)):
        if identifier is not None:
            check_text(path, identifier, MAX_IDENTIFIER_LENGTH)


def _formatted_timestamp(path: str, moment: datetime) -> str:
    if not isinstance(moment, datetime):
        raise Rejected(path, f"expected a datetime, got {type(moment).__name__}")
    if moment.utcoffset() is None:
        raise Rejected(path, "needs its offset from UTC, such as '2026-01-01T00:00:00Z'")
    try:
        return format_timestamp(moment)
    except OverflowError:
        raise Rejected(path, "is outside the years 1 to 9999 in UTC") from None
