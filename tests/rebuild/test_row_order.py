"""Unsorted rows are sorted in a temporary file, which leaves nothing behind."""

import sys
from contextlib import closing
from pathlib import Path

import pytest

from pagefold import Shop
from pagefold.engine.errors import SpillFailed
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.rebuild import row_order
from pagefold.engine.rebuild.row_order import stream_of
from pagefold.engine.snapshots.row import Row
from pagefold.engine.snapshots.snapshot import Batch
from pagefold.engine.stores.log_records import SEPARATOR
from tests.support.rebuild_fixtures import export, rebuild, resume, with_snapshots
from tests.support.small_shop import configured, stock

ROWS = 20_000


def rows() -> list[Row]:
    """More rows than fit in memory, in descending order."""
    names = (f"SKU-{number:06}/*/inventory/wms-a".encode() for number in range(ROWS, 0, -1))
    return [
        Row(number, None, b" " * 500, SEPARATOR.join([name, b"1", b"{}"])) for number, name in enumerate(names, start=1)
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_file_has_no_name() -> None:
    """The file is unlinked, so it disappears with the process. The rows are sorted."""
    assigner = row_order.StreamAssigner(
        EventValidator(configured("sqlite:///nowhere")), row_order.Scope(frozenset(), "")
    )
    before = set(unnamed())
    with closing(row_order._Spill()) as spill:
        spill.add(assigner, Batch(rows(), None, ROWS, None))
        [file] = set(unnamed()) - before
        assert file.stat().st_size > ROWS * 500
        assert file.stat().st_nlink == 0
        pages = list(spill.chunks(assigner))
    streams = [stream_of(row) for page in pages for row in page.rows]
    assert (len(streams), streams) == (ROWS, sorted(streams))
    assert set(unnamed()) <= before


def unnamed() -> list[Path]:
    """Unlinked open files of this process."""
    files = Path("/proc/self/fd").iterdir()
    return [file for file in files if file.is_symlink() and file.readlink().name.endswith(" (deleted)")]


async def test_a_file_that_cannot_grow_stops_the_run(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what is wrong and what to do. With enough space, the run can be resumed."""
    config = with_snapshots(shop.config.store.url, tmp_path, "wms-a")
    export(config, "wms-a", *[stock(1, sku=f"SKU-{number:03}") for number in range(500, 0, -1)])
    shop.config = config
    with monkeypatch.context() as patch:
        patch.setattr(row_order, "_TABLES", f"{row_order._TABLES}; PRAGMA max_page_count = 5")
        with pytest.raises(SpillFailed, match="TMPDIR names the folder"):
            await rebuild(shop, "wms-a")
    async with shop.rebuilds() as office:
        [report] = await office.newest(1)
    assert report.state == "interrupted"
    report = await resume(shop, report.run)
    assert (report.state, report.counts.missing) == ("completed", 500)
