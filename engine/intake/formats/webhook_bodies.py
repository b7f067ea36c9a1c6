"""Webhooks of any JSON form: the configuration says where the parts of an event are.

A path is names joined by dots; in an array, a name is an index. If a request has several items, each is an event, and
paths start at the item; paths that begin with `$.` start at the request. Null or absent values are left out, as in a
snapshot's columns. An item withdraws if a configured value says so, or if `payload` has a path and is null there.

Requests and items that a filter excludes are ignored, and so are items of channels that are not configured.

Many senders have no version, only a timestamp, which can serve as one. Two states of one product within the resolution
of the sender's clock are then a conflict, where the first to arrive is kept and the other is reported.
"""

from codecs import BOM_UTF8
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from msgspec import UNSET

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.webhook_config import ROOT_PREFIX, WebhookConfig
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.formats.json_bodies import Headers, read_document
from pagefold.engine.intake.formats.request_parts import (
    IgnoredMessage,
    ItemsBody,
    ParsedPart,
    RejectedPart,
    RequestParts,
    part_size_error,
)
from pagefold.engine.intake.formats.webhook_signatures import webhook_settings
from pagefold.engine.intake.mapping.column_mapping import ColumnMapping, ColumnNames
from pagefold.engine.intake.mapping.value_conversion import to_raw_json, to_timestamp, value_at
from pagefold.engine.intake.mapping.value_filters import is_one_of, unmatched_header
from pagefold.engine.intake.statement import Statement

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


class _Path(NamedTuple):
    """The names on the path to a value.

    `from_root` starts at the request; `as_version` turns a timestamp into a version.
    """

    names: Sequence[str]
    from_root: bool
    as_version: bool = False


class WebhookReader:
    """Reads the requests of one source. Raises `ConfigurationError` for paths that cannot work."""

    def __init__(self, config: Config, source: str) -> None:
        settings = webhook_settings(config, source)
        targets = list(settings.path_of)
        naming = ColumnNames("webhook", "paths", {target: target for target in targets}, settings.constant_of)
        self._paths = [_path(target, settings) for target in targets]
        self._identity = [target.partition(".")[0] != "payload" for target in targets]
        self._channel = [target == "channel" for target in targets]
        self._withdrawn_by = [(_parse_path(path), values) for path, values in settings.withdrawn_by.items()]
        self._counted_by = [(_parse_path(path), values) for path, values in settings.counted_by.items()]
        self._headers_of = settings.headers_of
        self._key = f"sources.{source}.webhook"
        self._items = None if settings.items is None else settings.items.split(".")
        self._bound = ColumnMapping(config, source, naming).bind(targets, self._key)

    def ignored_by_headers(self, headers: Headers, *, partial: bool = False) -> IgnoredMessage | None:
        """Why the headers exclude a request. With `partial`, headers that are absent may not have been stored."""
        unmatched = unmatched_header(headers, self._headers_of, partial=partial)
        if unmatched is None:
            return None
        return IgnoredMessage("filter", f"the value of header {unmatched} is not among {self._key}.only_headers")

    def parse(self, body: bytes) -> RequestParts:
        """A request, item by item.

        Without configured items, the request is one item. An empty array has no items, which is no error.
        """
        text = body.removeprefix(BOM_UTF8)
        try:
            request = read_document(text)
        except Rejected as rejection:
            return RequestParts.unreadable(body, rejection)
        if self._items is None:
            return RequestParts(body, 1, lambda _: [self._read(request, request)])
        items = value_at(request, self._items)
        if not isinstance(items, list):
            return RequestParts.unreadable(body, Rejected("", f"there is no array at {'.'.join(self._items)!r}"))
        if (size_error := part_size_error(len(items), text)) is not None:
            return RequestParts.unreadable(body, size_error)
        inside = None if self._has_root_path_into_items() else ItemsBody(text, self._items)
        return RequestParts(body, len(items), lambda part: [self._read(items[part], request)], inside)

    def _has_root_path_into_items(self) -> bool:
        """Whether a path from the root leads into the items: they cannot be separated then."""
        conditions = [path for path, _ in (*self._withdrawn_by, *self._counted_by)]
        upto = len(self._items or ())
        return any(path.from_root and path.names[:upto] == self._items for path in (*self._paths, *conditions))

    def _read(self, item: object, request: object) -> ParsedPart:
        if (ignored := self._excluded(item, request)) is not None:
            return ignored
        try:
            values = [_value(path, item, request) for path in self._paths]
            withdraws = self._withdraws(item, request)
            return Statement(self._bound.withdrawal(values) if withdraws else self._bound.event(values))
        except Rejected as rejection:
            values = self._some(self._identity, item, request)
            return RejectedPart(rejection.with_traceback(None), self._bound.place(values))

    def _excluded(self, item: object, request: object) -> IgnoredMessage | None:
        for path, allowed in self._counted_by:
            if not is_one_of(_look_up(path, item, request), allowed):
                return IgnoredMessage("filter", f"the value at {_format_path(path)} is not among {self._key}.only")
        channel = self._bound.unknown_channel(self._some(self._channel, item, request))
        return (
            None
            if channel is None
            else IgnoredMessage("channel", f"{channel!r:.50} is not a channel of the configuration")
        )

    def _some(self, chosen: Sequence[bool], item: object, request: object) -> list[object]:
        """The values of some of the paths. Unreadable values count as absent."""
        return [
            _value_or_unset(path, item, request) if is_chosen else UNSET
            for path, is_chosen in zip(self._paths, chosen, strict=True)
        ]

    def _withdraws(self, item: object, request: object) -> bool:
        return any(is_one_of(_look_up(path, item, request), values) for path, values in self._withdrawn_by)


def _path(target: str, settings: WebhookConfig) -> _Path:
    as_version = target == "sourceVersion" and settings.version == "moment"
    return _parse_path(settings.path_of[target])._replace(as_version=as_version)


def _parse_path(path: str) -> _Path:
    return _Path(path.removeprefix(ROOT_PREFIX).split("."), path.startswith(ROOT_PREFIX))


def _format_path(path: _Path) -> str:
    return (ROOT_PREFIX if path.from_root else "") + ".".join(path.names)


def _look_up(path: _Path, item: object, request: object) -> object:
    return value_at(request if path.from_root else item, path.names)


def _value(path: _Path, item: object, request: object) -> object:
    value = _look_up(path, item, request)
    if path.as_version and value is not UNSET and value is not None:
        return (to_timestamp("sourceVersion", value) - _EPOCH) // _TICK
    return to_raw_json(value)


def _value_or_unset(path: _Path, item: object, request: object) -> object:
    try:
        return _value(path, item, request)
    except Rejected:
        return UNSET
