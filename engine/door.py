"""The door: every rule that an event must keep to enter the log, the same for files, HTTP and Python callers.

What passes here can be stored, folded and served: nothing that was accepted fails later for its form. The rules are
those of the design's section 9.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from domains import DOMAINS, AnyDomain, Invalid
from domains.domain import Rules, encode
from domains.numbers import exact_number
from domains.values import LARGEST_INTEGER, Moment
from engine.config import Config
from engine.errors import Refused
from engine.events import DomainEvent
from engine.named_epochs import version_in_epoch
from engine.strict_json import check_keys, check_null_characters, find_repeated_key, refusal
from projections.streams import DIGITS, EVERY_CHANNEL, encode_part, fault_of_sku, is_spreadsheet_number, normalise_sku

LARGEST_EVENT = 1024 * 1024
"""Bytes of one event, as JSON."""

LONGEST_IDENTIFIER = 200
"""Characters of `id` and `correlationId`."""

NULL = b"null"
"""The payload of a statement that was taken back."""

_ESCAPED_COLON = b"\\u003"
"""How one begins, in small letters or capitals."""

_decode_any = msgspec.json.Decoder(float_hook=exact_number).decode
_sorted = msgspec.json.Encoder(order="sorted").encode
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Wire(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, rename="camel"):
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


Drift: TypeAlias = Literal["missing", "newer", "changed", "orphan", "recreated"]
"""Why a rebuild made an event.

The log had none; had an older version; had other content; the snapshot has none; the log had a withdrawal of a higher
version, and the snapshot a row that is proof of a record that was made again.
"""


class State(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel", omit_defaults=True):
    """The `state` column of a domain event. Both moments are fixed-width UTC text, as `format_moment` gives.

    An event that a rebuild made has the id of its run, and why it was made, and `anew` where its stream had been taken
    back before; one by which an operator corrects a dead letter has the operator's name, and the letter's. The payload
    comes last: what a state says can be told by how it ends, see `ending`.
    """

    id: str
    occurred_at: str
    recorded_at: str
    correlation_id: str | None = None
    run_id: str | None = None
    drift: Drift | None = None
    anew: bool = False
    operator: str | None = None
    corrects: str | None = None
    payload: msgspec.Raw


def ending(content: bytes) -> bytes:
    """How a state ends that has this canonical payload, and no other one does.

    `"payload":` is a key there: in a text its quotes would be escaped. And it is one of the state itself, not one
    inside its payload: behind the content, which is balanced, a single brace is closed.
    """
    return b'"payload":%b}' % content


def entry(stream: str, version: int, content: bytes) -> bytes:
    """What a stream says with this canonical payload at this version, as `Log.entries` has it."""
    return b"%b\x1f%d\x1f%b" % (stream.encode(), version, ending(content))


BEFORE_CONTENT = len(ending(b"")) - len(b"}")
"""Where the canonical payload begins in the last part of an entry; it ends before the last byte."""


def canonical_of(payload: bytes) -> bytes:
    """The same JSON with its keys sorted; empty for what must be looked at closer.

    A payload that came through the door is in the log as this gives it, or with what its domain leaves out.
    """
    try:
        canonical = _sorted(_decode_any(payload))
    except UNREADABLE:
        return b""
    # a key that stands twice takes its colon along when it is dropped, unless an escape hides one
    whole = payload.count(b":") == canonical.count(b":") and _ESCAPED_COLON not in payload
    return canonical if whole else b""


class Statement(msgspec.Struct, frozen=True, gc=False):
    """An event that keeps to every rule, before it is stored. `content` is its canonical payload.

    Two statements of one version are the same exactly when their contents are. `epoch` is the one that the event names,
    which is in the version then; None where it names none, and enters the current one of its stream.
    """

    originator_id: str
    originator_version: int
    topic: str
    content: bytes
    occurred_at: str
    id: str | None
    correlation_id: str | None
    epoch: int | None = None


class Admission(NamedTuple):
    """An event that was admitted, in the form in which it is stored. `content` is its canonical payload.

    `epoch` as in `Statement`.
    """

    originator_id: str
    originator_version: int
    topic: str
    state: bytes
    content: bytes
    epoch: int | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What is unique in the log, but for corrections."""
        return self.originator_id, self.originator_version


