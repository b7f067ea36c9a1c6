"""Snapshots for tests, rebuilds from them, and direct access to the table of sections."""

import gzip
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import apsw
import msgspec
import psycopg

from pagefold import Config, DomainEvent, Shop
from pagefold.engine.configuration.channel_config import FilterConfig
from pagefold.engine.rebuild.rebuild_service import RebuildRequest, RunReport
from pagefold.engine.rebuild.run_observer import Finding, RunObserver
from pagefold.engine.replay.replayer import SectionDriftKind
from pagefold.engine.snapshots.snapshot import Batch
from pagefold.engine.stores.section_rows import decode_sections, encode_sections
from pagefold.engine.stores.sqlite import folder_of
from pagefold.engine.stores.sqlite.connections import PAGES
from pagefold.projections import Section
from pagefold.projections.section_fold import sections_of, shared_sections
from tests.support.small_shop import Document, as_line, document, with_channel

SectionKey: TypeAlias = tuple[str, str, str]
"""SKU, channel, domain."""

WHOLE = RebuildRequest()

AT_ONCE: Mapping[str, object] = {"settle": 0, "duration": 0}
"""Settings of a snapshot that has everything from before it was taken, and was taken at the file's own time."""


class Witness(RunObserver):
    """A `RunObserver` that records its calls."""

    def __init__(self) -> None:
        self.drift: dict[str, Finding] = {}
        self.rows = 0
        self.restarts = 0
        self.sorted = 0
        self.run_id = ""

    def begun(self, run_id: str) -> None:
        """Its name."""
        self.run_id = run_id

    def compared(self, rows: int, total: int) -> None:
        """Progress never goes back, and never beyond the end."""
        assert self.sorted < rows <= total
        self.sorted = rows

    def read(self, batch: Batch) -> None:
        """Counts its rows."""
        self.rows += len(batch.rows)

    def found(self, drift: Finding, streams: Sequence[str]) -> None:
        """Records them; no stream is found twice."""
        assert self.drift.keys().isdisjoint(streams)
        self.drift |= dict.fromkeys(streams, drift)

    def start_over(self) -> None:
        """Forgets everything."""
        self.drift.clear()
        self.restarts += 1


NO_DELTAS: Mapping[str, object] = {}


def with_snapshots(
    url: str, folder: Path, *sources: str, deltas: Mapping[str, object] = NO_DELTAS, **settings: object
) -> Config:
    """The small shop, where these sources have snapshots in `folder`, such as `erp.ndjson`, and others are asked.

    By default, a snapshot has everything from before it was taken, and a file was taken at its own time: a test
    takes seconds where a source takes a night.
    """
    tables = document(url, work={"poll_seconds": 0.05, "lease_seconds": 1.0})
    for source in sources:
        tables["sources"][source]["snapshot"] = {"file": str(folder / f"{source}.ndjson"), **AT_ONCE, **settings}
    for source, delta in deltas.items():
        tables["sources"][source]["delta"] = delta
    return Config.parse(tables, store=url)


def toml_of(config: Config) -> str:
    """The configuration as TOML."""
    return "\n".join(_tables(msgspec.to_builtins(config), ""))


def _tables(table: Document, name: str) -> Iterator[str]:
    """A table, followed by the tables in it. JSON's texts, numbers and lists are TOML."""
    if name:
        yield f"[{name}]"
    for key, value in table.items():
        if not isinstance(value, dict) and value is not None:
            yield f"{json.dumps(key)} = {json.dumps(value)}"
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _tables(value, f"{name}.{json.dumps(key)}".lstrip("."))


def lines_of(events: Iterable[DomainEvent], *, taken_at: str | None = None, end: bool = True) -> bytes:
    """A complete snapshot as NDJSON, in the order of the events."""
    return marked(map(as_line, events), taken_at=taken_at, end=end)


def marked(lines: Iterable[bytes], *, taken_at: str | None = None, end: bool = True) -> bytes:
    """Rows between the markers of a snapshot, with an end marker only if `end`."""
    rows = list(lines)
    begin = [msgspec.json.encode({"snapshot": "begin", "takenAt": taken_at})] if taken_at else []
    marker = [msgspec.json.encode({"snapshot": "end", "count": len(rows)})] if end else []
    return b"".join(line + b"\n" for line in (*begin, *rows, *marker))


