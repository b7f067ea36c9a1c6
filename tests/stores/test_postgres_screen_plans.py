"""Plans of what the dashboard and the key figures ask: by index, and none reads or sorts everything to show a few."""

from collections.abc import AsyncIterator, Iterator

import pytest

from pagefold.engine.stores.postgres.connections import SQL, Session
from tests.support.databases import opened
from tests.support.postgres import PostgresServer
from tests.support.query_plans import Hot, explained, judge, nodes
from tests.support.small_shop import configured

LETTERS, CAUSES = 20_000, 40
"""Open dead letters, and their causes; there are half as many that are resolved."""

ROWS = 20_000

TABLES = (
    *("dead_letters", "sections", "kpi_points", "alerts", "alert_messages", "audit", "sessions", "tokens"),
    *("plans", "scheduled_runs", "source_fields", "fetches", "known_references"),
)

FILL = f"""
INSERT INTO dead_letters
    (kind, domain, originator_id, originator_version, revision, digest, error, state, recorded_at, resolution, cause)
SELECT (ARRAY['ingest', 'projection'])[i % 2 + 1], (ARRAY['catalog', 'pricing'])[i % 2 + 1],
       'S' || i || '/*/x/erp', 1, 0, '', 'wrong', convert_to(repeat('x', 300), 'UTF8'), now() - i * interval '1 s',
       CASE WHEN i > {LETTERS} THEN 'folded' END, 'cause' || i % {CAUSES}
FROM generate_series(1, {LETTERS * 3 // 2}) AS i;
INSERT INTO sections
SELECT 'S' || i, domain, '{{"web-de":0}}', '3', '[[0,9,2,"",""]]', '{{"x/y":1}}{{}}'
FROM generate_series(1, {ROWS // 4}) AS i, unnest(ARRAY['catalog', 'pricing', 'inventory', 'media']) AS domain;
INSERT INTO kpi_points SELECT 'kpi' || i % 14, '', i / 14, 1 FROM generate_series(1, {ROWS}) AS i;
INSERT INTO alerts (kpi, label, since, reading, resolved_at)
SELECT 'lag', 'label' || i, '2026-01-01', '', CASE WHEN i % 1000 > 0 THEN '2026-01-02' END
FROM generate_series(1, {ROWS}) AS i;
INSERT INTO alert_messages (alert, target, event, reading, due, sent_at)
SELECT number, 'mail', 'crossed', '', '2026-01-01', resolved_at FROM alerts;
INSERT INTO audit (started_at, actor, via, action, target)
SELECT '2026-01-01', 'ada', 'dashboard', 'apply', 'plan' || i FROM generate_series(1, {ROWS}) AS i;
INSERT INTO sessions
SELECT sha256(i::text::bytea), sha256((i % 50)::text::bytea), '2026-01-01', '2026-02-0' || 1 + i % 2
FROM generate_series(1, {ROWS}) AS i;
INSERT INTO tokens (name, digest, label, scopes, created_at)
SELECT 'tok_' || i, sha256(i::text::bytea), '', 'read', '2026-01-01' FROM generate_series(1, {ROWS}) AS i;
INSERT INTO plans
SELECT 'plan' || i, '2026-01-01T' || i, 'digest' || i, 1, 1, 1, 1, 'ada', 'open', '', '', '', ''
FROM generate_series(1, {ROWS}) AS i;
INSERT INTO scheduled_runs (task, due, started_at) SELECT 'task' || i % 50, '', '' FROM generate_series(1, {ROWS}) AS i;
INSERT INTO source_fields
SELECT 'pim', 'c', 'f' || i % 10, CASE WHEN i < 11 THEN '' ELSE 'field' || i END, '', '', 1, 0, 1, 1, 1, true, '',
       CASE WHEN i % 10 = 1 THEN 'new' END
FROM generate_series(1, {ROWS}) AS i;
INSERT INTO fetches
SELECT (ARRAY['erp', 'pim'])[i % 2 + 1], 'rule', 'key' || i, '', '', '', false, 1, '2026-01-01T' || i, '2026-01-01'
FROM generate_series(1, {ROWS}) AS i;
INSERT INTO known_references
SELECT 'S' || i || '/*/catalog/pim', 'gtin', 'id' || i, 'S' || i FROM generate_series(1, {ROWS}) AS i;
"""  # noqa: S608  # numbers of ours

BY_AGE, BY_CAUSE, BY_NUMBER = "dead_letters_by_age", "dead_letters_by_cause", "dead_letters_pkey"
BY_KPI = {"kpi_points_pkey"}
AHEAD = "'9999-12-31T23:59:59.999999Z', '~', 0"
SINCE = "'2020-01-01T00:00:00Z'"
INDEX_BLOCKS = LETTERS // 40
"""Blocks of an index that has all open dead letters; the table has many times more."""

DIGEST = "sha256('7')"