class DriftStates:
    """Writes the `state` of the events that a rebuild makes: those of one run, at one moment, for one reason.

    `anew` as in `State`.
    """

    def __init__(self, run_id: str, recorded_at: str, drift: Drift, *, anew: bool = False) -> None:
        self._recorded_at = recorded_at
        self._run_id = run_id
        self._drift: Drift = drift
        self._anew = anew
        self._made_id = f"{run_id}-withdrawn-" if drift == "orphan" else f"{run_id}-"
        # of most, only three values differ, and none of them can have what JSON escapes
        text = self._encode("\0", "\1", None, b"\2").replace(b"%", b"%%")
        made_id = self._made_id.encode().replace(b"%", b"%%") + b"%d"
        self._template = text.replace(rb"\u0000", made_id).replace(rb"\u0001", b"%b").replace(b"\2", b"%b")

    def state(self, statement: Statement, number: int) -> bytes:
        """That of a statement. If it has no id, one is made of its number, which no other of the run may have."""
        content, occurred_at = statement.content, statement.occurred_at
        if statement.id is None and statement.correlation_id is None:
            return self._template % (number, occurred_at.encode(), content)
        made_id = f"{self._made_id}{number}"
        return self._encode(statement.id or made_id, occurred_at, statement.correlation_id, content)

    def _encode(self, identifier: str, occurred_at: str, correlation_id: str | None, content: bytes) -> bytes:
        return _encoder.encode(
            State(
                id=identifier,
                occurred_at=occurred_at,
                recorded_at=self._recorded_at,
                correlation_id=correlation_id,
                run_id=self._run_id,
                drift=self._drift,
                anew=self._anew,
                payload=msgspec.Raw(content),
            )
        )


def state_of_correction(statement: Statement, recorded_at: str, made_id: str, operator: str, corrects: str) -> bytes:
    """The `state` of an event by which an operator corrects a dead letter."""
    return _encoder.encode(
        State(
            id=statement.id or made_id,
            occurred_at=statement.occurred_at,
            recorded_at=recorded_at,
            payload=msgspec.Raw(statement.content),
            correlation_id=statement.correlation_id,
            operator=operator,
            corrects=corrects,
        )
    )


class _Gate(NamedTuple):
    """One domain at the door: how its payloads are read, and by whom it may be written."""

    domain: AnyDomain
    decoder: msgspec.json.Decoder[msgspec.Struct]
    writers: frozenset[str]


_REQUIRED = 7
"""Keys that every event has."""

_wire = msgspec.json.Decoder(Wire)
_moment = msgspec.json.Decoder(Moment)
_encoder = msgspec.json.Encoder()


read_wire = _wire.decode
"""Reads the envelope of an event and no more. Raises one of `UNREADABLE`."""


_WITH_FRACTION = len("0001-01-01T00:00:00.000000")


def format_moment(moment: datetime) -> str:
    """Fixed-width UTC text with microseconds, which sorts as moments do.

    Raises `OverflowError` outside years 1 to 9999.
    """
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    text = _encoder.encode(moment).decode()[1:-2]  # a sixth of the time that `isoformat` takes
    return f"{text}Z" if len(text) == _WITH_FRACTION else f"{text}.000000Z"


def earlier(moment: str, seconds: float) -> str:
    """A moment so many seconds before another, both as `format_moment` gives them; the first of all if need be."""
    try:
        return format_moment(datetime.fromisoformat(moment) - timedelta(seconds=seconds))
    except OverflowError:
        return format_moment(datetime.min.replace(tzinfo=UTC))


def read_event(line: bytes) -> DomainEvent:
    """The event in one JSON document. Raises `Refused` for what is no JSON, or not of an event's form.

    The payload is kept as the bytes that stood there; whether it suits its domain is for `Door.admit` to say.
    """
    if len(line) > LARGEST_EVENT:
        raise Refused("", f"has {len(line)} bytes; at most {LARGEST_EVENT} are allowed")
    try:
        wire = read_wire(line)
    except UNREADABLE as error:
        raise refusal(error, line) from None
    return finish_reading(wire, line)


