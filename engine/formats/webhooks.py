"""Webhooks: bodies of any form, in which the configuration says where the parts of an event stand.

A path is names with dots between them; in an array, a name is an index. Where a delivery has several items, each is an
event, and paths start at the item; those that begin with `$.` start at the delivery. What is null or not there is left
out, as in a snapshot's columns. An item withdraws where a value stands that is declared to say so, and where `payload`
itself has a path and a null stands there.

Many senders count no versions, and have a moment instead. It can stand for one: two states of one product within the
same tick of the sender's clock are then a conflict, of which the first to arrive stands and the other is reported.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from msgspec import UNSET

from engine.config import Config
from engine.configuration.doors import WHOLE, WebhookConfig
from engine.errors import ConfigurationError, Refused
from engine.events import DomainEvent
from engine.formats.documents import read_document, too_many
from engine.mapping.columns import Columns, Naming
from engine.mapping.values import as_written, moment_of, value_at

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


class Unmapped(NamedTuple):
    """Why nothing of a delivery became an event. The sender cannot mend it: whoever wrote the paths can."""

    reason: str


class _Path(NamedTuple):
    """The names on the way to a value. `whole` starts at the delivery; a moment that is `counted` becomes a version."""

    names: Sequence[str]
    whole: bool
    counted: bool = False


class Webhooks:
    """Reads the deliveries of one source. Raises `ConfigurationError` for paths that cannot work."""

    def __init__(self, config: Config, source: str) -> None:
        settings = _settings(config, source)
        targets = list(settings.path_of)
        naming = Naming("webhook", "paths", {target: target for target in targets}, settings.constant_of)
        self._paths = [_path(target, settings) for target in targets]
        self._withdrawn_by = [(_way(path), values) for path, values in settings.withdrawn_by.items()]
        self._items = None if settings.items is None else settings.items.split(".")
        self._bound = Columns(config, source, naming).bind(targets, f"sources.{source}.webhook")

    def read(self, body: bytes) -> list[DomainEvent | Refused] | Unmapped:
        """The events of a delivery, and why each of the other items is none; `Unmapped` when there is no event in it.

        A delivery without items is one item. One whose array is empty says nothing, and that is no fault.
        """
        try:
            delivery = read_document(body)
        except Refused as error:
            return Unmapped(str(error))
        items = [delivery] if self._items is None else value_at(delivery, self._items)
        if not isinstance(items, list):
            return Unmapped(f"there is no array at {'.'.join(self._items or ())!r}")
        if (refused := too_many(len(items))) is not None:
            return Unmapped(str(refused))
        found = [self._read(item, delivery) for item in items]
        if found and all(isinstance(each, Refused) for each in found):
            return Unmapped(str(found[0]))
        return found

    def _read(self, item: object, delivery: object) -> DomainEvent | Refused:
        try:
            values = [_value(path, item, delivery) for path in self._paths]
            return self._bound.withdrawal(values) if self._withdraws(item, delivery) else self._bound.event(values)
        except Refused as refused:
            return refused.with_traceback(None)

    def _withdraws(self, item: object, delivery: object) -> bool:
        found = [(_found(path, item, delivery), values) for path, values in self._withdrawn_by]
        return any(value == each and type(value) is type(each) for value, values in found for each in values)


def _settings(config: Config, source: str) -> WebhookConfig:
    settings = config.sources[source].webhook
    if settings is None:
        raise ConfigurationError(f"sources.{source}.webhook", "is required: without it, webhooks cannot be read")
    return settings


def _path(target: str, settings: WebhookConfig) -> _Path:
    counted = target == "sourceVersion" and settings.version == "moment"
    return _way(settings.path_of[target])._replace(counted=counted)


def _way(path: str) -> _Path:
    return _Path(path.removeprefix(WHOLE).split("."), path.startswith(WHOLE))


def _found(path: _Path, item: object, delivery: object) -> object:
    return value_at(delivery if path.whole else item, path.names)


def _value(path: _Path, item: object, delivery: object) -> object:
    value = _found(path, item, delivery)
    if path.counted and value is not UNSET and value is not None:
        return (moment_of("sourceVersion", value) - _EPOCH) // _TICK
    return as_written(value)
