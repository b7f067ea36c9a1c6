"""Events as they are written: the envelope, strictly, and a payload that stays undecoded until its domain is known."""

import msgspec

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.domains.numbers import exact_number
from pagefold.domains.values import Timestamp
from pagefold.engine.errors import Rejected
from pagefold.engine.events import NULL, DomainEvent
from pagefold.engine.intake.strict_json import find_repeated_key, refusal

LARGEST_EVENT = 1024 * 1024
"""Bytes of one event, as JSON."""


_ESCAPED_COLON = b"\\u003"
"""How one begins, in small letters or capitals."""


_decode_any = msgspec.json.Decoder(float_hook=exact_number).decode


_sorted = msgspec.json.Encoder(order="sorted").encode


class EventEnvelope(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, rename="camel"):
    """An event as it is written in files and requests. The payload stays undecoded until its domain is known."""

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


def canonical_json(payload: bytes) -> bytes:
    """The same JSON with its keys sorted; empty for what must be looked at closer.

    A payload that came through the door is in the log as this gives it, or with what its domain leaves out.
    """
    try:
        canonical = _sorted(_decode_any(payload))
    except DECODE_ERRORS:
        return b""
    # a key that stands twice takes its colon along when it is dropped, unless an escape hides one
    whole = payload.count(b":") == canonical.count(b":") and _ESCAPED_COLON not in payload
    return canonical if whole else b""


_REQUIRED = 7
"""Keys that every event has."""


_wire = msgspec.json.Decoder(EventEnvelope)


_moment = msgspec.json.Decoder(Timestamp)


parse_envelope = _wire.decode
"""Reads the envelope of an event and no more. Raises one of `DECODE_ERRORS`."""


def parse_event(line: bytes) -> DomainEvent:
    """The event in one JSON document. Raises `Rejected` for what is no JSON, or not of an event's form.

    The payload is kept as the bytes that stood there; whether it suits its domain is for `Door.admit` to say.
    """
    if len(line) > LARGEST_EVENT:
        raise Rejected("", f"has {len(line)} bytes; at most {LARGEST_EVENT} are allowed")
    try:
        wire = parse_envelope(line)
    except DECODE_ERRORS as error:
        raise refusal(error, line) from None
    return parse_payload(wire, line)


def parse_payload(wire: EventEnvelope, line: bytes) -> DomainEvent:
    """The event in a line of which the envelope was read before. Raises `Rejected`."""
    if len(line) > LARGEST_EVENT:
        raise Rejected("", f"has {len(line)} bytes; at most {LARGEST_EVENT} are allowed")
    try:
        occurred_at = _moment.decode(wire.occurred_at)
    except DECODE_ERRORS as error:
        raise refusal(error, line, "occurredAt") from None
    payload = bytes(wire.payload)
    _check_envelope(line, payload, wire)
    return DomainEvent(
        type=wire.type,
        sku=wire.sku,
        channel=wire.channel,
        source=wire.source,
        source_version=wire.source_version,
        occurred_at=occurred_at,
        payload=None if payload == NULL else payload,
        id=wire.id,
        correlation_id=wire.correlation_id,
        epoch=wire.epoch,
    )


def _check_envelope(line: bytes, payload: bytes, wire: EventEnvelope) -> None:
    """No key twice outside the payload. Cleared by counting colons where the texts allow it, else read again."""
    colons = line.count(b":") - payload.count(b":")
    optional = (wire.id is not None) + (wire.correlation_id is not None) + (wire.epoch is not None)
    keys = _REQUIRED + optional + bytes(wire.occurred_at).count(b":")
    if b"\\u" not in line:
        if colons == keys:  # then none is in a text either
            return
        texts = (wire.type, wire.sku, wire.channel, wire.source, wire.id or "", wire.correlation_id or "")
        if colons == keys + sum([text.count(":") for text in texts]):
            return
    find_repeated_key(line)
