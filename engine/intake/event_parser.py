"""Parses events: the envelope strictly; the payload stays undecoded until its domain is known."""

import msgspec

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.domains.numbers import exact_number
from pagefold.domains.values import Timestamp
from pagefold.engine.errors import Rejected
from pagefold.engine.events import NULL, DomainEvent
from pagefold.engine.intake.strict_json import check_repeated_keys, decode_rejection

MAX_EVENT_BYTES = 1024 * 1024
"""Bytes of one event, as JSON."""

_ESCAPED_COLON = b"\\u003"
"""The start of an escaped colon; the last digit may be upper or lower case."""

_decode_any = msgspec.json.Decoder(float_hook=exact_number).decode
_sorted = msgspec.json.Encoder(order="sorted").encode


class EventEnvelope(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, rename="camel"):
    """An event as written in files and requests. The payload stays undecoded."""

    type: str
    sku: str
    channel: str
    source: str
    source_version: int
    occurred_at: msgspec.Raw
    payload: msgspec.Raw
    id: str | None = None
    correlation_id: str | None = None
    epoch: int | None = None
    based_on: int | dict[str, int] | None = None


def canonical_json(payload: bytes) -> bytes:
    """The same JSON with sorted keys, or b"" if it needs a closer check.

    The log holds a validated payload in this form, perhaps with defaults added by its domain.
    """
    try:
        canonical = _sorted(_decode_any(payload))
    except DECODE_ERRORS:
        return b""
    # a repeated key is dropped with its colon, unless an escape hides one
    is_lossless = payload.count(b":") == canonical.count(b":") and _ESCAPED_COLON not in payload
    return canonical if is_lossless else b""


_REQUIRED = 7
"""Keys that every event has."""


_envelope = msgspec.json.Decoder(EventEnvelope)


_moment = msgspec.json.Decoder(Timestamp)


parse_envelope = _envelope.decode
"""Parses the envelope of an event only. Raises one of `DECODE_ERRORS`."""


def parse_event(line: bytes) -> DomainEvent:
    """Parses one JSON document as an event. Raises `Rejected` if it is not JSON or not an event.

    The payload stays as the bytes given; `EventValidator.encode` validates it.
    """
    if len(line) > MAX_EVENT_BYTES:
        raise Rejected("", f"has {len(line)} bytes; at most {MAX_EVENT_BYTES} are allowed")
    try:
        envelope = parse_envelope(line)
    except DECODE_ERRORS as error:
        raise decode_rejection(error, line) from None
    return parse_payload(envelope, line)


def parse_payload(envelope: EventEnvelope, line: bytes) -> DomainEvent:
    """Parses the rest of a line whose envelope was parsed before. Raises `Rejected`."""
    if len(line) > MAX_EVENT_BYTES:
        raise Rejected("", f"has {len(line)} bytes; at most {MAX_EVENT_BYTES} are allowed")
    try:
        occurred_at = _moment.decode(envelope.occurred_at)
    except DECODE_ERRORS as error:
        raise decode_rejection(error, line, "occurredAt") from None
    payload = bytes(envelope.payload)
    _check_envelope(line, payload, envelope)
    return DomainEvent(
        type=envelope.type,
        sku=envelope.sku,
        channel=envelope.channel,
        source=envelope.source,
        source_version=envelope.source_version,
        occurred_at=occurred_at,
        payload=None if payload == NULL else payload,
        id=envelope.id,
        correlation_id=envelope.correlation_id,
        epoch=envelope.epoch,
        based_on=envelope.based_on,
    )


def _check_envelope(line: bytes, payload: bytes, envelope: EventEnvelope) -> None:
    """Rejects keys repeated outside the payload. Counts colons first; scans every key only if they differ."""
    if envelope.based_on is not None:
        check_repeated_keys(line)
        return
    colons = line.count(b":") - payload.count(b":")
    optional = (envelope.id is not None) + (envelope.correlation_id is not None) + (envelope.epoch is not None)
    keys = _REQUIRED + optional + bytes(envelope.occurred_at).count(b":")
    if b"\\u" not in line:
        if colons == keys:  # so no text contains one either
            return
        texts = (
            envelope.type,
            envelope.sku,
            envelope.channel,
            envelope.source,
            envelope.id or "",
            envelope.correlation_id or "",
        )
        if colons == keys + sum([text.count(":") for text in texts]):
            return
    check_repeated_keys(line)
