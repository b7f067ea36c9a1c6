"""`[sources.X.delta]`: where a sync reads what changed since the last time."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from pagefold.engine.configuration.durations import Duration, parse_duration
from pagefold.engine.configuration.fetch_config import FetchConfig, check_fetch
from pagefold.engine.configuration.request_templates import contains_text, replace_text
from pagefold.engine.configuration.snapshot_config import PartConfig, SnapshotConfig, check_snapshot
from pagefold.engine.errors import ConfigurationError

SINCE = "{since}"
"""What stands in an address or a query for the time since which changes are asked for."""

UNTIL = "{until}"
"""What stands there for the end of a period, if changes are asked for in `periods`."""

SinceFormat: TypeAlias = Literal["timestamp", "datetime", "epoch_seconds", "epoch_milliseconds"]


class DeltaConfig(SnapshotConfig, frozen=True):
    """Where a sync reads what changed since the last time: an endpoint or a query, as for a snapshot.

    In `url`, `body` and `query`, `{since}` stands for the time since which changes are asked for, `{until}` for the end
    of the period.
    """

    every: Annotated[Duration, Meta(description="How often a worker asks for changes: 30s, 10m, 1h.")] = "10m"
    overlap: Annotated[
        Duration,
        Meta(
            description="How long before the newest change that was seen changes are asked for again: they may show "
            "late, and not in their order."
        ),
    ] = "5m"
    since_format: Annotated[
        SinceFormat,
        Meta(
            description="How `{since}` is written, in UTC: `timestamp` as 2026-03-01T02:00:00Z, `datetime` as "
            "2026-03-01 02:00:00, or a number since 1970."
        ),
    ] = "timestamp"
    period: Annotated[
        Duration | None,
        Meta(
            description="How long a time is asked for at once, such as `1d`: the address or the query then has "
            "`{until}`, too. So a large export comes in parts, and a run that was interrupted continues with the part "
            "that it was in."
        ),
    ] = None
    start: Annotated[
        str | None,
        Meta(description="Since when the first run asks for changes, as RFC 3339. Without it, since a day before."),
    ] = None

    fetch: Annotated[
        FetchConfig | None,
        Meta(
            description="What is fetched because of each record: then records are only notifications, and are not read "
            "by the contract."
        ),
    ] = None

    changed: Annotated[
        str | None,
        Meta(description="With `fetch`: the path of the time of a record's change, in UTC unless it has an offset."),
    ] = None

    @cached_property
    def every_seconds(self) -> float:
        """How many seconds lie between the beginnings of two runs."""
        return parse_duration(self.every)

    @cached_property
    def overlap_seconds(self) -> float:
        """How many seconds changes are asked for again."""
        return parse_duration(self.overlap)

    @cached_property
    def period_seconds(self) -> float | None:
        """How many seconds are asked for at once; None for all up to now."""
        return None if self.period is None else parse_duration(self.period)

    @cached_property
    def start_moment(self) -> datetime | None:
        """Since when the first run asks."""
        return None if self.start is None else datetime.fromisoformat(self.start)

    def end_of_period(self, since: datetime) -> datetime | None:
        """The end of the period that begins then; None if all is asked for at once."""
        return None if self.period_seconds is None else since + timedelta(seconds=self.period_seconds)

    def asking_since(self, since: datetime) -> SnapshotConfig:
        """The settings of a snapshot of what changed since a time, up to the end of the period."""
        until = self.end_of_period(since) or since
        given = {SINCE: written(since, self.since_format), UNTIL: written(until, self.since_format)}
        names = SnapshotConfig.__struct_fields__
        settings = {name: getattr(self, name) for name in names}
        more = {name: msgspec.structs.replace(part, **_filled(part, given)) for name, part in self.more.items()}
        return SnapshotConfig(**settings | _filled(self, given) | {"more": more})


def _filled(part: PartConfig, times: Mapping[str, str]) -> dict[str, object]:
    """What has places for times, with the times."""
    found: dict[str, object] = {}
    for name in ("url", "query", "body"):
        value = getattr(part, name)
        for mark, text in times.items():
            value = replace_text(value, mark, text)
        found[name] = value
    return found


def written(moment: datetime, form: SinceFormat) -> str:
    """A time as a source understands it."""
    at = moment.astimezone(UTC)
    match form:
        case "timestamp":
            return at.strftime("%Y-%m-%dT%H:%M:%SZ")
        case "datetime":
            return at.strftime("%Y-%m-%d %H:%M:%S")
        case "epoch_seconds":
            return str(int(at.timestamp()))
        case "epoch_milliseconds":
            return str(int(at.timestamp() * 1_000))


_MEANINGLESS = ("file", "ends", "duration", "settle", "stable")


def check_delta(key: str, delta: DeltaConfig) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(DeltaConfig)}
    for name in _MEANINGLESS:
        if getattr(delta, name) != getattr(_PLAIN, name, defaults[name]):
            yield ConfigurationError(f"{key}.{name}", "goes with a snapshot: changes prove nothing about the rest")
            return
    problems = list(check_snapshot(key, delta))
    yield from problems
    asked = [delta.url, delta.query, delta.body]
    if not problems and not contains_text(asked, SINCE):
        name = "url" if delta.url is not None else "query"
        yield ConfigurationError(f"{key}.{name}", f"needs {SINCE}: where the time goes since which changes are wanted")
    if not problems and contains_text(asked, UNTIL) != (delta.period is not None):
        yield ConfigurationError(f"{key}.period", f"goes with {UNTIL} in what is asked, and needs it")
    yield from _check_notifications(key, delta)
    for name in ("every", "overlap", "period"):
        try:
            parse_duration(getattr(delta, name) or 1)
        except ValueError as error:
            yield ConfigurationError(f"{key}.{name}", str(error))
    if delta.start is not None:
        yield from _check_start(f"{key}.start", delta.start)


def _check_notifications(key: str, delta: DeltaConfig) -> Iterator[ConfigurationError]:
    """Yields every problem of a delta whose records are notifications."""
    if delta.fetch is not None:
        yield from check_fetch(f"{key}.fetch", delta.fetch)
        if delta.fetch.items is not None:
            yield ConfigurationError(f"{key}.fetch.items", "goes with messages: each record of a delta is one")
        if delta.url is None:
            yield ConfigurationError(f"{key}.fetch", "goes with url: a query can read the records themselves")
    if (delta.fetch is None) != (delta.changed is None):
        problem = "goes with fetch" if delta.fetch is None else "is required: where the next run begins"
        yield ConfigurationError(f"{key}.changed", problem)


def _check_start(key: str, start: str) -> Iterator[ConfigurationError]:
    try:
        has_offset = datetime.fromisoformat(start).tzinfo is not None
    except ValueError:
        has_offset = False
    if not has_offset:
        yield ConfigurationError(key, f"{start!r} is not a time with its offset, such as '2026-01-01T00:00:00Z'")


_PLAIN = DeltaConfig()
