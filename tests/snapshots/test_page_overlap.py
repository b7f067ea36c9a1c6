"""Pages that overlap by a row: they show that no row has moved from one page to another while they were read."""

from collections.abc import Callable

import orjson
import pytest

from pagefold.engine.snapshots.snapshot import End
from tests.support.fake_endpoint import Asked, Reply, serving
from tests.support.snapshot_fixtures import Read, configured, prices, read

ROWS = 25
PAGING = {"parameter": "offset", "step": "rows", "overlap": "sku"}
MOVED = End(complete=False, reason="rows moved between its pages while they were read")
COMPLETE = End(complete=True)


class Table:
    """Rows in pages of ten by offset; before each page but the first, `change` changes them."""

    def __init__(self, change: Callable[[list[object], int], None] | None = None, *, has_total: bool = True) -> None:
        self.rows: list[object] = [*prices(ROWS)]
        self._change = change
        self._has_total = has_total
        self._pages = 0

    def __call__(self, asked: Asked) -> Reply:
        """One page."""
        if self._change is not None and self._pages:
            self._change(self.rows, self._pages)
        self._pages += 1
        start = int(asked.query["offset"])
        headers = {"x-total-count": str(len(self.rows))} if self._has_total else {}
        return Reply(orjson.dumps(self.rows[start : start + 10]), headers=headers)


async def taken(table: Table, **paging: object) -> tuple[Read, list[str]]:
    """What was read of a table, and the offsets that were asked for."""
    async with serving(table) as server:
        config = configured(url=f"{server.url}/rows", requests_per_second=1000.0, paging=PAGING | paging)
        found = await read(config)
        return found, [each.query["offset"] for each in server.asked]


@pytest.mark.parametrize("has_total", [True, False])
async def test_each_row_is_read_once(has_total: bool) -> None:  # noqa: FBT001  # a parameter
    """Each page begins with the last row of the one before it, which is not read again."""
    found, offsets = await taken(Table(has_total=has_total), **({} if has_total else {"size": 10}))
    assert len(found.rows) == len({event.sku for event in found.events}) == ROWS
    assert (found.end, offsets) == (COMPLETE, ["0", "9", "18"])


def removed_and_added(rows: list[object], page: int) -> None:
    """As many rows as before."""
    del rows[page]
    rows.extend(prices(100 + page)[-1:])


def removed(rows: list[object], _page: int) -> None:
    """One row less before those that follow."""
    del rows[0]


def added_first(rows: list[object], page: int) -> None:
    """One row more before those that follow."""
    rows[:0] = prices(100 + page)[-1:]


@pytest.mark.parametrize("change", [removed_and_added, removed, added_first])
@pytest.mark.parametrize("has_total", [True, False])
async def test_rows_that_moved_are_found(change: Callable[[list[object], int], None], has_total: bool) -> None:  # noqa: FBT001  # a parameter
    """Also where as many were added as removed, so that the number of rows is right, and one of them was skipped."""
    found, _ = await taken(Table(change, has_total=has_total), **({} if has_total else {"size": 10}))
    assert found.end == MOVED


async def test_without_an_overlap_they_are_not_found() -> None:
    """That is why it is there: the total is right, and a row is missing."""
    table = Table(removed_and_added)
    found, _ = await taken(table, overlap=None)
    assert found.end == COMPLETE
    assert {str(row["sku"]) for row in prices(ROWS)[3:]} - {event.sku for event in found.events}


async def test_rows_may_be_added_behind() -> None:
    """Rows that come last move no others; a row that changes does not, either."""

    def change(rows: list[object], page: int) -> None:
        rows[9] = {**prices(10)[9], "payload": {"currency": "EUR", "amount": "77.00"}}
        if page == 1:
            rows.extend(prices(101)[-1:])

    found, _ = await taken(Table(change, has_total=False), size=10)
    assert (len(found.rows), found.end) == (ROWS + 1, COMPLETE)


async def test_a_row_that_is_the_last_and_goes() -> None:
    """A page without the row that it should begin with is one of rows that moved."""
    found, _ = await taken(Table(lambda rows, _: rows.clear(), has_total=False), size=10)
    assert found.end == MOVED
