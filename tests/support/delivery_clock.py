"""The clock of the deliveries of a store, moved by a test."""

from pagefold import Config
from pagefold.engine.stores.delivery_records import SECOND
from pagefold.engine.stores.sqlite.deliveries import SQLiteDeliveries
from pagefold.engine.stores.sqlite.delivery_targets import SQLiteDeliveryTargets
from pagefold.engine.stores.store import Store
from tests.support.databases import query

START = 1_767_268_800 * SECOND
"""2026-01-01T12:00:00Z, in microseconds."""

REPLACED = """
CREATE TABLE moved_clock AS SELECT {}::bigint AS now;
CREATE OR REPLACE FUNCTION delivery_clock() RETURNS bigint LANGUAGE sql STABLE RETURN (SELECT now FROM moved_clock);
"""


class DeliveryClock:
    """Stands still, but for `advance`."""

    def __init__(self, store: Store, config: Config) -> None:
        self.now = START
        self._url = None
        if isinstance(store.deliveries, SQLiteDeliveries):
            store.deliveries.clock = lambda: self.now
        if isinstance(store.delivery_targets, SQLiteDeliveryTargets):
            store.delivery_targets.clock = lambda: self.now
        else:
            self._url = config.store.url
            query(self._url, REPLACED.format(START), search_path="pagefold")

    def advance(self, seconds: float) -> None:
        """Moves the clock, back if negative."""
        self.now += round(seconds * SECOND)
        if self._url is not None:
            query(self._url, "UPDATE moved_clock SET now = %s", self.now, search_path="pagefold")
