"""`[sources.X.snapshot]`: where a rebuild reads everything that a source has now."""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from pathlib import PurePath
from typing import Annotated, Literal, NamedTuple, Self, TypeAlias

import msgspec
from msgspec import Meta, field

from pagefold.engine.configuration.addresses import database_url_error
from pagefold.engine.configuration.durations import Duration, parse_duration
from pagefold.engine.configuration.encodings import encoding_error
from pagefold.engine.configuration.endpoint_checks import check_endpoint
from pagefold.engine.configuration.endpoint_config import EndpointConfig, inheriting
from pagefold.engine.configuration.toml_tables import ContractPlace, check_variable, redacted
from pagefold.engine.errors import ConfigurationError

DEFAULT_ORPHANS: Sequence[int | str] = ("5%", 500)

MIN_LIMIT = 5
"""A share is at least this many streams: otherwise one orphan would hold the rebuild of a shop of twenty products."""

EVENT_CONSTANTS = ("type", "channel")
"""The fields of an event that a constant may give."""

Format: TypeAlias = Literal["ndjson", "csv", "json"]
_FORMATS: Mapping[str, Format] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
}
_COMPRESSED = (".gz", ".zst")

_share = re.compile(r"(\d{1,3}(?:\.\d{1,6})?) ?%", re.ASCII)


class OrphanLimit(NamedTuple):
    """How many streams of a source a rebuild may withdraw, or remove values from, without a confirmation.

    With both a number and a share, the smaller counts. A share, unless it is 0 %, is at least `MIN_LIMIT`.
    """

    number: int | None
    share: Decimal | None

    @classmethod
    def parse(cls, given: int | str | Sequence[int | str]) -> Self:
        """Parses a number, a share such as `5%`, or several of them. Raises `ValueError` with what is allowed."""
        several = [given] if isinstance(given, int | str) else given
        if not several:
            problem = "is empty; write a number such as 500, a share such as '5%', or both"
            raise ValueError(problem)
        parts = [_limit(each) for each in several]
        numbers = [part for part in parts if isinstance(part, int)]
        shares = [part for part in parts if isinstance(part, Decimal)]
        return cls(min(numbers, default=None), min(shares, default=None))

    def limit(self, live: int) -> int:
        """The limit of a source that has this many live streams."""
        limits = [] if self.number is None else [self.number]
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


class PartConfig(EndpointConfig, frozen=True):
    """Where records are read: exactly one of `file`, `url` and `query`."""

    file: Annotated[
        str | None,
        Meta(description="A file, relative to the working directory: NDJSON, CSV or JSON, plain, `.gz` or `.zst`."),
    ] = None
    format: Annotated[
        Format | None,
        Meta(
            description="The file's format, if its name does not show it. `json` is one document: an array of rows, or "
            "what the contract divides by `items`; a file with a document in each line is read as `ndjson`."
        ),
    ] = None
    delimiter: Annotated[
        str | None,
        Meta(description="The character between the cells of CSV. Without it, the one that the header has."),
    ] = None
    encoding: Annotated[
        str | None,
        Meta(description="The encoding of CSV, such as `cp1252`: any of texts that Python knows. Without it, UTF-8."),
    ] = None
    ends: Annotated[
        Literal["marker", "file"],
        Meta(
            description="What shows that the file is complete: an end marker, or the end of the file, if it has at "
            "least 95 % of the rows of the last complete one."
        ),
    ] = "marker"
    query: Annotated[
        str | None,
        Meta(description="A SELECT. Its columns are named like the fields of an event, or read by the contract."),
    ] = None
    database: Annotated[
        str | None, Meta(description="The URL of the source's PostgreSQL, MySQL or MariaDB, if it has no password.")
    ] = None
    database_variable: Annotated[
        str | None,
        Meta(description="The environment variable with the URL of the source's PostgreSQL, MySQL or MariaDB."),
    ] = None

    @cached_property
    def kind(self) -> Literal["file", "url", "query"]:
        """Which of the three keys the snapshot has."""
        return "file" if self.file is not None else "url" if self.url is not None else "query"

    @cached_property
    def file_format(self) -> Format | None:
        """The value of `format`, else what the file's name shows; None if neither does."""
        path = PurePath(self.file or "")
        if path.suffix.lower() in _COMPRESSED:
            path = path.with_suffix("")
        return self.format or _FORMATS.get(path.suffix.lower())