def file_of(config: Config, source: str) -> Path:
    """The configured file of the source's snapshot."""
    settings = config.sources[source].snapshot
    assert settings is not None
    assert settings.file is not None
    return Path(settings.file)


def export_lines(config: Config, source: str, lines: Iterable[bytes], *, taken_at: str | None = None) -> None:
    """Writes a complete snapshot of these rows to its file, compressed if its name says so."""
    file, content = file_of(config, source), marked(lines, taken_at=taken_at)
    _put(file, gzip.compress(content, compresslevel=1) if file.suffix == ".gz" else content)


def export(config: Config, source: str, *events: DomainEvent, taken_at: str | None = None, end: bool = True) -> None:
    """Writes a snapshot to its file."""
    _put(file_of(config, source), lines_of(events, taken_at=taken_at, end=end))


def _put(file: Path, content: bytes) -> None:
    """Sets the time to now: a kernel's file time may be some milliseconds before the last event."""
    file.write_bytes(content)
    moment = time.time_ns()
    os.utime(file, ns=(moment, moment))


async def rebuild(shop: Shop, source: str, order: RebuildRequest = WHOLE, witness: Witness | None = None) -> RunReport:
    """One run, with its changes folded."""
    async with shop.rebuilds() as rebuilds:
        report = await rebuilds.rebuild(source, order, witness or Witness())
    await shop.catch_up()
    return report


async def resume(shop: Shop, run_id: str | None, *, confirmed: bool = False) -> RunReport:
    """The same run, resumed, with its changes folded."""
    assert run_id is not None
    async with shop.rebuilds() as rebuilds:
        report = await rebuilds.resume(run_id, Witness(), confirmed=confirmed)
    await shop.catch_up()
    return report


def counts_of(report: RunReport) -> dict[str, int]:
    """The counts that are not 0."""
    return report.counts.as_dict()


# --- direct access to sections -------------------------------------------------------------------------

_READ = "SELECT sku, domain, channels, flags, layout, contents FROM sections"
_REMOVE = "DELETE FROM sections WHERE sku = ? AND domain = ?"
_USURP = "UPDATE checkpoints SET holder = 'somebody else'"
_PUT = "INSERT INTO sections VALUES (?, ?, ?, ?, ?, ?)"

Run: TypeAlias = Callable[[str, Iterable[Sequence[Any]] | None], list[tuple[Any, ...]]]
"""Runs a statement for all bindings, or a query without any."""


class Intruder:
    """A program with the key to a store, which reads and writes the table of sections as any program can."""

    def __init__(self, url: str) -> None:
        self._url = url

    def sections(self) -> dict[SectionKey, Section]:
        """Every section."""
        with self._transaction() as run:
            return _sections(run)

    def remove(self, keys: Iterable[SectionKey]) -> None:
        """Removes sections."""
        self._replace(dict.fromkeys(keys))

    def put(self, sections: Iterable[Section]) -> None:
        """Writes sections, in place of those with the same keys."""
        self._replace({section[:3]: section for section in sections})

    def take_leases_away(self) -> None:
        """Names another holder of every domain, as a standby does that takes over."""
        with self._transaction() as run:
            run(_USURP, [()])

    def _replace(self, changes: Mapping[SectionKey, Section | None]) -> None:
        with self._transaction() as run:
            rows = {(sku, domain) for sku, _, domain in changes}
            sections: dict[SectionKey, Section | None] = {**_sections(run), **changes}
            own = [each for each in sections.values() if each is not None and (each.sku, each.domain) in rows]
            run(_REMOVE, rows)
            run(_PUT, encode_sections(shared_sections(own)))

    @contextmanager
    def _transaction(self) -> Iterator[Run]:
        if self._url.startswith("sqlite:"):
            with closing(apsw.Connection(str(folder_of(self._url) / PAGES))) as file:
                file.set_busy_timeout(10_000)
                file.execute("BEGIN IMMEDIATE")
                yield lambda sql, all_: list(file.execute(sql) if all_ is None else file.executemany(sql, all_))
                file.execute("COMMIT")
            return
        with psycopg.connect(self._url, options="-c search_path=pagefold") as connection, connection.cursor() as cursor:
            cursor.execute("LOCK TABLE sections IN SHARE ROW EXCLUSIVE MODE")

            def run(sql: str, all_: Iterable[Sequence[Any]] | None) -> list[tuple[Any, ...]]:
                if all_ is None:
                    return cursor.execute(sql.encode()).fetchall()
                cursor.executemany(sql.replace("?", "%s").encode(), list(all_))
                return []

            yield run


