"""Plans of the statements that read the past: by the index of the streams, which has the positions."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import apsw
import pytest

from pagefold.engine.stores import open_store
from pagefold.engine.stores.sqlite.connections import EVENTS, PAGES, SQL, connect
from tests.support.small_shop import configured

VERSIONS = 20_000
FILL = f"""
WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {VERSIONS})
INSERT INTO stored_events (originator_id, originator_version, topic, state)
SELECT iif(i % 2, 'A/*/inventory/wms', 'S' || i || '/*/inventory/wms'), i, 'inventory', zeroblob(300) FROM numbers
"""  # noqa: S608  # numbers of ours

STREAMS = apsw.carray(("A/*/inventory/wms",))
PAST: dict[str, Any] = {
    "heads_as_of": (10, STREAMS),
    "head_sizes_as_of": (10, STREAMS),
    "older_events": ("A/*/inventory/wms", VERSIONS, 0, 10, 5),
    "older_events_of": {
        "events": f'[["A/*/inventory/wms", {VERSIONS}, 0]]',
        "as_of": 10,
        "limit": 5,
        "max_state": 100,
    },
}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[apsw.Connection]:
    """A log where one stream has half of the versions."""

    async def make() -> None:
        await (await open_store(configured(f"sqlite:///{tmp_path}"))).close()

    anyio.run(make)
    with closing(connect(tmp_path / EVENTS, synchronous="OFF")) as connection:
        connection.execute(FILL)
        yield connection


@pytest.mark.parametrize("statement", PAST)
@pytest.mark.parametrize("statistics", [False, True])
def test_the_past_is_read_by_stream(log: apsw.Connection, statement: str, *, statistics: bool) -> None:
    """Events are found in the index of streams and versions, or by their positions one by one; no table is scanned."""
    if statistics:
        log.execute("ANALYZE")
    plan = [row[-1] for row in log.execute(f"EXPLAIN QUERY PLAN {SQL[statement]}", PAST[statement])]
    read = [step for step in plan if step.startswith(("SEARCH", "SCAN")) and "wanted" not in step]
    assert read
    for step in read:
        assert step.startswith("SEARCH"), plan
        assert "(originator_id=?" in step or "(rowid=?)" in step, plan
    if statement == "heads_as_of":
        assert any("COVERING INDEX" in step for step in read), plan


def pages_read(log: apsw.Connection) -> int:
    """How many pages of the file a connection has read, from the disk or its cache."""
    kinds = (apsw.SQLITE_DBSTATUS_CACHE_HIT, apsw.SQLITE_DBSTATUS_CACHE_MISS)
    return sum(log.status(kind)[0] for kind in kinds)


def test_the_past_of_a_stream_with_many_versions_takes_a_step_for_each(log: apsw.Connection) -> None:
    """No more than that: the states of the versions that came later are not read."""
    query = SQL["heads_as_of"]
    for position, newest in ((VERSIONS, VERSIONS - 1), (1, 1)):
        before = pages_read(log)
        rows = list(log.execute(query, (position, STREAMS)))
        assert f",{newest},0," in rows[0][0]
        assert pages_read(log) - before < VERSIONS // 10


KPIS: dict[str, tuple[tuple[Any, ...], str]] = {
    "count_recent_letters": (("2026-01-01", 10), "dead_letters_by_age"),
    "newest_kpi_points": ((apsw.carray(("lag",)), 1), "sqlite_autoindex_kpi_points_1"),
    "kpi_spans": ((apsw.carray(("lag",)), 1), "sqlite_autoindex_kpi_points_1"),
    "kpi_history": (("lag", "", 1), "sqlite_autoindex_kpi_points_1"),
    "open_alerts": ((), "alerts_open"),
    "due_alert_messages": (("2026-01-01", 10), "alert_messages_due"),
}


@pytest.mark.parametrize("statement", KPIS)
def test_key_figures_are_read_by_an_index(log: apsw.Connection, statement: str) -> None:
    """None of their statements scans a table."""
    bindings, index = KPIS[statement]
    plan = [row[3] for row in log.execute(f"EXPLAIN QUERY PLAN {SQL[statement]}", bindings)]
    assert any(index in step for step in plan)
    tables = ("dead_letters", "kpi_points", "alerts", "message", "stored_events")
    assert not {f"SCAN {table}" for table in tables}.intersection(plan)


FEED: dict[str, dict[str, Any] | tuple[Any, ...]] = {
    "page_skus": ("S7", 100),
    "folded_state": (),
    "indirect_changes": ("media", 5_000, 50),
    "note_changes": {"domain": "media", "count": 1, "mark": "", "skus": "[]"},
    "forget_changes": {"domain": "media", "kept": 1_000},
}


def test_what_followers_read_is_read_by_an_index(tmp_path: Path, log: apsw.Connection) -> None:
    """The window of the log by positions, notes and pages by their keys. Only checkpoints, few, are scanned."""
    window = {"domains": apsw.carray(("media",)), "after": 10, "upto": 500, "limit": 100}
    plan = [row[3] for row in log.execute(f"EXPLAIN QUERY PLAN {SQL['log_window']}", window)]
    assert "SEARCH stored_events USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in plan
    with closing(connect(tmp_path / PAGES, synchronous="OFF")) as pages:
        for statement, bindings in FEED.items():
            steps = [row[3] for row in pages.execute(f"EXPLAIN QUERY PLAN {SQL[statement]}", bindings)]
            read = [step for step in steps if step.startswith(("SEARCH", "SCAN")) and step != "SCAN checkpoints"]
            assert read, steps
            assert all("INDEX sqlite_autoindex" in step for step in read), steps
