"""`[sources.X.snapshot]`: where a source says everything that it says now."""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from pathlib import PurePath
from typing import Annotated, Literal, NamedTuple, Self, TypeAlias
from urllib.parse import urlsplit

import msgspec

from pagefold.engine.configuration.addresses import POSTGRES_SCHEMES, postgres_url_error, scheme_of
from pagefold.engine.configuration.durations import Duration, parse_duration
from pagefold.engine.configuration.toml_tables import (
    ColumnsTable,
    check_event_fields,
    check_names,
    check_path,
    check_variable,
    redacted,
)
from pagefold.engine.errors import ConfigurationError

DEFAULT_ORPHANS: Sequence[int | str] = ("5%", 500)

MIN_LIMIT = 5
"""A share is at least so many: else a shop of twenty products would be held for one."""

EVENT_CONSTANTS = ("type", "channel")
"""What a constant may give of rows that are events themselves."""

Format: TypeAlias = Literal["ndjson", "csv"]
_FORMATS: Mapping[str, Format] = {".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson", ".csv": "csv"}
_COMPRESSED = (".gz", ".zst")

_share = re.compile(r"(\d{1,3}(?:\.\d{1,6})?) ?%", re.ASCII)


class OrphanLimit(NamedTuple):
    """From how many streams of a source a rebuild may take something away unasked: the smallest of all that is given.

    A share, unless it is 0 %, is never less than `MIN_LIMIT`; a number is what it says.
    """

    most: int | None
    share: Decimal | None

    @classmethod
    def parse(cls, given: int | str | Sequence[int | str]) -> Self:
        """A number, a share such as `5%`, or several of them. Raises `ValueError`, with what would be right."""
        several = [given] if isinstance(given, int | str) else given
        if not several:
            problem = "is empty; write a number such as 500, a share such as '5%', or both"
            raise ValueError(problem)
        parts = [_limit(each) for each in several]
        numbers = [part for part in parts if isinstance(part, int)]
        shares = [part for part in parts if isinstance(part, Decimal)]
        return cls(min(numbers, default=None), min(shares, default=None))

    def of(self, live: int) -> int:
        """The limit where so many are live."""
        limits = [] if self.most is None else [self.most]
        if self.share is not None:
            limits.append(max(MIN_LIMIT, int(live * self.share / 100)) if self.share else 0)
        return min(limits)


def _limit(given: int | str) -> int | Decimal:
    text = str(given).strip()
    if text.isascii() and text.isdecimal():
        return int(text)
    if (share := _share.fullmatch(text)) is not None and Decimal(share[1]) <= 100:  # noqa: PLR2004  # per cent
        return Decimal(share[1])
    problem = f"{given!r} is neither a number such as 500 nor a share such as '5%'"
    raise ValueError(problem)


