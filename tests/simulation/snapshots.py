"""Snapshots of the simulated sources: complete, truncated, miscounted, shifted, with gaps."""

import csv
import io
import os
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import orjson

from tests.simulation.journal import content_of, key_of, stream_of
from tests.simulation.sources import SOURCES, Document, Sources, in_text

Kind: TypeAlias = Literal[
    "whole", "without withdrawn", "no end", "cut off", "wrong count", "count 0", "shifted", "gaps", "foreign", "emptied"
]
KINDS: tuple[Kind, ...] = (
    "whole",
    "whole",
    "without withdrawn",
    "without withdrawn",
    "no end",
    "cut off",
    "wrong count",
    "count 0",
    "shifted",
    "gaps",
    "foreign",
    "emptied",
)
COMPLETE: tuple[Kind, ...] = ("whole", "without withdrawn", "gaps", "foreign", "emptied")
"""Snapshots with a valid end marker, whether or not their content is right."""

FEWEST_ROWS: dict[Kind, int] = {"shifted": 2, "count 0": 1}
"""With fewer rows, nothing is wrong with such a snapshot."""

COLUMNS = ("type", "sku", "channel", "source", "sourceVersion", "occurredAt", "epoch")
"""The columns of a CSV file besides the payload's."""

EMPTY: dict[str, Document] = {"catalog": {}, "media": {"assets": []}}
"""The payloads of a mapping that maps nothing, in the domains where they are valid."""


class Habits(NamedTuple):
    """How a source writes its files: with a begin marker, or `duration` before the file's own time.

    `trusted`: the end of the file is the end of the snapshot. `settle`: seconds before the begin that it may not
    have yet.
    """

    marked: bool
    trusted: bool
    settle: float
    duration: float
    csv: bool


class SnapshotRow(NamedTuple):
    """The content of a row: its source's version, its payload, and its epoch, None for none."""

    version: int
    content: bytes
    epoch: int | None


class Snapshot(NamedTuple):
    """The state of a source. `rows` has it by stream; `taken_at` is when it was read.

    `since` is the journal's state then, once it is written. With `new_epoch` it is authoritative, in the next
    epoch.
    """

    source: str
    kind: Kind
    events: list[Document]
    rows: dict[str, SnapshotRow]
    taken_at: datetime
    confirmed: bool
    habits: Habits
    since: datetime
    new_epoch: bool

    @property
    def proves(self) -> bool:
        """Whether streams that are not in it may be withdrawn."""
        return self.habits.trusted or self.kind in COMPLETE


