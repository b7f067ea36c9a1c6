"""What a record of a source says: an event, and what only the log can add to it."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent, ReferencedEvent
from pagefold.engine.intake.mapping.value_conversion import value_at
from pagefold.engine.intake.strict_json import decode_rejection
from pagefold.engine.intake.written_numbers import decode_written, encode_written

_NULL = b"null"


class Statement(NamedTuple):
    """An event, and what has to be looked up for it before it can be appended.

    `unchanged` are the places of the payload that were left out, such as `("attributes", "description")`: they keep
    their stored values. `moment` is when the database made the change, None if it does not say. `creates`: the row may
    not have existed before. The SKU of a `ReferencedEvent` is not known yet.
    """

    event: DomainEvent
    unchanged: tuple[tuple[str, ...], ...] = ()
    moment: datetime | None = None
    creates: bool = False


class Whole(NamedTuple):
    """That a record has all of a group: what a source has said of others in it is withdrawn.

    `event` is that withdrawal, at the record's version and moment; its reference is the group's. With `ends`, all of
    the group is withdrawn: the record says nothing but that.
    """

    event: ReferencedEvent
    ends: bool = False


def fill_unchanged(change: Statement, stored: bytes | None) -> DomainEvent:
    """Fills in the unchanged parts. `stored` is the stream's newest payload up to the change's version, as JSON.

    Of several such events the newest counts, so a repeated change is filled alike both times. Parts that `stored` lacks
    are left out. None or `null` means that the stream has no event, or was withdrawn. Raises `Rejected` if parts are
    unchanged and nothing is stored.
    """
    event, unchanged = change.event, change.unchanged
    if not unchanged or not isinstance(event.payload, bytes):
        return event
    if stored is None or stored == _NULL:
        problem = "was not sent, because it did not change, and the log has no earlier event with it"
        raise Rejected(place_text(unchanged[0]), problem)
    try:
        return msgspec.structs.replace(event, payload=_with_unchanged(event.payload, stored, unchanged))
    except DECODE_ERRORS as error:
        raise decode_rejection(error, event.payload, "payload") from None


def place_text(path: Sequence[str]) -> str:
    """A place of the payload in messages, such as `payload.attributes.description`."""
    return ".".join(("payload", *path))


def _with_unchanged(new: bytes, stored: bytes, unchanged: Sequence[Sequence[str]]) -> bytes:
    payload = msgspec.convert(decode_written(new), dict[str, object])
    decoded: object = msgspec.json.decode(stored)
    for path in unchanged:
        if (value := value_at(decoded, path)) is not UNSET:
            _put(payload, path, value)
    return encode_written(payload)


def _put(payload: dict[str, object], path: Sequence[str], value: object) -> None:
    for name in path[:-1]:
        inner = payload.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        payload = inner
    payload[path[-1]] = value