class SnapshotConfig(ColumnsTable, frozen=True):
    """Where a source says everything that it says now: exactly one of `file`, `url` and `query`.

    `columns` names, by target, the column of a CSV file, of a query's result or of flat JSON that it is taken from;
    without any, columns are named as their targets, and JSON rows are events. `constants` has values by target.

    `ends = "file"` takes a file without an end marker for whole. `settle` is how long before a snapshot was taken an
    event may have come that it does not show yet, `duration` how long a file takes to be written. An endpoint is
    `stable` when its rows do not shift between pages; `hosts` are those beside its own to which a next page may lead.
    """

    file: str | None = None
    format: Format | None = None
    delimiter: str = ","
    ends: Literal["marker", "file"] = "marker"
    duration: Duration = "1h"
    url: str | None = None
    items: str | None = None
    cursor: str | None = None
    cursor_parameter: str | None = None
    total: str | None = None
    stable: bool = False
    hosts: tuple[str, ...] = ()
    token_variable: str | None = None
    requests_per_second: Annotated[float, msgspec.Meta(gt=0, le=1_000)] = 10.0
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] = 30.0
    query: str | None = None
    database: str | None = None
    database_variable: str | None = None
    settle: Duration = "15m"
    max_orphans: int | str | list[int | str] = msgspec.field(default_factory=lambda: [*DEFAULT_ORPHANS])

    @cached_property
    def kind(self) -> Literal["file", "url", "query"]:
        """Which of the three it is."""
        return "file" if self.file is not None else "url" if self.url is not None else "query"

    @cached_property
    def file_format(self) -> Format | None:
        """What `format` says, else the ending of the file's name; None when neither tells."""
        path = PurePath(self.file or "")
        if path.suffix.lower() in _COMPRESSED:
            path = path.with_suffix("")
        return self.format or _FORMATS.get(path.suffix.lower())

    @cached_property
    def settle_seconds(self) -> float:
        """How long before the snapshot was taken an event may have come that it does not show."""
        return parse_duration(self.settle)

    @cached_property
    def duration_seconds(self) -> float:
        """How long before its own time a file may have been begun."""
        return parse_duration(self.duration)

    @cached_property
    def rows_are_events(self) -> bool:
        """Whether each row is an event, not a record whose columns are named."""
        return self.file_format == "ndjson" if self.kind == "file" else self.kind == "url" and not self.columns

    @cached_property
    def origins(self) -> frozenset[str]:
        """Scheme, host and port of whatever may be asked, the endpoint's own among them."""
        own = urlsplit(self.url or "")
        return frozenset(origin_at(each, own.scheme) for each in (f"{own.scheme}://{own.netloc}", *self.hosts))

    @cached_property
    def orphan_limit(self) -> OrphanLimit:
        """How many streams may be withdrawn without being asked."""
        return OrphanLimit.parse(self.max_orphans)


_PORTS = {"http": 80, "https": 443}

_KIND_OF = {
    "format": "file",
    "delimiter": "file",
    "ends": "file",
    "duration": "file",
    "items": "url",
    "cursor": "url",
    "cursor_parameter": "url",
    "total": "url",
    "stable": "url",
    "hosts": "url",
    "token_variable": "url",
    "requests_per_second": "url",
    "concurrency": "url",
    "timeout_seconds": "url",
    "database": "query",
    "database_variable": "query",
}


