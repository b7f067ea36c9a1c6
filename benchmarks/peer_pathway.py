"""The workload in Pathway: tables of the newest events and of pages, over a file that is read once.

python -m benchmarks.peer_pathway FILE URL
"""

import sys

import pathway as pw

from benchmarks.peer_clock import printed_cost
from benchmarks.peer_pages import Document, Page, PageTable, keep_newest, page_table, pages_of

BATCH = 5_000
"""SKUs whose pages are written in one transaction."""


class Change(pw.Schema):
    """An event, without the fields that pages do not show."""

    type: str
    sku: str
    channel: str
    source: str
    sourceVersion: int  # noqa: N815  # the field's name in the file
    payload: pw.Json


class Writer:
    """Writes pages to the table, in batches."""

    def __init__(self, table: PageTable) -> None:
        self._table = table
        self._pages: list[Page] = []

    def change(self, key: object, row: dict[str, tuple[Page, ...]], time: int, is_addition: bool) -> None:  # noqa: ARG002, FBT001  # Pathway calls it
        """Takes the pages of a SKU. What they replace is overwritten."""
        if is_addition:
            self._pages += row["pages"]
        if len(self._pages) >= BATCH:
            self.flush()

    def flush(self, *_: object) -> None:
        """Writes what was taken."""
        if self._pages:
            self._table.write(self._pages)
            self._pages = []


def fold(sku: str, events: tuple[tuple[str, str, str, int, pw.Json], ...]) -> tuple[Page, ...]:
    """The pages of a SKU."""
    document: Document = {}
    for channel, domain, source, version, payload in events:
        stream = {"channel": channel, "type": domain, "source": source}
        keep_newest(document, {**stream, "sourceVersion": version, "payload": payload.value})
    return tuple(pages_of(sku, document))


def build(file: str, writer: Writer) -> None:
    """The newest event of each stream, those of a SKU together, and its pages."""
    changes = pw.io.jsonlines.read(file, schema=Change, mode="static")
    by_stream = changes.groupby(changes.sku, changes.channel, changes.type, changes.source)
    newest = by_stream.reduce(row=pw.reducers.argmax(changes.sourceVersion))
    events = changes.ix(newest.row)
    event = pw.make_tuple(events.channel, events.type, events.source, events.sourceVersion, events.payload)
    documents = events.groupby(events.sku).reduce(events.sku, events=pw.reducers.tuple(event))
    pages = documents.select(pages=pw.apply_with_type(fold, tuple, documents.sku, documents.events))
    pw.io.subscribe(pages, on_change=writer.change, on_time_end=writer.flush, on_end=writer.flush)


if __name__ == "__main__":
    table = page_table(sys.argv[2])
    build(sys.argv[1], Writer(table))
    with printed_cost():
        pw.run(monitoring_level=pw.MonitoringLevel.NONE)
        table.close()
