"""CloudEvents 1.0 as domain events: structured and batch mode in JSON, binary mode in headers and a body.

`ATTRIBUTES` lists the attributes that are used. `data` is the payload, as JSON: an explicit null withdraws; an event
without data is rejected.

Other attributes, such as `dataschema`, `traceparent` and extensions, are allowed and ignored. `data_base64` is accepted
if it holds JSON. A `datacontenttype` other than JSON is rejected.
"""

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import unquote, unquote_to_bytes

import msgspec

from pagefold.domains import DOMAINS
from pagefold.domains.domain import DECODE_ERRORS
from pagefold.domains.values import MAX_INTEGER
from pagefold.engine.configuration.cloudevents_config import CloudEventsConfig
from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.event_parser import MAX_EVENT_BYTES
from pagefold.engine.intake.formats.json_bodies import Headers, batch_size_error, elements_of
from pagefold.engine.intake.mapping.value_conversion import parse_timestamp
from pagefold.engine.intake.strict_json import BYTE_ORDER_MARK, check_repeated_keys, decode_rejection
from pagefold.projections.streams import EVERY_CHANNEL

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"

Mode: TypeAlias = Literal["structured", "batch", "binary"]


class ForeignEvent(NamedTuple):
    """A CloudEvent that a contract of `source` reads, as JSON in structured mode."""

    source: str
    text: bytes


class Attribute(NamedTuple):
    """An attribute that is used: the `part` of an event that it gives, if any, and how it is read."""

    name: str
    part: str | None
    meaning: str
    required: bool = True


ATTRIBUTES: Mapping[str, Attribute] = {
    each.name: each
    for each in (
        Attribute("specversion", None, "`1.0`"),
        Attribute("id", "id", "The sender's id of the event"),
        Attribute("source", "source", "A configured source, or a URI that ends in one: `https://shop.example/erp`"),
        Attribute("type", "type", "A domain, or a dotted name that ends in one: `com.example.pricing`"),
        Attribute("subject", "sku", "The SKU"),
        Attribute("time", "occurredAt", "When it occurred, as RFC 3339 with an offset"),
        Attribute("sequence", "sourceVersion", 'An integer, or its digits: `"0010"` is 10, and later than `"9"`'),
        Attribute("sequencetype", None, "`Integer`: other types cannot be compared", required=False),
        Attribute("channel", "channel", "The channel; without it, every channel", required=False),
        Attribute(
            "epoch",
            "epoch",
            "The epoch of a restarted counter, written as `sequence`: 0 to 511",
            required=False,
        ),
        Attribute("correlationid", "correlationId", "What groups the event with others", required=False),
        Attribute("datacontenttype", None, "A JSON type, in UTF-8; others are rejected", required=False),
    )
}
"""Every attribute that is used, by name. In binary mode `datacontenttype` is Content-Type."""

DATA = "data"
_PREFIX = b"ce-"
BINARY_HEADERS: Mapping[str, Attribute] = {
    _PREFIX.decode() + name: each for name, each in ATTRIBUTES.items() if name != "datacontenttype"
}
"""The attributes that binary mode puts in headers of their own, by header."""

_NAMES = {each.part: name for name, each in ATTRIBUTES.items() if each.part is not None} | {"payload": DATA}
_NULL = b"null"
_SPACE = b" \t\r\n"
_domains = frozenset(domain.name for domain in DOMAINS)
_attribute = re.compile(r"[a-z0-9]+", re.ASCII)
_digits = re.compile(r"-?\d{1,40}", re.ASCII)
_media_type = re.compile(r"[\w.!#$&^-]+/(?:json|[\w.!#$&^-]+\+json)", re.ASCII | re.IGNORECASE)
_charset = re.compile(r'charset\s*=\s*"?([^";\s]+)', re.IGNORECASE)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder = msgspec.json.Encoder()

Attributes: TypeAlias = Mapping[str, object]
Found: TypeAlias = DomainEvent | ForeignEvent | Rejected
NOTHING_FOREIGN: Mapping[str, CloudEventsConfig] = {}


def mode_of(headers: Headers) -> Mode | None:
    """The mode in which a request carries CloudEvents; None if it carries none."""
    binary = False
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"content-type":
            media_type = value.partition(b";")[0].strip().lower().decode("latin-1")
            if media_type in {STRUCTURED, BATCH}:
                return "structured" if media_type == STRUCTURED else "batch"
        binary = binary or lowered == b"ce-specversion"
    return "binary" if binary else None


def in_cloudevents_terms(refused: Rejected) -> Rejected:
    """The validator's rejection, with the name that the part has in CloudEvents."""
    first, dot, rest = refused.path.partition(".")
    return Rejected(_NAMES.get(first, first) + dot + rest, refused.reason)


