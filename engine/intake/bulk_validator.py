"""Validates many events at once, with the results of `EventValidator`: those of callers, and the lines of snapshots.

What is valid as it is takes few calls for each event. Anything unusual has no result here: ask `EventValidator` for it,
which is also the only one that says what is wrong with an event.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial, reduce
from operator import or_
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from pagefold.domains import DOMAINS, AnyDomain, InvalidPayload
from pagefold.domains.domain import DECODE_ERRORS, ChannelContext, Rules, encode, encode_all
from pagefold.domains.numbers import exact_number
from pagefold.domains.values import MAX_INTEGER, Timestamp, format_timestamp, format_timestamps
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent, ValidatedEvent
from pagefold.engine.intake.causality import check_based_on
from pagefold.engine.intake.event_parser import MAX_EVENT_BYTES
from pagefold.engine.intake.event_validator import check_identifiers, rules_of
from pagefold.engine.intake.strict_json import check_keys, check_null_characters
from pagefold.engine.stores.event_state import EncodedEvent, StateEncoder
from pagefold.projections.streams import EVERY_CHANNEL, is_plain_sku

CHUNK_LINES = 250
"""Lines that are decoded together. One unreadable line costs its chunk the time that the chunk saves."""

_WITHOUT_FRACTION = len("0001-01-01T00:00:00Z")

_INVALID: Final = False
_ENCODED_INVALID = encode(_INVALID)

_PAYLOAD_ERRORS = (*DECODE_ERRORS, InvalidPayload)

_moment = msgspec.json.Decoder(Timestamp)
_new_encoded_event = partial(tuple.__new__, EncodedEvent)  # takes half the time of its constructor


class _Line(msgspec.Struct, frozen=True, gc=False, rename="camel", tag_field="type"):
    """The part of a line that is not known yet. Each domain has a subclass with its payload."""

    channel: str
    source_version: int
    occurred_at: str
    payload: Any
    id: str | None = None
    correlation_id: str | None = None


class _Place(NamedTuple):
    """What is known of the events of a domain, channel and source.

    `suffix` is the name of their streams without the SKU. `decode` and `check` raise an error of `_PAYLOAD_ERRORS`.
    """

    suffix: str
    decode: Callable[[bytes], msgspec.Struct]
    check: Callable[[msgspec.Struct], msgspec.Struct]


_ReadEvent: TypeAlias = tuple[str, datetime, msgspec.Struct | None]
"""The stream of an event, its time in UTC, and its payload in canonical form; None if it withdraws."""


def _line_of(domain: AnyDomain) -> type[msgspec.Struct]:
    payload = ("payload", domain.payload | None)
    return msgspec.defstruct("Line", [payload], bases=(_Line,), tag=domain.name, frozen=True, gc=False, kw_only=True)


def _check_of(
    domain: AnyDomain, context: ChannelContext | None, rules: Rules | None
) -> Callable[[msgspec.Struct], msgspec.Struct]:
    """Brings a payload into canonical form. Raises `InvalidPayload` if its domain, channel or rules reject it."""
    checks: list[Callable[[msgspec.Struct], InvalidPayload | None]] = []
    if context is not None and (mismatch := domain.channel_mismatch) is not None:
        checks.append(lambda payload: mismatch(payload, context))
    if rules is not None and (violates := domain.violates) is not None:
        checks.append(lambda payload: violates(payload, rules))
    validate = domain.validate

    def check(payload: msgspec.Struct) -> msgspec.Struct:
        valid: msgspec.Struct = validate(payload)
        for each in checks:
            if (invalid := each(valid)) is not None:
                raise invalid
        return valid

    return check if checks else validate


class BulkValidator:
    """Validates events, and lines of a known shape, under one configuration."""

    def __init__(self, config: Config) -> None:
        self._names = {_line_of(domain): domain.name for domain in DOMAINS}
        lines = list[reduce(or_, self._names)]  # type: ignore[misc, valid-type]  # the type is only known at run time
        self._decode: Callable[[bytes], list[_Line]] = msgspec.json.Decoder(lines, float_hook=exact_number).decode
        self._places = _places_of(config)
        self._by_suffix = {place.suffix.encode(): place for place in self._places.values()}

    # --- events ---------------------------------------------------------------------------------------

    def encode(self, events: Sequence[DomainEvent], states: StateEncoder, number: int) -> list[EncodedEvent | None]:
        """Returns each event as `EventValidator.encode` would, or None where that one must be asked.

        The events are numbered from `number`, for the ids that are made.
        """
        read = [self._read(event) for event in events]
        found = [each for each in read if each is not None]
        contents = iter(encode_all([payload for _, _, payload in found]))
        moments = iter(format_timestamps([moment for _, moment, _ in found]))
        encoded: list[EncodedEvent | None] = []
        for place, (event, each) in enumerate(zip(events, read, strict=True), number):
            if each is None:
                encoded.append(None)
                continue
            content, moment, given = next(contents), next(moments), event.payload
            if (
                event.id is not None
                or event.correlation_id is not None
                or event.based_on is not None
                or not _is_faithful(given, content)
            ):
                encoded.append(_encode_carefully(event, place, each[0], moment, content, states))
                continue
            state = states.template % (place, moment, content)
            encoded.append(
                _new_encoded_event((each[0], event.source_version, event.type, state, content, None, event.tie))
            )
        return encoded

    def _read(self, event: DomainEvent) -> _ReadEvent | None:
        """An event whose payload is valid. None if it is not, or if anything is unusual."""
        given, version, sku = event.payload, event.source_version, event.sku
        moment: datetime | None = event.occurred_at
        if not (
            type(event.type) is type(event.channel) is type(event.source) is type(sku) is str
            and (place := self._places.get((event.type, event.channel, event.source))) is not None
            and is_plain_sku(sku)
            and type(version) is int
            and 0 <= version <= MAX_INTEGER
            and type(moment) is datetime
            and event.epoch is None
        ):
            return None
        if moment.tzinfo is not UTC and (moment := _in_utc(moment)) is None:
            return None
        if given is None:
            return sku + place.suffix, moment, None
        if type(given) is not bytes:
            return None
        try:
            return sku + place.suffix, moment, place.check(place.decode(given))
        except _PAYLOAD_ERRORS:
            return None

    # --- lines of snapshots ---------------------------------------------------------------------------

    def validate(self, lines: Sequence[bytes], streams: Sequence[bytes]) -> list[ValidatedEvent | None]:
        """Returns each line as `EventValidator.validate` would, or None where that one must be asked.

        The head content of a line is known before it is read (`engine.snapshots.line_templates`): its envelope is
        valid, and it has no escapes and no repeated keys.
        """
        events: list[ValidatedEvent | None] = []
        for start in range(0, len(lines), CHUNK_LINES):
            run = lines[start : start + CHUNK_LINES]
            try:
                events += self._examine(run, streams[start : start + CHUNK_LINES])
            except DECODE_ERRORS:
                events += [None] * len(run)
        return events

    def _examine(self, lines: Sequence[bytes], streams: Sequence[bytes]) -> list[ValidatedEvent | None]:
        """Raises one of `DECODE_ERRORS` if any line cannot be read."""
        decoded = self._decode(b"[%b]" % b",".join(lines))
        names = self._names
        payloads = self._checked(decoded, streams)
        events: list[ValidatedEvent | None] = []
        for stream, each, content in zip(streams, decoded, encode_all(payloads), strict=True):
            if content == _ENCODED_INVALID or b"\\" in content:
                events.append(None)
                continue
            moment = each.occurred_at
            moment = f"{moment[:-1]}.000000Z" if len(moment) == _WITHOUT_FRACTION else _fixed_width(moment)
            name, version = names[type(each)], each.source_version
            events.append(ValidatedEvent(stream.decode(), version, name, content, moment, each.id, each.correlation_id))
        if max(map(len, lines)) > MAX_EVENT_BYTES:
            return [None if len(line) > MAX_EVENT_BYTES else each for line, each in zip(lines, events, strict=True)]
        return events

    def _checked(
        self, lines: Sequence[_Line], streams: Sequence[bytes]
    ) -> list[msgspec.Struct | Literal[False] | None]:
        """Each payload in canonical form; `_INVALID` where it is rejected."""
        by_suffix = self._by_suffix
        checked: list[msgspec.Struct | Literal[False] | None] = []
        for line, stream in zip(lines, streams, strict=True):
            payload = line.payload
            if payload is not None:
                try:
                    payload = by_suffix[stream[stream.index(b"/") :]].check(payload)
                except InvalidPayload:
                    payload = _INVALID
            checked.append(payload)
        return checked


def _places_of(config: Config) -> dict[tuple[str, str, str], _Place]:
    """The places by domain, channel and source."""
    rules = rules_of(config)
    contexts = {EVERY_CHANNEL: None, **{channel.name: channel.context() for channel in config.resolved_channels}}
    places: dict[tuple[str, str, str], _Place] = {}
    for domain in DOMAINS:
        decode = msgspec.json.Decoder(domain.payload, float_hook=exact_number).decode
        for source in config.sources_of(domain.name):
            for channel, context in contexts.items():
                check = _check_of(domain, context, rules.get(source))
                places[domain.name, channel, source] = _Place(f"/{channel}/{domain.name}/{source}", decode, check)
    return places


def _in_utc(moment: datetime) -> datetime | None:
    """The same time in UTC; None if it has no offset, or is out of range there."""
    try:
        return None if moment.utcoffset() is None else moment.astimezone(UTC)
    except OverflowError:
        return None


def _is_faithful(given: Mapping[str, object] | bytes | None, content: bytes) -> bool:
    """Whether the payload surely repeats no key, has no U+0000, and is not too large."""
    return not isinstance(given, bytes) or (
        b"\\u" not in given and given.count(b":") == content.count(b":") and len(content) <= MAX_EVENT_BYTES
    )


def _encode_carefully(
    event: DomainEvent, number: int, stream: str, moment: bytes, content: bytes, states: StateEncoder
) -> EncodedEvent | None:
    """A valid event as it will be stored, after a closer look at its JSON and its ids. None if they are rejected."""
    try:
        if isinstance(event.payload, bytes):
            check_keys(event.payload, content)
            check_null_characters("", content)
        check_identifiers(event)
        if event.based_on is not None:
            check_based_on(event.based_on)
    except Rejected:
        return None
    if len(content) > MAX_EVENT_BYTES:
        return None
    version, topic = event.source_version, event.type
    valid = ValidatedEvent(
        stream, version, topic, content, moment.decode(), event.id, event.correlation_id, None, event.based_on
    )
    return EncodedEvent(stream, version, topic, states.state(valid, number), content, None, event.tie)


def _fixed_width(moment: str) -> str:
    """The text as `format_timestamp` writes it. It is known to be a timestamp."""
    return format_timestamp(_moment.decode(f'"{moment}"'))
