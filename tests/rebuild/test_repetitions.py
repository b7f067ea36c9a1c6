"""Repeated rows in files with an end marker."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pagefold import Config, DomainEvent, Shop
from pagefold.engine.rebuild.rebuild_service import RebuildRequest
from tests.support.rebuild_fixtures import WHOLE, counts_of, file_of, rebuild, with_snapshots
from tests.support.small_shop import as_line, price, say

SKUS = [f"SKU-{number:03}" for number in range(40)]
AGAIN = price("9.90", version=5, sku=SKUS[9])
OLDER = price("8.80", version=4, sku=SKUS[9])
ELSEWHERE = price("9.90", version=5, sku=SKUS[9], channel="web-pl")


@pytest.fixture
def config(store_url: str, tmp_path: Path) -> Config:
    """The small shop, where the ERP has a snapshot."""
    return with_snapshots(store_url, tmp_path, "erp")


def prices(skus: Sequence[str] = SKUS) -> list[DomainEvent]:
    """A price of every SKU."""
    return [price("9.90", version=5, sku=sku) for sku in skus]


@pytest.mark.parametrize(
    ("more", "count", "order", "complete"),
    [
        ([AGAIN], 40, WHOLE, False),
        ([AGAIN], 39, WHOLE, True),
        ([AGAIN], 41, WHOLE, False),
        ([AGAIN, AGAIN], 40, WHOLE, False),
        ([OLDER], 40, WHOLE, True),
        ([OLDER], 39, WHOLE, False),
        ([OLDER, OLDER], 40, WHOLE, True),
        ([ELSEWHERE], 40, WHOLE, True),
        ([ELSEWHERE, ELSEWHERE], 41, WHOLE, False),
        ([ELSEWHERE, ELSEWHERE], 40, WHOLE, True),
        ([AGAIN], 40, RebuildRequest(prefix="SKU-03"), False),
        ([AGAIN], 39, RebuildRequest(prefix="SKU-03"), True),
        ([OLDER], 40, RebuildRequest(prefix="SKU-03"), True),
    ],
)
@pytest.mark.parametrize("place", [None, 0, 25], ids=["behind it", "first", "in between"])
async def test_an_end_marker_counts_distinct_rows(  # noqa: PLR0913, PLR0917  # what makes the file, and what is to come of it
    shop: Shop,
    config: Config,
    more: list[DomainEvent],
    count: int,
    order: RebuildRequest,
    complete: bool,  # noqa: FBT001  # a parameter
    place: int | None,
) -> None:
    """A row that equals another does not count towards the end marker's count; other versions of a stream do."""
    await say(shop, *prices(), price("1.00", sku="SKU-039X"))
    rows = prices(SKUS[:39])
    for row in more:
        rows.insert(10 if place is None else place, row)
    lines = [*map(as_line, rows), b'{"snapshot":"end","count":%d}' % count]
    file_of(config, "erp").write_bytes(b"\n".join(lines))
    report = await rebuild(shop, "erp", order)
    assert (report.state, report.complete) == ("completed", complete)
    assert counts_of(report)["orphans"] == 2
    assert report.counts.withdrawn == (2 if complete else 0)