class CloudEventReader:
    """Reads CloudEvents of the given sources. Every error names its attribute.

    `foreign` are the events that contracts read, by source; they are recognised, and not read here.
    """

    def __init__(self, sources: Collection[str], foreign: Mapping[str, CloudEventsConfig] = NOTHING_FOREIGN) -> None:
        self._sources = frozenset(sources)
        self._foreign = foreign

    def structured(self, body: bytes) -> Found:
        """Reads one JSON document."""
        try:
            if self._foreign and (source := self._foreign_source(_head_of(body))) is not None:
                return ForeignEvent(source, body)
            members = _read(body)
            attributes = _attributes_in(members)
            _check_head(attributes)
            return self._event(attributes, _data_in(members))
        except Rejected as refused:
            return refused.with_traceback(None)

    def batch(self, body: bytes) -> list[Found]:
        """Reads each event of a JSON array. Raises `Rejected` if the body is not an array or has too many."""
        elements = elements_of(body)
        if elements is None:
            raise Rejected("", "a batch is a JSON array of events")
        if (refused := batch_size_error(len(elements))) is not None:
            raise refused
        return [self.structured(element) for element in elements]

    def binary(self, headers: Headers, body: bytes) -> Found:
        """Reads an event with its attributes in headers and its data in the body. An empty body is no data."""
        try:
            attributes = _attributes_of(headers)
            if self._foreign and (source := self._foreign_source(attributes)) is not None:
                return ForeignEvent(source, structured_text(attributes, body))
            _check_head(attributes)
            return self._event(attributes, _data_of(body))
        except Rejected as refused:
            return refused.with_traceback(None)

    def _foreign_source(self, attributes: Attributes) -> str | None:
        """The first source whose contract reads an event."""
        named, kind = attributes.get("source"), attributes.get("type")
        return next((source for source, each in self._foreign.items() if each.takes(named, kind)), None)

    def _event(self, attributes: Attributes, data: bytes) -> DomainEvent:
        return DomainEvent(
            type=_domain_in(_required(attributes, "type")),
            sku=_required(attributes, "subject"),
            channel=_optional(attributes, "channel") or EVERY_CHANNEL,
            source=self._source_in(_required(attributes, "source")),
            source_version=_sequence_in(attributes),
            occurred_at=_time_in(_required(attributes, "time")),
            payload=None if data == _NULL else data,
            id=_required(attributes, "id"),
            correlation_id=_optional(attributes, "correlationid"),
            epoch=_epoch_in(attributes),
        )

    def _source_in(self, given: str) -> str:
        if given in self._sources:
            return given
        last = unquote(re.split(r"[/:]", re.split(r"[?#]", given, maxsplit=1)[0].rstrip("/"))[-1])
        if last in self._sources:
            return last
        raise Rejected("source", f"{given!r:.100} is not a configured source, and does not end in one")


# --- attributes -----------------------------------------------------------------------------------


def _given(attributes: Attributes, name: str) -> object:
    """The value of an attribute; None for an optional one that is absent."""
    value = attributes.get(name)
    if value is None and ATTRIBUTES[name].required:
        raise Rejected(name, "is required")
    return value


