"""The workload in Bytewax: one dataflow, with the newest events of a SKU as its state.

python -m benchmarks.peer_bytewax FILE URL
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import bytewax.operators as op
import orjson
from bytewax.connectors.files import FileSource
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

from benchmarks.peer_clock import printed_cost
from benchmarks.peer_pages import Document, Event, Page, PageTable, keep_newest, page_table, pages_of

BATCH = 5_000
"""Lines that are read together: each SKU is folded, and written, once for them."""


class Newest(StatefulBatchLogic):
    """The newest events of one SKU."""

    def __init__(self, document: Document | None) -> None:
        self._document: Document = document or {}

    def on_batch(self, values: Sequence[Event]) -> tuple[Sequence[Page], bool]:
        """The SKU's pages after some events."""
        for event in values:
            keep_newest(self._document, event)
        return list(pages_of(values[0]["sku"], self._document)), StatefulBatchLogic.RETAIN

    def snapshot(self) -> Document:
        """What recovery stores."""
        return dict(self._document)


class Partition(StatelessSinkPartition):
    """Writes pages to the table."""

    def __init__(self, table: PageTable) -> None:
        self._table = table

    def write_batch(self, items: Sequence[tuple[str, Page]]) -> None:
        """One transaction."""
        self._table.write([page for _, page in items])

    def close(self) -> None:
        """Closes the table."""
        self._table.close()


class Sink(DynamicSink):
    """The table of a store."""

    def __init__(self, url: str) -> None:
        self._url = url

    def build(self, _step: str, _worker: int, _workers: int) -> Partition:
        """The only partition."""
        return Partition(page_table(self._url))


def flow(file: Path, url: str) -> Dataflow:
    """Lines, events by SKU, pages."""
    made = Dataflow("pages")
    lines = op.input("lines", made, FileSource(file, batch_size=BATCH))
    events = op.map("events", lines, orjson.loads)
    pages = op.stateful_batch("pages", op.key_on("skus", events, lambda event: event["sku"]), Newest)
    op.output("table", pages, Sink(url))
    return made


if __name__ == "__main__":
    made = flow(Path(sys.argv[1]), sys.argv[2])
    with printed_cost():
        run_main(made)
