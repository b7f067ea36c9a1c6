"""Writes every source's snapshot to its configured file."""

import gzip
from collections.abc import Collection, Iterable
from datetime import datetime
from pathlib import Path

import orjson

from pagefold.engine.configuration.config import Config
from pagefold.engine.demo.reference_model import Document, Model, in_microseconds, stream_of
from pagefold.projections.streams import Stream, stream_id

UNSORTED_SOURCES = ("dam",)
"""Sources whose rows are in no order. The others export by stream, so the rebuild need not sort."""


def export(model: Model, config: Config, gone: Collection[str], taken_at: datetime) -> dict[str, int]:
    """Writes every source's snapshot, without the removed SKUs. Returns the number of rows of each."""
    written = {}
    for name, source in config.sources.items():
        if source.snapshot is None or source.snapshot.file is None:
            continue
        rows = list(model.snapshot(name, gone))
        if name not in UNSORTED_SOURCES:
            rows.sort(key=_place)
        write_snapshot(Path(source.snapshot.file), rows, taken_at)
        written[name] = len(rows)
    return written


def write_snapshot(file: Path, rows: Iterable[Document], taken_at: datetime) -> None:
    """Writes rows between a begin marker with the time and an end marker with the count."""
    lines = [orjson.dumps({"snapshot": "begin", "takenAt": in_microseconds(taken_at)})]
    lines += map(orjson.dumps, rows)
    lines.append(orjson.dumps({"snapshot": "end", "count": len(lines) - 1}))
    content = b"\n".join(lines) + b"\n"
    file.write_bytes(gzip.compress(content, compresslevel=1) if file.suffix == ".gz" else content)


def _place(row: Document) -> str:
    """The row's stream, by which the log is ordered."""
    return stream_id(Stream(*stream_of(row)))
