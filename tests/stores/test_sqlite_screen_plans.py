"""Plans of what the dashboard and the key figures ask of SQLite: by index, and nothing is sorted but what is shown."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import apsw
import pytest

from pagefold.engine.stores import open_store
from pagefold.engine.stores.sqlite.connections import EVENTS, PAGES, SQL, connect
from tests.support.small_shop import configured

OPEN: dict[str, Any] = {"resolved": 0, "kind": None, "domain": None, "source": None, "longest": 1_000, "limit": 21}
AHEAD = {**OPEN, "recorded_at": "9999-12-31T23:59:59.999999Z", "after_kind": "~", "number": 0}
ALL_FIELDS = {
    "after_source": "",
    "after_contract": "",
    "after_family": "",
    "after_field": "",
    "source": None,
    "contract": None,
    "field": None,
    "alerts": 1,
    "limit": 101,
}
ALL_IDS = {"after_kind": "", "after_id": "", "kind": None, "shared": 0, "limit": 1}
BY_AGE, BY_CAUSE = "dead_letters_by_age", "dead_letters_by_cause"


class Asked(NamedTuple):
    """A statement with its bindings, the file that it is for, and the index by which it reads.

    `covered`: it reads nothing but the index, as far as SQLite knows: of a partial index it never does. `sorts`: it
    sorts what it has found, which is bounded otherwise.
    """

    name: str
    bindings: Any
    by: str
    file: str = EVENTS
    covered: bool = False
    sorts: bool = False


ASKED = [
    Asked("count_dead_letters", (), "dead_letters_open"),
    Asked("count_dead_letters", (), "dead_letters_open", PAGES),
    Asked("count_purged", ("ingest",), "dead_letters_purged"),
    Asked("count_letters", OPEN, BY_AGE, covered=True),
    Asked("count_letters", {**OPEN, "kind": "projection", "source": "erp"}, BY_AGE, PAGES, covered=True),
    Asked("count_open_letters", {**OPEN, "kind": "ingest", "domain": ""}, "dead_letters_open"),
    Asked("count_letters_of_cause", {**OPEN, "cause": "x"}, BY_CAUSE, covered=True),
    Asked("count_recent_letters", ("2026-01-01", 10), BY_AGE, covered=True, sorts=True),
    Asked("count_expired", ("ingest", 0, "2026-01-01"), "dead_letters_by_expiry"),
    Asked("dead_letter_causes", {"limit": 1_000, "counted": 10_001, "longest": 1_000}, BY_CAUSE, sorts=True),
    Asked("cause_history", {"cause": "x", "since": "2026", "counted": 10_000}, BY_CAUSE, covered=True, sorts=True),
    Asked("newest_dead_letters", {**AHEAD, "source": "erp"}, BY_AGE),
    Asked("newest_dead_letters", AHEAD, BY_AGE, PAGES),
    Asked("newest_dead_letters_of_cause", {**AHEAD, "cause": "x"}, BY_CAUSE),
    Asked("oldest_dead_letters", AHEAD, BY_AGE),
    Asked("dead_letters_of_sku", {**OPEN, "sku": "A", "domains": '["",  "media"]'}, "dead_letters_open", sorts=True),
    Asked("has_dead_letters", ("media",), "dead_letters_open", PAGES),
    Asked("requests_of", (apsw.carray(("///erp",)),), "dead_letters_open"),
    Asked("alert_counts", (), "source_fields_alerts", covered=True),
    Asked("field_entries", ALL_FIELDS, "sqlite_autoindex_source_fields_1"),
    Asked("newest_alerts", (20,), ""),
    Asked("session_of", (b"",), "sqlite_autoindex_sessions_1"),
    Asked("token_of", (b"",), "sqlite_autoindex_tokens_2"),
    Asked("remove_session", (b"",), "sqlite_autoindex_sessions_1"),
    Asked("remove_expired_sessions", ("2026-01-01",), "sessions_by_end"),
    Asked("remove_oldest_sessions", (b"", 10), "sessions", sorts=True),
    Asked("newest_audit_entries", (None, None, None, None, 51), ""),
    Asked("newest_plans", (20,), "plans_by_time"),
    Asked("newest_runs", (None, 21), ""),
    Asked("requested_run", (7,), "INTEGER PRIMARY KEY"),
    Asked("open_requests", (), ""),  # of each task, a hundred runs are kept
    Asked("oldest_fetches", ("erp", 100), "fetches_by_age"),
    Asked("count_fetches", (), "fetches_due"),
    Asked("listed_ids", ALL_IDS, "known_references_by_id", PAGES, covered=True),
    Asked("stated_references", ("gtin", "1", 100), "known_references_by_id", PAGES, covered=True),
    Asked("page_layouts", ("A", 2_000), "sqlite_autoindex_sections_1", PAGES, sorts=True),
    Asked("listed_pages", ("A", 51), "sqlite_autoindex_sections_1", PAGES),
]


NOT_TABLES = ("(", "causes", "found", "wanted", "CONSTANT")
"""Beginnings of what plans name besides tables: parts of the statement itself."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store: without statistics, plans do not depend on what is in it."""
    place = tmp_path_factory.mktemp("plans")

    async def make() -> None:
        await (await open_store(configured(f"sqlite:///{place}"))).close()

    anyio.run(make)
    return place


@pytest.fixture(scope="module")
def files(folder: Path) -> Iterator[dict[str, apsw.Connection]]:
    """A connection to each file."""
    with (
        closing(connect(folder / EVENTS, synchronous="OFF")) as events,
        closing(connect(folder / PAGES, synchronous="OFF")) as pages,
    ):
        yield {EVENTS: events, PAGES: pages}


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: f"{asked.name}-{asked.file}")
def test_what_screens_ask_is_read_by_index(files: dict[str, apsw.Connection], asked: Asked) -> None:
    """No table is read from end to end, unless it is in the order of its numbers, as far as the limit."""
    plan = [row[3] for row in files[asked.file].execute(f"EXPLAIN QUERY PLAN {SQL[asked.name]}", asked.bindings)]
    read = [step for step in plan if step.startswith(("SEARCH", "SCAN")) and "VIRTUAL TABLE" not in step]
    tables = [step for step in read if not step.split()[1].startswith(NOT_TABLES)]
    assert tables
    for step in tables:
        if asked.by:
            assert asked.by in step or "(rowid=?)" in step, plan
        if asked.covered:
            assert "USING COVERING INDEX" in step, plan
    assert asked.sorts or not any("TEMP B-TREE" in step for step in plan), plan
