"""What carriers put around a message: Google's Pub/Sub, Amazon's SNS, and others that have it as a text."""

import base64
import binascii
from functools import partial

import msgspec

from pagefold.engine.configuration.webhook_config import EnvelopeConfig
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.formats.request_parts import RequestParts, replaced


def opened(document: object, place: EnvelopeConfig) -> bytes:
    """The text of the message in a request. Raises `Rejected` if it has none."""
    value = document
    for name in place.member.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, str) or not value:
        raise Rejected(place.member, "is not there, or no text: the message that it should have cannot be read")
    if place.encoding == "json_text":
        return value.encode(errors="surrogatepass")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Rejected(place.member, "is not base64") from None


def enveloped(parts: RequestParts, request: bytes, place: EnvelopeConfig) -> RequestParts:
    """The parts of a message, of which each is stored in an envelope such as that of the request."""
    return parts.inside(partial(_closed, request, place))


def _closed(request: bytes, place: EnvelopeConfig, message: bytes) -> bytes:
    """The request with another message in it."""
    text = message if place.encoding == "json_text" else base64.b64encode(message)
    return replaced(request, place.member.split("."), msgspec.json.encode(text.decode()))
