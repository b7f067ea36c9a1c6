"""The clients: they send events, read pages, and request rebuilds, on random machines."""

from collections.abc import Sequence

import orjson

from pagefold import AppendResult, DomainEvent, Rejected, Shop, parse_event
from pagefold.engine.intake.appender import append_parsed
from pagefold.engine.rebuild.run_observer import RunObserver
from tests.simulation.model import DOMAINS, Document, Shown
from tests.simulation.snapshots import Snapshots


class SnapshotRecorder(RunObserver):
    """Records which snapshot a run reads."""

    def __init__(self, snapshots: Snapshots, source: str = "") -> None:
        self._snapshots = snapshots
        self._source = source

    def begun(self, run_id: str) -> None:
        """A run reads the newest snapshot of its source: it cannot resume with another one."""
        source = self._source or run_id.rpartition("-")[0].rpartition("-")[0]
        self._snapshots.of_run.setdefault(run_id, self._snapshots.latest[source])


async def append_documents(shop: Shop, events: Sequence[Document]) -> list[AppendResult]:
    """The outcomes of events that are sent as documents of the source."""
    found: list[DomainEvent | Rejected] = []
    for event in events:
        try:
            found.append(parse_event(orjson.dumps(event)))
        except Rejected as refused:
            found.append(refused)
    return await append_parsed(found, shop.append)


def observe(seen: dict[tuple[str, str, str], list[Shown]], page: Document) -> None:
    """Records what a page shows of each section, if it has changed."""
    for domain in DOMAINS:
        versions = {name: version for name, version in page["sourceVersions"].items() if name.startswith(domain + "/")}
        if not versions:
            continue
        states = seen.setdefault((page["sku"], page["channel"], domain), [])
        shown = (versions, page[domain])
        if not states or states[-1] != shown:
            states.append(shown)
