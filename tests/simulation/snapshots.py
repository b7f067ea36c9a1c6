"""Snapshots of the simulated sources, as sources make them: whole, cut off, miscounted, shifted, with gaps."""

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
"""Those whose end marker is right, whether what they say is true or not."""

EMPTY: dict[str, Document] = {"catalog": {}, "media": {"assets": []}}
"""What a mapping that names nothing makes of payloads, in the domains where that is a payload."""


class Habits(NamedTuple):
    """How a source writes its files: with a marker of when it began, or `duration` before the file's own time.

    `trusted`: the end of the file is the end of the snapshot. `settle` is how many seconds it may not know yet.
    """

    marked: bool
    trusted: bool
    settle: float
    duration: float


class Snapshot(NamedTuple):
    """What a source says. `rows` has version and content by stream; `taken_at` is when they were read there.

    `since` is what is known of that, once it is written.
    """

    source: str
    kind: Kind
    events: list[Document]
    rows: dict[str, tuple[int, bytes]]
    taken_at: datetime
    confirmed: bool
    habits: Habits
    since: datetime

    @property
    def proves(self) -> bool:
        """Whether what is not in it may be withdrawn."""
        return self.habits.trusted or self.kind in COMPLETE


class Snapshots:
    """Takes snapshots of sources, writes them into files, one file a source, and remembers what was in each.

    `named_in` is what stands before the names of the files in the configuration.
    """

    def __init__(self, folder: Path, luck: random.Random, sources: Sources, named_in: str = "") -> None:
        self._folder = folder
        self._named_in = named_in
        self._luck = luck
        self._sources = sources
        self._habits = {
            source: Habits(
                luck.random() < 0.6, luck.random() < 0.2, luck.choice([0.0, 0.0, 0.2]), luck.choice([0.5, 3_600])
            )
            for source in SOURCES
        }
        self._written = 0
        self.latest: dict[str, Snapshot] = {}
        self.of_run: dict[str, Snapshot] = {}
        """By the name of the run that has read it."""

    def file(self, source: str) -> Path:
        """Where the snapshot of a source is."""
        return self._folder / f"{source}.ndjson"

    def config(self) -> dict[str, Document]:
        """What the configuration says of sources, with their snapshots."""
        return {name: {"domains": [domain], "snapshot": self._settings(name)} for name, domain in SOURCES.items()}

    def _settings(self, source: str) -> Document:
        _, trusted, settle, duration = self._habits[source]
        ends = "file" if trusted else "marker"
        return {
            "file": f"{self._named_in}{self.file(source).name}",
            "ends": ends,
            "settle": settle,
            "duration": duration,
        }

    def take(self, source: str, kind: Kind, *, confirmed: bool) -> Snapshot:
        """The source reads all that it says now."""
        events = [self._sources.event(key) for key in self._sources.of(source)]
        if kind in ("without withdrawn", "gaps"):
            events = [event for event in events if event["payload"] is not None]
        if kind == "gaps":
            events = [event for event in events if self._luck.random() < 0.6]
        if kind == "cut off":
            events = events[: self._luck.randint(0, max(len(events) - 1, 0))]
        if kind == "shifted" and events:  # a row came twice in the place of one that was skipped
            place = self._luck.randrange(len(events))
            events[place] = events[place - 1]
        if kind == "emptied":
            events = [event | {"payload": EMPTY.get(event["type"], event["payload"])} for event in events]
        if self._luck.random() < 0.3:
            self._luck.shuffle(events)
        rows = {stream_of(key_of(event)): (event["sourceVersion"], content_of(event)) for event in events}
        taken_at = self._sources.now(source)
        return Snapshot(source, kind, events, rows, taken_at, confirmed, self._habits[source], taken_at)

    def write(self, snapshot: Snapshot) -> None:
        """Writes the file that the configuration names, by the clock of the simulation."""
        self._written += 1
        file = self.file(snapshot.source)
        lines = self._lines(snapshot)
        file.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
        moment = self._sources.now(snapshot.source) + timedelta(microseconds=self._written)
        os.utime(file, (moment.timestamp(), moment.timestamp()))
        since = snapshot.taken_at if snapshot.habits.marked else moment - timedelta(seconds=snapshot.habits.duration)
        self.latest[snapshot.source] = snapshot._replace(since=since)

    def _lines(self, snapshot: Snapshot) -> list[Document]:
        kind = snapshot.kind
        begin: Document = {"snapshot": "begin", "takenAt": in_text(snapshot.taken_at)}
        rows, count = list(snapshot.events), len(snapshot.events)
        if kind == "wrong count":
            count += self._luck.choice([-1, 1, 7])
        elif kind == "count 0":
            count = 0
        elif kind == "foreign":
            rows.append(self._foreign())
            count += 1
        end: list[Document] = [] if kind in ("no end", "cut off") else [{"snapshot": "end", "count": max(count, 0)}]
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