def _optional(attributes: Attributes, name: str) -> str | None:
    value = _given(attributes, name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Rejected(name, f"expected a string, got {type(value).__name__}")
    if not value:
        raise Rejected(name, "must not be empty")
    return value


def _required(attributes: Attributes, name: str) -> str:
    value = _optional(attributes, name)
    assert value is not None, name  # noqa: S101  # the table says that it is required
    return value


def _domain_in(given: str) -> str:
    domain = given.rpartition(".")[2]
    if domain not in _domains:
        names = ", ".join(each.name for each in DOMAINS)
        raise Rejected(
            "type", f"{given!r:.100} is not a domain, and does not end in '.' and one; the domains are {names}"
        )
    return domain


def _sequence_in(attributes: Attributes) -> int:
    kind = _optional(attributes, "sequencetype")
    if kind not in {None, "Integer"}:
        raise Rejected("sequencetype", f"{kind!r:.50} is not supported; write 'Integer', or leave it out")
    sequence = _integer("sequence", _given(attributes, "sequence"))
    if not 0 <= sequence <= MAX_INTEGER:
        raise Rejected("sequence", "is not between 0 and 2^53-1")
    return sequence


def _epoch_in(attributes: Attributes) -> int | None:
    """The epoch; the validator checks its range."""
    given = _given(attributes, "epoch")
    return None if given is None else _integer("epoch", given)


def _integer(name: str, given: object) -> int:
    if isinstance(given, str) and _digits.fullmatch(given) is not None:
        given = int(given)
    if not isinstance(given, int) or isinstance(given, bool):
        shown = f"{given!r:.50}" if isinstance(given, str | float) else type(given).__name__
        raise Rejected(name, f"expected an integer or its digits, got {shown}")
    return given


def _time_in(given: str) -> datetime:
    return parse_timestamp(given, "time")


def _check_head(attributes: Attributes) -> None:
    """Checks the attributes on which the meaning of the others depends."""
    if (version := _required(attributes, "specversion")) != "1.0":
        raise Rejected("specversion", f"{version!r:.50} is not supported; use '1.0'")
    given = _optional(attributes, "datacontenttype")
    if given is None:
        return
    media_type, _, parameters = given.partition(";")
    if _media_type.fullmatch(media_type.strip()) is None:
        raise Rejected("datacontenttype", f"{given!r:.100} is not JSON; the payload must be JSON")
    charset = _charset.search(parameters)
    if charset is not None and charset[1].lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise Rejected("datacontenttype", f"{given!r:.100}: JSON must be in UTF-8")


def _head_of(body: bytes) -> Attributes:
    """The attributes by which an event is recognised; none if it cannot be read."""
    try:
        members = _members.decode(body)
        return {name: msgspec.json.decode(members[name]) for name in ("source", "type") if name in members}
    except DECODE_ERRORS:
        return {}


# --- structured mode ------------------------------------------------------------------------------


def _read(body: bytes) -> dict[str, msgspec.Raw]:
    if len(body) > MAX_EVENT_BYTES:
        raise Rejected("", f"has {len(body)} bytes; at most {MAX_EVENT_BYTES} are allowed")
    try:
        members = _members.decode(body)
        if b"\\u" in body or body.count(b":") != _encoder.encode(members).count(b":"):
            msgspec.json.decode(body)
            check_repeated_keys(body)  # a repeated key is dropped with its colon
    except DECODE_ERRORS as error:
        raise decode_rejection(error, body) from None
    return members


def _attributes_in(members: Mapping[str, msgspec.Raw]) -> Attributes:
    attributes: dict[str, object] = {}
    for name, raw in members.items():
        if name in {"data", "data_base64"}:
            continue
        if _attribute.fullmatch(name) is None:
            raise Rejected(name, "is not an attribute name: use lower-case letters and digits only")
        attributes[name] = _value_of(name, raw)
    return attributes


def _value_of(name: str, raw: msgspec.Raw) -> object:
    text = bytes(raw)
    try:
        value: object = msgspec.json.decode(text)
    except DECODE_ERRORS as error:
        raise decode_rejection(error, text, name) from None
    if isinstance(value, dict | list):
        raise Rejected(name, "is an attribute: expected a string, an integer or a boolean")
    return value


def _data_in(members: Mapping[str, msgspec.Raw]) -> bytes:
    """The JSON text of the payload."""
    encoded = members.get("data_base64")
    if encoded is None or bytes(encoded) == _NULL:
        if "data" not in members:
            raise Rejected("data", "is required; an explicit null withdraws")
        return bytes(members["data"])
    if "data" in members:
        raise Rejected("data_base64", "must not be given together with data")
    text = _value_of("data_base64", encoded)
    if not isinstance(text, str):
        raise Rejected("data_base64", f"expected a string, got {type(text).__name__}")
    try:
        return base64.b64decode(text, validate=True).removeprefix(BYTE_ORDER_MARK).strip(_SPACE)
    except (binascii.Error, ValueError):
        raise Rejected("data_base64", "is not base64") from None


# --- binary mode ----------------------------------------------------------------------------------


def structured_text(attributes: Mapping[str, object], body: bytes) -> bytes:
    """An event of binary mode as one JSON document. Data that is not JSON is in base64."""
    if not body:
        return msgspec.json.encode(attributes)
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except DECODE_ERRORS:
        return msgspec.json.encode({**attributes, "data_base64": base64.b64encode(body).decode()})
    return msgspec.json.encode({**attributes, "data": msgspec.Raw(body)})


def _attributes_of(headers: Headers) -> Attributes:
    attributes: dict[str, str] = {}
    for header, value in headers:
        lowered = header.lower()
        if lowered == b"content-type":
            name, text = "datacontenttype", value.decode("latin-1")
        elif lowered.startswith(_PREFIX):
            name = _name_of(lowered)
            text = _text_of(name, value)
        else:
            continue
        if name in attributes:
            raise Rejected(name, "is repeated")
        attributes[name] = text
    return attributes


def _data_of(body: bytes) -> bytes:
    if not body:
        raise Rejected("data", "is required: the body is empty; `null` withdraws")
    return body.strip(_SPACE)


def _name_of(header: bytes) -> str:
    name = header[len(_PREFIX) :].decode("latin-1")
    if name == "datacontenttype":
        raise Rejected(name, "must be the header Content-Type in binary mode")
    if _attribute.fullmatch(name) is None:
        raise Rejected(name, "is not an attribute name: use lower-case letters and digits only")
    return name


def _text_of(name: str, value: bytes) -> str:
    """A header's value without quotes, and percent-decoded once."""
    if len(value) > 1 and value.startswith(b'"') and value.endswith(b'"'):
        value = re.sub(rb"\\(.)", rb"\1", value[1:-1])
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError as error:
        raise Rejected(name, f"is not UTF-8: {error.reason}") from None