def finish_reading(wire: Wire, line: bytes) -> DomainEvent:
    """The event in a line of which the envelope was read before. Raises `Refused`."""
    if len(line) > LARGEST_EVENT:
        raise Refused("", f"has {len(line)} bytes; at most {LARGEST_EVENT} are allowed")
    try:
        occurred_at = _moment.decode(wire.occurred_at)
    except UNREADABLE as error:
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


def _check_envelope(line: bytes, payload: bytes, wire: Wire) -> None:
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


_SPREADSHEET = (
    "%r looks like a number that a spreadsheet has rounded: several SKUs may have become one; export the column as "
    'text or, where SKUs do look like that, set spreadsheet_skus = "accept" for the source'
)


def rules_of(config: Config) -> dict[str, Rules]:
    """The rules of the sources that have any which are not the usual ones."""
    rules = {name: config.rules(name) for name in config.sources}
    return {name: each for name, each in rules.items() if each != Rules()}


class Door:
    """Admits events under one configuration. `channels` are those that an event may name."""

    def __init__(self, config: Config) -> None:
        self._gates = {
            domain.name: _Gate(
                domain,
                msgspec.json.Decoder(domain.payload, float_hook=exact_number),
                frozenset(config.writers(domain.name)),
            )
            for domain in DOMAINS
        }
        self._views = {channel.name: channel.view() for channel in config.made_for}
        self._sources = frozenset(config.sources)
        self.channels = frozenset((EVERY_CHANNEL, *self._views))
        self._rules = rules_of(config)
        self._takes_spreadsheets = {
            name for name, source in config.sources.items() if source.spreadsheet_skus == "accept"
        }

    def admit(self, event: DomainEvent, recorded_at: str, made_id: str) -> Admission:
        """The event as it will be stored. `made_id` is used when it has no id of its own. Raises `Refused`."""
        said = self.examine(event)
        state = State(
            id=said.id or made_id,
            occurred_at=said.occurred_at,
            recorded_at=recorded_at,
            correlation_id=said.correlation_id,
            payload=msgspec.Raw(said.content),
        )
        return Admission(
            said.originator_id, said.originator_version, said.topic, _encoder.encode(state), said.content, said.epoch
        )

    def examine(self, event: DomainEvent) -> Statement:
        """What the event states, when it keeps to every rule. Raises `Refused`."""
        stream, gate = self._place(event)
        _check_version(event.source_version)
        version = event.source_version if event.epoch is None else version_in_epoch(event, event.epoch)
        _check_identifier("id", event.id)
        _check_identifier("correlationId", event.correlation_id)
        content = NULL if event.payload is None else self._content(event, event.payload, gate)
        return Statement(
            stream,
            version,
            event.type,
            content,
            _admit_moment("occurredAt", event.occurred_at),
            event.id,
            event.correlation_id,
            event.epoch,
        )

    def stream_of(self, event: DomainEvent | Wire) -> str:
        """The stream of an event, whatever it states there. Raises `Refused` when it can be in none."""
        return self._place(event)[0]

    def _place(self, event: DomainEvent | Wire) -> tuple[str, _Gate]:
        gate = self._gate(event)
        sku = _admit_sku(event.sku)
        if sku[0] in DIGITS and is_spreadsheet_number(sku) and event.source not in self._takes_spreadsheets:
            raise Refused("sku", _SPREADSHEET % sku)
        return f"{encode_part(sku)}/{event.channel}/{event.type}/{event.source}", gate

    def _gate(self, event: DomainEvent | Wire) -> _Gate:
        if type(event.type) is type(event.source) is type(event.channel) is str:
            gate = self._gates.get(event.type)
            listens = event.channel == EVERY_CHANNEL or event.channel in self._views
            if gate is not None and event.source in gate.writers and listens:
                return gate
        raise self._why_not(event)

    def _why_not(self, event: DomainEvent | Wire) -> Refused:
        for name, value in (("type", event.type), ("source", event.source), ("channel", event.channel)):
            if type(value) is not str:
                return Refused(name, f"expected a string, got {type(value).__name__}")
        if event.type not in self._gates:
            return Refused("type", f"{event.type!r:.100} is no domain; there are {', '.join(self._gates)}")
        if event.source not in self._sources:
            return Refused("source", f"{event.source!r:.100} is not in the configuration")
        if event.source not in self._gates[event.type].writers:
            return Refused("source", f"{event.source!r} was not given the domain {event.type}")
        return Refused("channel", f"{event.channel!r:.100} is neither '*' nor a channel of the configuration")

    def _check_rules(self, event: DomainEvent, payload: msgspec.Struct, gate: _Gate) -> None:
        rules = self._rules.get(event.source)
        if rules is None or gate.domain.violates is None:
            return
        violation = gate.domain.violates(payload, rules)
        if violation is not None:
            raise Refused(f"payload.{violation.path}", violation.reason)

    def _content(self, event: DomainEvent, given: Mapping[str, object] | bytes, gate: _Gate) -> bytes:
        """The canonical payload."""
        payload = _decode(given, gate) if isinstance(given, bytes) else _convert(given, gate)
        try:
            payload = gate.domain.admit(payload)
            content = encode(payload)
        except Invalid as invalid:
            raise Refused(f"payload.{invalid.path}", invalid.reason) from None
        except UnicodeEncodeError:
            raise Refused("payload", "must not contain a lone surrogate") from None
        except TypeError as error:  # a subclass of str, int or float, which no encoder takes
            raise Refused("payload", f"is not JSON: {error}") from None
        if isinstance(given, bytes):
            check_keys(given, content, "payload")
        check_null_characters("payload", content)
        if len(content) > LARGEST_EVENT:
            raise Refused("payload", f"has {len(content)} bytes; at most {LARGEST_EVENT} are allowed")
        if self._rules:
            self._check_rules(event, payload, gate)
        if gate.domain.fits is not None and event.channel != EVERY_CHANNEL:
            misfit = gate.domain.fits(payload, self._views[event.channel])
            if misfit is not None:
                raise Refused(f"payload.{misfit.path}", misfit.reason)
        return content