class Snapshots:
    """Takes snapshots of sources, writes them into one file per source, and records their content.

    `named_in` precedes the names of the files in the configuration.
    """

    def __init__(self, folder: Path, luck: random.Random, sources: Sources, named_in: str = "") -> None:
        self._folder = folder
        self._named_in = named_in
        self._luck = luck
        self._sources = sources
        self._habits = {
            source: Habits(
                luck.random() < 0.6,
                luck.random() < 0.2,
                luck.choice([0.0, 0.0, 0.2]),
                luck.choice([0.5, 3_600]),
                luck.random() < 0.4,
            )
            for source in SOURCES
        }
        self._written = 0
        self.latest: dict[str, Snapshot] = {}
        self.of_run: dict[str, Snapshot] = {}
        """By the name of the run that has read it."""

    def file(self, source: str) -> Path:
        """The file of a source's snapshot."""
        return self._folder / f"{source}.{'csv' if self._habits[source].csv else 'ndjson'}"

    def config(self) -> dict[str, Document]:
        """The configuration of the sources and their snapshots."""
        tables = {name: {"domains": [domain], "snapshot": self._settings(name)} for name, domain in SOURCES.items()}
        return tables | {name: tables[name] | {"inherit": {"levels": 2}} for name in self._sources.inheriting}

    def _settings(self, source: str) -> Document:
        habits = self._habits[source]
        return {
            "file": f"{self._named_in}{self.file(source).name}",
            "ends": "file" if habits.trusted else "marker",
            "settle": habits.settle,
            "duration": habits.duration,
        }

    def take(self, source: str, kind: Kind, *, confirmed: bool, new_epoch: bool = False) -> Snapshot:
        """Reads the current state of the source."""
        events = [self._sources.event(key) for key in self._sources.of(source)]
        if len(events) < FEWEST_ROWS.get(kind, 0):
            kind = "whole"
        if kind in ("without withdrawn", "gaps"):
            events = [event for event in events if event["payload"] is not None]
        if kind == "gaps":
            share = self._luck.choice([0.6, 0.6, 0.1])
            events = [event for event in events if self._luck.random() < share]
        if kind == "cut off":
            events = events[: self._luck.randint(0, max(len(events) - 1, 0))]
        if kind == "shifted":  # a row was repeated in place of a skipped one
            place = self._luck.randrange(len(events))
            events[place] = events[place - 1]
        if kind == "emptied":
            events = [event | {"payload": EMPTY.get(event["type"], event["payload"])} for event in events]
        if self._luck.random() < 0.3:
            self._luck.shuffle(events)
        rows = {stream_of(key_of(event)): _snapshot_row(event) for event in events}
        taken_at = self._sources.now(source)
        return Snapshot(source, kind, events, rows, taken_at, confirmed, self._habits[source], taken_at, new_epoch)

    def write(self, snapshot: Snapshot) -> None:
        """Writes the configured file, with the simulated time."""
        self._written += 1
        file = self.file(snapshot.source)
        lines = self._lines(snapshot)
        file.write_bytes(in_csv(lines) if snapshot.habits.csv else in_ndjson(lines))
        moment = self._sources.now(snapshot.source) + timedelta(microseconds=self._written)
        os.utime(file, (moment.timestamp(), moment.timestamp()))
        since = snapshot.taken_at if snapshot.habits.marked else moment - timedelta(seconds=snapshot.habits.duration)
        self.latest[snapshot.source] = snapshot._replace(since=since)

    def _lines(self, snapshot: Snapshot) -> list[Document]:
        kind = snapshot.kind
        begin: Document = {"snapshot": "begin", "takenAt": in_text(snapshot.taken_at)}
        rows, count = list(snapshot.events), len(snapshot.events)
        if kind == "wrong count":
            count = abs(count + self._luck.choice([-1, 1, 7]))
        elif kind == "count 0":
            count = 0
        elif kind == "foreign":
            rows.append(self._foreign())
            count += 1
        end: list[Document] = [] if kind in ("no end", "cut off") else [{"snapshot": "end", "count": count}]
        return [*([begin] if snapshot.habits.marked else []), *rows, *end]

    def _foreign(self) -> Document:
        """A row for a channel that this shop does not have."""
        return {
            "type": "pricing",
            "sku": "A",
            "channel": "web-mars",
            "source": "erp",
            "sourceVersion": 1,
            "occurredAt": "2026-01-01T00:00:00Z",
            "payload": None,
        }


def _snapshot_row(event: Document) -> SnapshotRow:
    return SnapshotRow(event["sourceVersion"], content_of(event), event.get("epoch"))


def in_ndjson(lines: list[Document]) -> bytes:
    """Rows and markers, one per line."""
    return b"".join(orjson.dumps(line) + b"\n" for line in lines)


def in_csv(lines: list[Document]) -> bytes:
    """The same as CSV, with the markers after the header; payloads have their own columns if all are flat."""
    rows = [line for line in lines if "snapshot" not in line]
    leaves = _leaves([row["payload"] for row in rows])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *(f"payload.{leaf}" for leaf in leaves)] if leaves else [*COLUMNS, "payload"])
    for line in lines:
        if "snapshot" in line:
            writer.writerow(["#begin", line["takenAt"]] if line["snapshot"] == "begin" else ["#end", line["count"]])
            continue
        cells = [line.get(column, "") for column in COLUMNS]
        payload = line["payload"]
        cells += [_cell(payload.get(leaf)) for leaf in leaves] if leaves else [orjson.dumps(payload).decode()]
        writer.writerow(cells)
    return text.getvalue().encode()


def _leaves(payloads: list[Document | None]) -> list[str]:
    """The fields of payloads that fit into cells; none if any does not."""
    if not all(payload is not None and _is_flat(payload) for payload in payloads):
        return []
    return sorted({field for payload in payloads for field in payload or ()})


def _is_flat(payload: Document) -> bool:
    if payload.get("available", 0) is None:  # an empty cell is absent
        return False
    return not any(isinstance(value, dict | list) for value in payload.values())


def _cell(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
