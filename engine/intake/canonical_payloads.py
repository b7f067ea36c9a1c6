"""Compares payloads in canonical form: a log may be older than a rule of its domains."""

import msgspec

from pagefold.domains import DOMAINS, InvalidPayload
from pagefold.domains.domain import encode
from pagefold.engine.stores.event_state import EventState
from pagefold.engine.stores.log_records import StoredEvent

_domains = {domain.name: (msgspec.json.Decoder(domain.payload), domain.validate) for domain in DOMAINS}
_state = msgspec.json.Decoder(EventState)


def is_same_content(topic: str, stored: bytes, content: bytes) -> bool:
    """Whether a stored payload equals a canonical one, perhaps in another spelling."""
    return stored == content or canonical_payload(topic, stored) == content


def canonical_payload(topic: str, payload: bytes) -> bytes:
    """A payload in canonical form, as it would be stored; unchanged if its domain would reject it."""
    if topic not in _domains:
        return payload
    decoder, validate = _domains[topic]
    try:
        return encode(validate(decoder.decode(payload)))
    except (msgspec.MsgspecError, InvalidPayload, RecursionError):
        return payload


def content_of(event: StoredEvent) -> bytes | None:
    """The canonical payload of a stored event; None for one that another application wrote."""
    try:
        return bytes(_state.decode(event.state).payload)
    except msgspec.MsgspecError:  # an application of the eventsourcing library wrote it
        return None
