"""Changes that leave something out because it did not change: completed with what the log has."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.mapping.value_conversion import value_at
from pagefold.engine.intake.strict_json import refusal
from pagefold.engine.intake.written_numbers import decode_written, encode_written

_NULL = b"null"


class PartialEvent(NamedTuple):
    """An event, but for the parts of its payload that `keeps` names, such as `payload.attributes.description`.

    Those have the values that they had before. With `payload` among them, all of it has. `moment` is when the database
    made the change, None where it does not say; `creates` tells that the row may not have been there before.
    """

    event: DomainEvent
    keeps: tuple[str, ...] = ()
    moment: datetime | None = None
    creates: bool = False


def complete(change: PartialEvent, standing: bytes | None) -> DomainEvent:
    """The event with what it keeps. `standing` is the payload of its stream, as JSON, up to the version of the change.

    Of several events at or below that version, the newest one stands: then a change that comes twice is completed
    alike both times. What the standing payload does not have is left out. None, or `null`, is for a stream of which
    nothing was said, or which was withdrawn. Raises `Rejected` when there is something to keep and nothing stands.
    """
    event, keeps = change.event, change.keeps
    if not keeps:
        return event
    if standing is None or standing == _NULL:
        problem = "did not change, and so was not sent; and the log has no earlier statement that has it"
        raise Rejected(keeps[0], problem)
    if "payload" in keeps or not isinstance(event.payload, bytes):
        return msgspec.structs.replace(event, payload=standing)
    try:
        return msgspec.structs.replace(event, payload=_joined(event.payload, standing, keeps))
    except DECODE_ERRORS as error:
        raise refusal(error, event.payload, "payload") from None


def _joined(new: bytes, standing: bytes, keeps: Sequence[str]) -> bytes:
    payload = msgspec.convert(decode_written(new), dict[str, object])
    stood: object = msgspec.json.decode(standing)
    for target in keeps:
        _, *path = target.split(".")
        if (value := value_at(stood, path)) is not UNSET:
            _put(payload, path, value)
    return encode_written(payload)


def _put(payload: dict[str, object], path: Sequence[str], value: object) -> None:
    for name in path[:-1]:
        inner = payload.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        payload = inner
    payload[path[-1]] = value