ASKED = [
    # dead letters: what is open is counted in an index, and only what is shown is read from the table
    Hot("count_dead_letters", "", {"dead_letters_open"}, INDEX_BLOCKS),
    Hot("count_purged", "'ingest'", {"dead_letters_purged"}, 5),
    Hot("count_letters", "NULL, NULL, NULL, false", {BY_AGE}, INDEX_BLOCKS),
    Hot("count_letters", "'ingest', 'pricing', 'erp', false", {BY_AGE}, INDEX_BLOCKS),
    Hot("count_open_letters", "'ingest', 'media', 'erp'", {"dead_letters_open"}, 5),
    Hot("count_letters_of_cause", "NULL, NULL, NULL, false, 'cause7'", {BY_CAUSE}, INDEX_BLOCKS // 10),
    Hot("count_recent_letters", f"{SINCE}, 100000", {BY_AGE}, 2 * INDEX_BLOCKS),
    Hot("count_expired", f"'ingest', false, {SINCE}", {"dead_letters_by_expiry"}, 10),
    Hot("dead_letter_causes", "1000, 10001, 1000, false", {BY_CAUSE}, 2 * INDEX_BLOCKS),
    Hot("cause_history", f"'cause7', {SINCE}, 10000, false", {BY_CAUSE}, INDEX_BLOCKS // 10),
    Hot("without_cause", "1000, 500, false", {BY_CAUSE}, 10),
    Hot("newest_dead_letters", f"NULL, NULL, NULL, false, {AHEAD}, 21, 1000", {BY_AGE, BY_NUMBER}, 150),
    Hot("newest_dead_letters", f"'ingest', 'media', 'x', false, {AHEAD}, 21, 1000", {BY_AGE, BY_NUMBER}, INDEX_BLOCKS),
    Hot(
        "newest_dead_letters_of_cause",
        f"NULL, NULL, NULL, true, {AHEAD}, 21, 1000, 'cause7'",
        {BY_CAUSE, BY_NUMBER},
        150,
    ),
    Hot("get_dead_letter", "'ingest', 500", {BY_NUMBER}, 5),
    Hot("dead_letters_of_sku", "ARRAY['ingest'], ARRAY['catalog'], 'S7', 1000, 100", {"dead_letters_open"}, 20),
    # key figures and alerts
    Hot("kpi_history", "'kpi7', '', 500", BY_KPI, 120),
    Hot("newest_kpi_points", "ARRAY['kpi7'], 500", BY_KPI, 120, sorted=2_000),
    Hot("kpi_spans", "ARRAY['kpi7'], 1000", BY_KPI, 120, sorted=2_000),
    Hot("open_alerts", "", {"alerts_open"}, ROWS // 400),
    Hot("newest_alerts", "20", {"alerts_pkey"}, 10),
    Hot("due_alert_messages", "'2026-02-01', 100", {"alert_messages_due", "alerts_pkey"}, 300),
    Hot("alert_counts", "", {"source_fields_alerts"}, ROWS // 20),
    Hot("count_fetches", "", {"fetches_due"}, ROWS),
    # visitors
    Hot("session_of", DIGEST, {"sessions_pkey"}, 5),
    Hot("token_of", DIGEST, {"tokens_digest_key"}, 5),
    Hot("remove_session", DIGEST, {"sessions_pkey"}, 10),
    Hot("remove_expired_sessions", "'2026-01-01'", {"sessions_by_end"}, 10),
    Hot("remove_oldest_sessions", f"{DIGEST}, 10", {"sessions_of_tokens", "sessions_pkey"}, 10 * ROWS // 50),
    # other screens
    Hot("newest_audit_entries", "NULL, NULL, NULL, NULL, 51", {"audit_pkey"}, 10),
    Hot("newest_plans", "20", {"plans_by_time"}, 30),
    Hot("newest_runs", "NULL, 21", {"scheduled_runs_pkey"}, 10),
    Hot("newest_runs", "'task7', 1", {"scheduled_runs_pkey"}, 10),
    Hot("requested_run", "7", {"scheduled_runs_pkey"}, 5),
    Hot("open_requests", "", {"scheduled_runs_requested"}, 5),
    Hot("oldest_fetches", "'erp', 100", {"fetches_by_age"}, 250),
    Hot("field_entries", "'pim', NULL, NULL, false, 'pim', 'c', 'f5', 'field5', 51", {"source_fields_pkey"}, 300),
    Hot("listed_ids", "NULL, '', '', false, 1", {"known_references_by_id"}, 10),
    Hot("stated_references", "ARRAY['gtin'], ARRAY['id7'], 100", {"known_references_by_id"}, 10),
    Hot("listed_pages", "'S7', 51", {"sections_pkey"}, 800),
    Hot("page_sections", "'S7'", {"sections_pkey"}, 12),
]


@pytest.fixture
def full_database(postgres_server: PostgresServer) -> Iterator[str]:
    """A database for a store whose tables are filled."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
async def session(full_database: str) -> AsyncIterator[Session]:
    """A session of the store, as its server has known its tables for a while."""
    async with opened(configured(full_database)) as store, store._connections.readers.session() as session:
        await session.run(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY")
        await session.run(FILL)
        for table in TABLES:
            await session.run(f"VACUUM ANALYZE {table}")
        yield session


async def test_what_screens_ask_is_read_by_index(session: Session) -> None:
    """Within a number of blocks, which is far below that of the table."""
    for number, hot in enumerate(ASKED):
        await session.run(f"PREPARE hot_{number} AS {SQL[hot.name]}")
        judge(await explained(session, hot, number), hot)


async def test_pages_are_counted_in_steps(session: Session) -> None:
    """Each reads the rows of its SKUs by the key, in that order, and stops there, under any plan."""
    hot = Hot("page_layouts", "'S3', 100", {"sections_pkey"}, 1_000)
    for number, mode in enumerate(("force_custom_plan", "force_generic_plan")):
        await session.run(f"SET plan_cache_mode = {mode}")
        await session.run(f"PREPARE hot_{number} AS {SQL[hot.name]}")
        plan = await explained(session, hot, number)
        judge(plan, hot)
        [read] = [node for node in nodes(plan) if "Relation Name" in node]
        assert read["Actual Rows"] <= 4 * 100 + 4, "it reads no row behind them"