def _decode(text: bytes, gate: _Gate) -> msgspec.Struct:
    try:
        payload = gate.decoder.decode(text)
    except UNREADABLE as error:
        raise refusal(error, text, "payload") from None
    return payload


def _convert(mapping: Mapping[str, object], gate: _Gate) -> msgspec.Struct:
    if not isinstance(mapping, Mapping):
        raise Refused("payload", f"expected a mapping, or JSON as bytes, got {type(mapping).__name__}")
    try:
        payload: msgspec.Struct = msgspec.convert(dict(mapping), gate.domain.payload)
    except (msgspec.MsgspecError, RecursionError, TypeError, ValueError) as error:
        raise refusal(error, mapping, "payload") from None
    return payload


def _admit_sku(given: str) -> str:
    if not isinstance(given, str):
        raise Refused("sku", f"expected a string, got {type(given).__name__}")
    sku = normalise_sku(given)
    if (fault := fault_of_sku(sku)) is not None:
        raise Refused("sku", fault)
    return sku


def _check_version(version: int) -> None:
    if type(version) is not int:
        raise Refused("sourceVersion", f"expected an integer, got {type(version).__name__}")
    if not 0 <= version <= LARGEST_INTEGER:
        raise Refused("sourceVersion", "is not between 0 and 2^53-1")


def _check_identifier(path: str, identifier: str | None) -> None:
    if identifier is not None:
        check_text(path, identifier, LONGEST_IDENTIFIER)


def check_text(path: str, text: str, longest: int) -> None:
    """Raises `Refused` for what is no text of 1 to `longest` characters, or none that every store can keep."""
    if type(text) is not str or not 0 < len(text) <= longest:
        raise Refused(path, f"must be a string of 1 to {longest} characters")
    if "\0" in text:
        raise Refused(path, "must not contain U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused(path, "must not contain a lone surrogate") from None


def _admit_moment(path: str, moment: datetime) -> str:
    if not isinstance(moment, datetime):
        raise Refused(path, f"expected a datetime, got {type(moment).__name__}")
    if moment.utcoffset() is None:
        raise Refused(path, "needs its offset from UTC, such as '2026-01-01T00:00:00Z'")
    try:
        return format_moment(moment)
    except OverflowError:
        raise Refused(path, "is outside the years 1 to 9999 in UTC") from None
