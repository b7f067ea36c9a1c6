"""Webhooks: bodies of any form, in which the configuration says where the parts of an event stand.

A path is names with dots between them; in an array, a name is an index. Where a delivery has several items, each is an
event, and paths start at the item; those that begin with `$.` start at the delivery. What is null or not there is left
out, as in a snapshot's columns. An item withdraws where a value stands that is declared to say so, and where `payload`
itself has a path and a null stands there.

What does not count, by a value or by a header that is declared, is passed over, whatever else it says; and so is an
item of a channel that this shop does not have.

Many senders count no versions, and have a moment instead. It can stand for one: two states of one product within the
same tick of the sender's clock are then a conflict, of which the first to arrive stands and the other is reported.
"""

from codecs import BOM_UTF8
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from msgspec import UNSET

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.webhook_config import ROOT_PREFIX, WebhookConfig
from pagefold.engine.errors import ConfigurationError, Rejected
from pagefold.engine.intake.formats.json_bodies import Headers, read_document
from pagefold.engine.intake.formats.partial_event import PartialEvent
from pagefold.engine.intake.formats.request_parts import Delivery, Faulty, Found, Ignored, Items, too_small
from pagefold.engine.intake.mapping.column_mapping import Columns, Naming
from pagefold.engine.intake.mapping.value_conversion import as_written, moment_of, value_at
from pagefold.engine.intake.mapping.value_filters import is_one_of, missed_header

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


class _Path(NamedTuple):
    """The names on the way to a value. `whole` starts at the delivery; a moment that is `counted` becomes a version."""

    names: Sequence[str]
    whole: bool
    counted: bool = False


class WebhookReader:
    """Reads the deliveries of one source. Raises `ConfigurationError` for paths that cannot work."""

    def __init__(self, config: Config, source: str) -> None:
        settings = _settings(config, source)
        targets = list(settings.path_of)
        naming = Naming("webhook", "paths", {target: target for target in targets}, settings.constant_of)
        self._paths = [_path(target, settings) for target in targets]
        self._identity = [target.partition(".")[0] != "payload" for target in targets]
        self._channel = [target == "channel" for target in targets]
        self._withdrawn_by = [(_way(path), values) for path, values in settings.withdrawn_by.items()]
        self._counted_by = [(_way(path), values) for path, values in settings.counted_by.items()]
        self._headers_of = settings.headers_of
        self._key = f"sources.{source}.webhook"
        self._items = None if settings.items is None else settings.items.split(".")
        self._bound = Columns(config, source, naming).bind(targets, self._key)

    def passed_over(self, headers: Headers, *, partial: bool = False) -> Ignored | None:
        """Why nothing in a delivery counts, by its headers. `partial`: those that are not there were not kept."""
        missed = missed_header(headers, self._headers_of, partial=partial)
        if missed is None:
            return None
        return Ignored("filter", f"its header {missed} is not among {self._key}.only_headers")

    def open(self, body: bytes) -> Delivery:
        """A delivery, item by item.

        One without items is one item. One whose array is empty says nothing, and that is no fault.
        """
        text = body.removeprefix(BOM_UTF8)
        try:
            delivery = read_document(text)
        except Rejected as refused:
            return Delivery.unreadable(body, refused)
        if self._items is None:
            return Delivery(body, 1, lambda _: [self._read(delivery, delivery)])
        items = value_at(delivery, self._items)
        if not isinstance(items, list):
            return Delivery.unreadable(body, Rejected("", f"there is no array at {'.'.join(self._items)!r}"))
        if (crumbs := too_small(len(items), text)) is not None:
            return Delivery.unreadable(body, crumbs)
        inside = None if self._looks_into_items() else Items(text, self._items)
        return Delivery(body, len(items), lambda part: [self._read(items[part], delivery)], inside)

    def _looks_into_items(self) -> bool:
        """Whether a path leads from the delivery into its items: then none of them can stand alone."""
        conditions = [path for path, _ in (*self._withdrawn_by, *self._counted_by)]
        upto = len(self._items or ())
        return any(path.whole and path.names[:upto] == self._items for path in (*self._paths, *conditions))

    def _read(self, item: object, delivery: object) -> Found:
        if (ignored := self._not_counted(item, delivery)) is not None:
            return ignored
        try:
            values = [_value(path, item, delivery) for path in self._paths]
            withdraws = self._withdraws(item, delivery)
            return PartialEvent(self._bound.withdrawal(values) if withdraws else self._bound.event(values))
        except Rejected as refused:
            values = self._some(self._identity, item, delivery)
            return Faulty(refused.with_traceback(None), self._bound.place(values))

    def _not_counted(self, item: object, delivery: object) -> Ignored | None:
        for path, wanted in self._counted_by:
            if not is_one_of(_found(path, item, delivery), wanted):
                return Ignored("filter", f"what stands at {_written(path)} is not among {self._key}.only")
        channel = self._bound.other_channel(self._some(self._channel, item, delivery))
        return None if channel is None else Ignored("channel", f"{channel!r:.50} is no channel here")

    def _some(self, chosen: Sequence[bool], item: object, delivery: object) -> list[object]:
        """The values of some of the paths. What cannot be understood is as if it were not there."""
        return [
            _value_or_unset(path, item, delivery) if is_chosen else UNSET
            for path, is_chosen in zip(self._paths, chosen, strict=True)
        ]

    def _withdraws(self, item: object, delivery: object) -> bool:
        return any(is_one_of(_found(path, item, delivery), values) for path, values in self._withdrawn_by)


def _settings(config: Config, source: str) -> WebhookConfig:
    settings = config.sources[source].webhook
    if settings is None:
        raise ConfigurationError(f"sources.{source}.webhook", "is required: without it, webhooks cannot be read")
    return settings


def _path(target: str, settings: WebhookConfig) -> _Path:
    counted = target == "sourceVersion" and settings.version == "moment"
    return _way(settings.path_of[target])._replace(counted=counted)


def _way(path: str) -> _Path:
    return _Path(path.removeprefix(ROOT_PREFIX).split("."), path.startswith(ROOT_PREFIX))


def _written(path: _Path) -> str:
    return (ROOT_PREFIX if path.whole else "") + ".".join(path.names)


def _found(path: _Path, item: object, delivery: object) -> object:
    return value_at(delivery if path.whole else item, path.names)


def _value(path: _Path, item: object, delivery: object) -> object:
    value = _found(path, item, delivery)
    if path.counted and value is not UNSET and value is not None:
        return (moment_of("sourceVersion", value) - _EPOCH) // _TICK
    return as_written(value)


def _value_or_unset(path: _Path, item: object, delivery: object) -> object:
    try:
        return _value(path, item, delivery)
    except Rejected:
        return UNSET