def _sections(run: Run) -> dict[SectionKey, Section]:
    return {section[:3]: section for section in sections_of(map(decode_sections, run(_READ, None)))}


SPOIL: Mapping[str, Callable[[Section], Section]] = {
    "other bytes": lambda section: section._replace(body=b'{"damaged":true}'),
    "readiness": lambda section: section._replace(ready=not section.ready),
    "state": lambda section: section._replace(enabled=not section.enabled),
    "versions": lambda section: section._replace(versions=b'{"pricing/erp":999}'),
    "no versions": lambda section: section._replace(versions=b""),
    "half a body": lambda section: section._replace(body=(section.body or b'{"a":1}')[:-3]),
    "no body": lambda section: section._replace(body=b"" if section.body is None else None),
    "no UTF-8": lambda section: section._replace(body=b'{"name":"\xff\xfe\xc3('),
    "half a surrogate": lambda section: section._replace(body=b'{"name":"\xed\xa0\x80"}'),
    "zeros": lambda section: section._replace(body=bytes(512)),
    "moment": lambda section: section._replace(occurred_at="1999-12-31T23:59:59.999999Z"),
    "no moment": lambda section: section._replace(recorded_at="yesterday"),
}
"""The kinds of damage of a row."""


def harm(
    before: Mapping[SectionKey, Section], after: Mapping[SectionKey, Section]
) -> dict[SectionKey, SectionDriftKind]:
    """The damage that was done to a table, row by row."""
    done: dict[SectionKey, SectionDriftKind] = {}
    for key in before.keys() | after.keys():
        if key not in after:
            done[key] = "lost"
        elif key not in before:
            done[key] = "surplus"
        elif before[key] != after[key]:
            done[key] = "differs"
    return done


# --- another configuration --------------------------------------------------------------------------


def with_source_order(config: Config, *names: str) -> Config:
    """The same configuration with its sources in another order."""
    first = {name: config.sources[name] for name in names}
    return msgspec.structs.replace(config, sources=first | config.sources)


def without_channel(config: Config, name: str) -> Config:
    """The same configuration without a channel."""
    channels = {each: channel for each, channel in config.channels.items() if each != name}
    return msgspec.structs.replace(config, channels=channels)


def with_new_channel(config: Config, name: str) -> Config:
    """The same configuration with one channel more."""
    france = msgspec.structs.replace(config.channels["web-de"], locale="fr-FR", fallbacks=["en"])
    return msgspec.structs.replace(config, channels={name: france, **config.channels})


def renamed(config: Config, name: str, other: str) -> Config:
    """The same configuration in which a source has another name."""
    sources = {other if each == name else each: source for each, source in config.sources.items()}
    return msgspec.structs.replace(config, sources=sources)


OWN_PRODUCTS = FilterConfig(without={"code": ["of the other"]})
SHORT_CODES: Document = {
    "name": "codes",
    "requires": [{"attributes": ["code"], "check": {"max_length": len("SKU-00 1")}}],
}

CHANGES: dict[str, Callable[[Config], Config]] = {
    "locale": lambda config: with_channel(config, "web-de", locale="fr-FR", fallbacks=["en"]),
    "fallbacks": lambda config: with_channel(config, "web-us", locale="fr-FR", fallbacks=["de"]),
    "rank": lambda config: with_channel(config, "web-us", sources={"catalog": ["pim", "pim2"], "media": []}),
    "order": lambda config: with_source_order(config, "pim2"),
    "silenced": lambda config: with_channel(config, "web-de", sources={"inventory": ["wms-b"], "catalog": ["pim2"]}),
    "currency": lambda config: with_channel(config, "market-at", currency="USD"),
    "removed": lambda config: without_channel(config, "outlet-de"),
    "new": lambda config: with_new_channel(config, "web-fr"),
}
"""The changes of a configuration that change pages."""

POLICIES: dict[str, Callable[[Config], Config]] = {
    "filtered": lambda config: with_channel(config, "web-us", filters={"own": OWN_PRODUCTS}),
    "hidden": lambda config: with_channel(config, "web-us", requirements=[SHORT_CODES], incomplete="hide"),
    "kept": lambda config: with_channel(config, "web-us", requirements=[SHORT_CODES], incomplete="keep"),
}
"""Changes of what a channel shows of products that have such codes, which the model does not know."""
