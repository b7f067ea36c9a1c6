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

FREE_NAMES = ("attributes", "localized", "customerGroups", "references")
"""The fields of payloads whose members are places of their own, such as `catalog.attributes.color`."""

_NULL = b"null"


class Statement(NamedTuple):
    """An event, and what has to be looked up for it before it can be appended.

    `unchanged` are the places of the payload that were left out, such as `("attributes", "description")`: they keep
    their stored values. `moment` is when the database made the change, None if it does not say. `creates`: the row may
    not have existed before. The SKU of a `ReferencedEvent` is not known yet. `is_part`: whatever the payload does not
    have keeps its stored values, and may have none.
    """

    event: DomainEvent
    unchanged: tuple[tuple[str, ...], ...] = ()
    moment: datetime | None = None
    creates: bool = False
    is_part: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the log belongs to it."""
        return not (self.unchanged or self.is_part)


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
    are left out. None or `null` means that the stream has no event, or was withdrawn: of a record that is a part, the
    event is what it has then. Raises `Rejected` if parts are unchanged and nothing is stored.
    """
    event, unchanged = change.event, change.unchanged
    if change.is_complete or not isinstance(event.payload, bytes):
        return event
    if stored is None or stored == _NULL:
        if change.is_part:
            return event
        problem = "was not sent, because it did not change, and the log has no earlier event with it"
        raise Rejected(place_text(unchanged[0]), problem)
    try:
        payload = msgspec.convert(decode_written(event.payload), dict[str, object])
        decoded: object = msgspec.json.decode(stored)
        if change.is_part:
            _add_stored(payload, decoded)
        else:
            _add_unchanged(payload, decoded, unchanged)
        return msgspec.structs.replace(event, payload=encode_written(payload))
    except DECODE_ERRORS as error:
        raise decode_rejection(error, event.payload, "payload") from None


def place_text(path: Sequence[str]) -> str:
    """A place of the payload in messages, such as `payload.attributes.description`."""
    return ".".join(("payload", *path))


def _add_unchanged(payload: dict[str, object], stored: object, unchanged: Sequence[Sequence[str]]) -> None:
    for path in unchanged:
        if (value := value_at(stored, path)) is not UNSET:
            _put(payload, path, value)


def _add_stored(payload: dict[str, object], stored: object) -> None:
    """Adds what a part does not have: fields, members such as attributes, and locales of texts."""
    for field, value in stored.items() if isinstance(stored, dict) else ():
        own = payload.setdefault(field, value)
        if own is not value and field in FREE_NAMES:
            _add_members(own, value, depth=2 if field == "localized" else 1)


def _add_members(own: object, stored: object, depth: int) -> None:
    if not isinstance(own, dict) or not isinstance(stored, dict):
        return
    for name, value in stored.items():
        known = own.setdefault(name, value)
        if depth > 1 and known is not value:
            _add_members(known, value, depth - 1)


def _put(payload: dict[str, object], path: Sequence[str], value: object) -> None:
    for name in path[:-1]:
        inner = payload.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        payload = inner
    payload[path[-1]] = value
