"""Every source's snapshot, in the file where its configuration says that it is."""

import gzip
from collections.abc import Collection, Iterable
from datetime import datetime
from pathlib import Path

import orjson

from pagefold.engine.configuration.config import Config
from pagefold.engine.demo.reference_model import Document, Model, in_microseconds, stream_of
from pagefold.projections.streams import Stream, stream_id

AS_THEY_COME = ("dam",)
"""Who exports in the order in which its files came. The others do it by SKU, which spares the rebuild the sorting."""


def export(model: Model, config: Config, gone: Collection[str], taken_at: datetime) -> dict[str, int]:
    """Writes every source's snapshot, without the SKUs that are gone. Gives how many rows each has."""
    written = {}
    for name, source in config.sources.items():
        if source.snapshot is None or source.snapshot.file is None:
            continue
        rows = list(model.snapshot(name, gone))
        if name not in AS_THEY_COME:
            rows.sort(key=_place)
        write_snapshot(Path(source.snapshot.file), rows, taken_at)
        written[name] = len(rows)
    return written


def write_snapshot(file: Path, rows: Iterable[Document], taken_at: datetime) -> None:
    """Writes rows between a marker that says when they were taken and one that says how many there are."""
    lines = [orjson.dumps({"snapshot": "begin", "takenAt": in_microseconds(taken_at)})]
    lines += map(orjson.dumps, rows)
    lines.append(orjson.dumps({"snapshot": "end", "count": len(lines) - 1}))
    content = b"\n".join(lines) + b"\n"
    file.write_bytes(gzip.compress(content, compresslevel=1) if file.suffix == ".gz" else content)


def _place(row: Document) -> str:
    """Where a row stands: in the order of the log's streams."""
    return stream_id(Stream(*stream_of(row)))