class SnapshotConfig(PartConfig, frozen=True):
    """Where a rebuild reads everything that a source has now: exactly one of `file`, `url` and `query`."""

    contract: ContractPlace = None
    constants: Annotated[
        dict[str, str],
        Meta(
            description="Where rows are events: the `type` or the `channel` that is the same in every row, which may "
            'leave it out. A rebuild withdraws only streams that rows can name: with `type = "pricing"`, only prices.'
        ),
    ] = field(default_factory=dict)
    duration: Annotated[
        Duration, Meta(description="How long the file takes to be written, if it has no begin marker.")
    ] = "1h"
    settle: Annotated[
        Duration,
        Meta(
            description="How long an event may take to show in a snapshot. A stream with an event that recent is not "
            "withdrawn for being absent."
        ),
    ] = "15m"
    max_orphans: Annotated[
        int | str | list[int | str],
        Meta(
            description="How many streams a run may withdraw, or remove values from, without `--yes`: a number, a "
            "share, or the smallest of several. A share is at least 5."
        ),
    ] = field(default_factory=lambda: [*DEFAULT_ORPHANS])
    more: Annotated[
        dict[str, PartConfig],
        Meta(
            description="By name, other requests, files or queries whose records the contract joins to those of the "
            "snapshot, with the keys of a snapshot. Authorization, limits, the database and `ends` are the "
            "snapshot's, unless it says its own."
        ),
    ] = field(default_factory=dict)

    @cached_property
    def settle_seconds(self) -> float:
        """How many seconds an event may take to show in a snapshot."""
        return parse_duration(self.settle)

    @cached_property
    def duration_seconds(self) -> float:
        """How many seconds a file takes to be written."""
        return parse_duration(self.duration)

    @cached_property
    def orphan_limit(self) -> OrphanLimit:
        """How many streams may be withdrawn without a confirmation."""
        return OrphanLimit.parse(self.max_orphans)

    def part(self, name: str) -> Self:
        """One of `more` as a snapshot of its own."""
        part = self.more[name]
        if part.kind == self.kind == "url":
            part = inheriting(part, self)
        given = {name: getattr(part, name) for name in PartConfig.__struct_fields__}
        if part.kind == self.kind:
            given |= {name: getattr(self, name) for name in _SHARED if given[name] == getattr(_NOTHING, name)}
        return msgspec.structs.replace(self, more={}, constants={}, **given)


_NOTHING = PartConfig()
_SHARED = ("database", "database_variable", "delimiter", "encoding", "ends")
"""The keys of `more` that count as the snapshot's unless they are given, beside those of `inheriting`."""


_KIND_OF: Mapping[str, str] = {
    "format": "file",
    "delimiter": "file",
    "encoding": "file",
    "ends": "file",
    "duration": "file",
    "database": "query",
    "database_variable": "query",
    **dict.fromkeys(EndpointConfig.__struct_fields__, "url"),
}


def check_snapshot(key: str, snapshot: SnapshotConfig) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude."""
    kinds = [name for name in ("file", "url", "query") if getattr(snapshot, name) is not None]
    if len(kinds) != 1:
        has = " and ".join(kinds) or "none"
        yield ConfigurationError(key, f"needs exactly one of file, url and query; it has {has}")
        return
    for info in msgspec.structs.fields(SnapshotConfig):
        yield from _check_field(f"{key}.{info.name}", info, snapshot)
    yield from {"file": _check_file, "url": check_endpoint, "query": _check_query}[snapshot.kind](key, snapshot)
    for target in snapshot.constants.keys() - EVENT_CONSTANTS:
        problem = "gives the type or the channel of rows that are events; a contract says the rest"
        yield ConfigurationError(f"{key}.constants.{target}", problem)
    parsers = (("max_orphans", OrphanLimit.parse), ("settle", parse_duration), ("duration", parse_duration))
    for name, parse in parsers:
        try:
            parse(getattr(snapshot, name))
        except ValueError as error:
            yield ConfigurationError(f"{key}.{name}", str(error))
    for name in snapshot.more:
        yield from check_snapshot(f"{key}.more.{name}", snapshot.part(name))


def _check_field(key: str, info: msgspec.structs.FieldInfo, snapshot: SnapshotConfig) -> Iterator[ConfigurationError]:
    value = getattr(snapshot, info.name)
    kind = _KIND_OF.get(info.name, snapshot.kind)
    default = info.default if info.default_factory is msgspec.NODEFAULT else info.default_factory()
    if value != default and kind != snapshot.kind:
        yield ConfigurationError(key, f"goes with {kind}; this snapshot has {snapshot.kind}")
    elif info.name in EndpointConfig.__struct_fields__:
        return  # `check_endpoint` checks it
    elif value == "":
        yield ConfigurationError(key, "is empty")
    elif info.name.endswith("_variable") and value is not None:
        yield from check_variable(key, value)


def _check_file(key: str, snapshot: SnapshotConfig) -> Iterator[ConfigurationError]:
    if snapshot.file == "":
        return
    if snapshot.file_format is None:
        problem = f'the name {snapshot.file!r} does not show the format; write format = "ndjson", "csv" or "json"'
        yield ConfigurationError(f"{key}.format", problem)
    yield from _check_csv(key, snapshot)


def _check_csv(key: str, snapshot: SnapshotConfig) -> Iterator[ConfigurationError]:
    if snapshot.encoding and (problem := encoding_error(snapshot.encoding)) is not None:
        yield ConfigurationError(f"{key}.encoding", problem)
    for name in ("delimiter", "encoding"):
        if getattr(snapshot, name) is not None and snapshot.file_format not in {None, "csv"}:
            yield ConfigurationError(f"{key}.{name}", "goes with CSV; the rows of this file are JSON")
    if snapshot.delimiter is None:
        return
    if len(snapshot.delimiter) != 1 or snapshot.delimiter in '"\r\n':
        yield ConfigurationError(f"{key}.delimiter", f"{snapshot.delimiter!r} is not one character such as ',' or ';'")


def _check_query(key: str, snapshot: SnapshotConfig) -> Iterator[ConfigurationError]:
    if (snapshot.database is None) == (snapshot.database_variable is None):
        problem = "needs the source's database: either database, its URL, or database_variable, which names one"
        yield ConfigurationError(f"{key}.database", problem)
    if snapshot.database is None:
        return
    if (fault := database_url_error(snapshot.database)) is not None:
        yield ConfigurationError(f"{key}.database", f"{redacted(snapshot.database)!r} {fault}")