def check_snapshot(key: str, snapshot: SnapshotConfig) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude."""
    kinds = [name for name in ("file", "url", "query") if getattr(snapshot, name) is not None]
    if len(kinds) != 1:
        has = " and ".join(kinds) or "none"
        yield ConfigurationError(key, f"needs exactly one of file, url and query; it has {has}")
        return
    for field in msgspec.structs.fields(SnapshotConfig):
        yield from _check_field(f"{key}.{field.name}", field, snapshot)
    yield from {"file": _check_file, "url": _check_url, "query": _check_query}[snapshot.kind](key, snapshot)
    yield from check_names(f"{key}.columns", snapshot.columns, "the name of a column")
    yield from check_event_fields(key, {"columns": snapshot.columns, "constants": snapshot.constants})
    yield from _check_events(key, snapshot)
    parsers = (("max_orphans", OrphanLimit.parse), ("settle", parse_duration), ("duration", parse_duration))
    for name, parse in parsers:
        try:
            parse(getattr(snapshot, name))
        except ValueError as error:
            yield ConfigurationError(f"{key}.{name}", str(error))


def _check_field(key: str, field: msgspec.structs.FieldInfo, snapshot: SnapshotConfig) -> Iterator[ConfigurationError]:
    value = getattr(snapshot, field.name)
    kind = _KIND_OF.get(field.name, snapshot.kind)
    if value != field.default and kind != snapshot.kind:
        yield ConfigurationError(key, f"goes with {kind}; this snapshot has {snapshot.kind}")
    elif value == "":
        yield ConfigurationError(key, "is empty")
    elif field.name.endswith("_variable") and value is not None:
        yield from check_variable(key, value)


def origin_at(text: str, scheme: str) -> str:
    """Scheme, host and port of `host`, `host:port` or `https://host:port`. Raises `ValueError` for anything else."""
    parts = urlsplit(text if "://" in text else f"{scheme}://{text}")
    port = parts.port or _PORTS.get(parts.scheme)
    has_more = parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc
    if has_more or port is None or not parts.hostname or not parts.hostname.strip(".") or " " in parts.netloc:
        raise ValueError(text)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def _check_events(key: str, snapshot: SnapshotConfig) -> Iterator[ConfigurationError]:
    """Yields the constants that cannot be given where each row is an event."""
    if snapshot.rows_are_events:
        for target, value in snapshot.constant_of.items():
            if target not in EVENT_CONSTANTS:
                problem = "goes with columns; where each row is an event, a constant gives its type or its channel"
                yield ConfigurationError(f"{key}.constants.{target}", problem)
            elif not isinstance(value, str):
                yield ConfigurationError(f"{key}.constants.{target}", f"expected a name, got {value!r}")


def _check_file(key: str, snapshot: SnapshotConfig) -> Iterator[ConfigurationError]:
    if snapshot.file == "":
        return
    if snapshot.file_format is None:
        problem = f'the name {snapshot.file!r} does not show the format; write format = "ndjson" or "csv"'
        yield ConfigurationError(f"{key}.format", problem)
    if len(snapshot.delimiter) != 1 or snapshot.delimiter in '"\r\n':
        yield ConfigurationError(f"{key}.delimiter", f"{snapshot.delimiter!r} is not one character such as ',' or ';'")
    elif snapshot.file_format == "ndjson" and snapshot.delimiter != ",":
        yield ConfigurationError(f"{key}.delimiter", "goes with CSV; each line of an NDJSON file is an event")
    if snapshot.file_format == "ndjson" and snapshot.columns:
        yield ConfigurationError(f"{key}.columns", "goes with CSV; each line of an NDJSON file is an event")


def _check_url(key: str, snapshot: SnapshotConfig) -> Iterator[ConfigurationError]:
    try:
        parts = urlsplit(snapshot.url or "")
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        yield ConfigurationError(f"{key}.url", "is not an address such as 'https://erp.example/api/prices'")
        return
    if parts.username is not None:
        problem = "must not hold a user or a password; token_variable names an environment variable with a token"
        yield ConfigurationError(f"{key}.url", problem)
    for name in ("items", "cursor", "total"):
        path: str | None = getattr(snapshot, name)
        if path is not None:
            yield from check_path(f"{key}.{name}", path, f"data.{name}")
    if snapshot.cursor_parameter is not None and snapshot.cursor is None:
        problem = "needs cursor as well: the path of the value that it carries"
        yield ConfigurationError(f"{key}.cursor_parameter", problem)
    for host in snapshot.hosts:
        yield from _check_host(f"{key}.hosts", host, parts.scheme)


def _check_host(key: str, host: str, scheme: str) -> Iterator[ConfigurationError]:
    try:
        origin_at(host, scheme)
    except ValueError:
        shown = host.rpartition("@")[2]
        problem = f"{shown!r} is not a host such as 'files.pim.example' or 'https://files.pim.example:8443'"
        yield ConfigurationError(key, problem)


def _check_query(key: str, snapshot: SnapshotConfig) -> Iterator[ConfigurationError]:
    if (snapshot.database is None) == (snapshot.database_variable is None):
        problem = "needs the source's database: either database, its URL, or database_variable, which names one"
        yield ConfigurationError(f"{key}.database", problem)
    if snapshot.database is None:
        return
    if scheme_of(snapshot.database) not in POSTGRES_SCHEMES:
        yield ConfigurationError(f"{key}.database", f"{redacted(snapshot.database)!r} is not postgresql://…")
    elif (fault := postgres_url_error(snapshot.database)) is not None:
        yield ConfigurationError(f"{key}.database", fault)
