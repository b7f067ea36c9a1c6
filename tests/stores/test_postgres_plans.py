"""Plans of hot statements: by index, however large the tables and stale the statistics."""

import json
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from pagefold.engine.stores.postgres.connections import SQL, Session
from tests.support.databases import opened
from tests.support.postgres import PostgresServer
from tests.support.query_plans import Hot, explained, judge
from tests.support.small_shop import configured

EVENTS = 50_000
STREAMS = 10_000
PAGES = 12_500
"""Events, of four sections each."""

FILL = f"""
INSERT INTO stored_events (originator_id, originator_version, topic, state)
SELECT 'S' || lpad((i * 7919 % {STREAMS})::text, 5, '0') || '/*/inventory/wms', i,
       (ARRAY['catalog', 'pricing', 'inventory', 'media'])[i % 4 + 1], convert_to(repeat('x', 300), 'UTF8')
FROM generate_series(1, {EVENTS}) AS i;
INSERT INTO sections
SELECT 'S' || i, domain, '{{"web-de":0}}', '3', '[[0,9,2,"",""]]', '{{"x/y":1}}{{}}'
FROM generate_series(1, {PAGES}) AS i, unnest(ARRAY['catalog', 'pricing', 'inventory', 'media']) AS domain;
INSERT INTO dead_letters
    (kind, domain, originator_id, originator_version, revision, digest, error, state, recorded_at, resolution, cause)
SELECT (ARRAY['ingest', 'projection'])[i % 2 + 1], 'catalog', 'S' || i, 1, 0, '', '', '', now() + i * interval '1 s',
       CASE WHEN i % 501 > 0 THEN 'folded' END, 'cause' || i % 5
FROM generate_series(1, {EVENTS}) AS i;
INSERT INTO checkpoints (domain) VALUES ('catalog');
INSERT INTO indirect_changes SELECT 'media', i, 'mark', ARRAY['S' || i] FROM generate_series(1, {EVENTS}) AS i;
INSERT INTO tokens (name, digest, label, scopes, created_at)
SELECT 'tok_' || i, sha256(i::text::bytea), '', 'read', '' FROM generate_series(1, {EVENTS}) AS i;
"""  # noqa: S608  # numbers of ours

BY_POSITION = "stored_events_notification_id_key"
BY_IDENTITY = "log_identity_pkey"
BY_STREAM = "stored_events_pkey"
BY_PAGE = "sections_pkey"
BY_NOTE = "indirect_changes_pkey"
BY_AGE = "dead_letters_by_age"
BY_CAUSE = "dead_letters_by_cause"
BY_NUMBER = "dead_letters_pkey"
BY_CAUSES = {BY_CAUSE, BY_NUMBER}
BY_EXPIRY = "dead_letters_by_expiry"
EMPTY = "'', '2026-01-01T00:00:00.000000Z', 'ada'"
SOON = "to_char(now() AT TIME ZONE 'UTC' + interval '200 s', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
RESOLUTION = "'folded', '2026-01-01T00:00:00.000000Z', NULL, NULL, NULL"
FIRST = "'0001-01-01T00:00:00.000000Z', '', 0"
LAST = "'9999-12-31T23:59:59.999999Z', '~', 0"
NAMES = [f"S{number:05}/*/inventory/wms" for number in range(0, STREAMS, 100)]


def array(values: list[str]) -> str:
    """A PostgreSQL array of text."""
    return "ARRAY[" + ",".join(f"'{value}'" for value in values) + "]"


HOT = [
    Hot("log_end", "", {BY_POSITION}, 10),
    Hot("touched", "'inventory', 40000, 500", {BY_POSITION}, 100),
    Hot("touched", f"'inventory', {EVENTS}, 500", {BY_POSITION}, 10),
    Hot("heads", f"{array(NAMES)}, 8192", {BY_STREAM}, 5 * len(NAMES)),
    Hot("heads_as_of", f"{array(NAMES)}, 8192, 20000", {BY_STREAM}, 10 * len(NAMES)),
    Hot("heads_as_of", f"{array(NAMES)}, 8192, 10", {BY_STREAM}, 10 * len(NAMES)),
    Hot(
        "heads_as_of_each",
        f"{array(NAMES)}, array_fill(20000::bigint, ARRAY[{len(NAMES)}]), array_fill(0, ARRAY[{len(NAMES)}]), 8192",
        {BY_STREAM},
        10 * len(NAMES),
    ),
    Hot("streams_of_skus", "ARRAY['S05000', 'S05001', 'S05002']", {BY_STREAM}, 40),
    Hot("events_at", f"{array(NAMES)}, array_fill(1::bigint, ARRAY[{len(NAMES)}])", {BY_STREAM}, 5 * len(NAMES)),
    Hot(
        "taken_versions",
        f"{array(NAMES)}, array_fill(1::bigint, ARRAY[{len(NAMES)}]), array_fill(0, ARRAY[{len(NAMES)}])",
        {BY_STREAM},
        5 * len(NAMES),
    ),
    Hot("announce_copied", f"{EVENTS - 500}", {BY_POSITION}, 20),
    Hot("head_sizes", array(NAMES), {BY_STREAM}, 5 * len(NAMES)),
    Hot("head_sizes_as_of", f"{array(NAMES)}, 20000", {BY_STREAM}, 10 * len(NAMES)),
    Hot("older_events", f"'{NAMES[50]}', 40000, 0, 40000, 50", {BY_STREAM}, 20),
    Hot(
        "older_events_of",
        f"{array(NAMES)}, array_fill(40000::bigint, ARRAY[{len(NAMES)}]), array_fill(0, ARRAY[{len(NAMES)}]), "
        f"{EVENTS}, 4, 8192",
        {BY_STREAM},
        10 * len(NAMES),
    ),
    Hot("history", "'S05000/', -1, -1, 'S050000', 1000", {BY_STREAM}, 20),
    Hot("scan", "ARRAY['/*/inventory/wms'], 'S05000', '', 100, 8192", {BY_STREAM}, 15 * 100),
    Hot("scan", "ARRAY['/inventory/x', '/pricing/erp'], 'S05000', '', 100, 8192", {BY_STREAM}, 5 * 100),
    Hot("scan", "ARRAY['/inventory/wms'], 'S05000', 'S05010', 5000, 8192", {BY_STREAM}, 15 * 10),
    Hot("scan_entries", "ARRAY['/*/inventory/wms'], 'S05000', '', 100, 0, 8192", {BY_STREAM}, 15 * 100),
    Hot("scan_entries", "ARRAY['/inventory/wms'], 'S05000', 'S05010', 5000, 0, 8192", {BY_STREAM}, 15 * 10),
    Hot("stream_skus", "'S05000', 100", {BY_STREAM}, 5 * 100),
    Hot("events_between", "'inventory', 40000, 40500", {BY_POSITION}, 50),
    Hot("untouched", f"{array(NAMES)}, 40000", {BY_STREAM}, 10 * len(NAMES)),
    Hot("lag", f"'inventory', {EVENTS - 500}, NULL", {BY_POSITION}, 150),
    Hot("lag", "'inventory', 10000, 500", {BY_POSITION}, 150),
    Hot("select_events", f"'{NAMES[50]}', 0, 1000000, 10", {BY_STREAM}, 20),
    Hot("select_events_newest_first", f"'{NAMES[50]}', 0, 1000000, 1", {BY_STREAM}, 10),
    Hot("notifications", "40000, 50000, 100", {BY_POSITION}, 50),
    Hot("notifications_of_topics", "40000, 50000, ARRAY['inventory'], 100", {BY_POSITION}, 100),
    Hot("page_sections", "'S7'", {BY_PAGE}, 12),
    Hot("sections_of_pages", "ARRAY['S7', 'S8'], 8192", {BY_PAGE}, 24),
    Hot("page_sizes", "ARRAY['S7', 'S8']", {BY_PAGE}, 24),
    Hot("listed_pages", "'S7', 100", {BY_PAGE}, 1_500),
    Hot("page_keys", "'S7', 'media', 100", {BY_PAGE}, 500),
    Hot("section_skus", "'media', 'S7', 100", {BY_PAGE}, 500),
    Hot("page_skus", "'S7', 100", {BY_PAGE}, 1_000),
    Hot("log_window", "ARRAY['inventory'], 40000, 40500, 10000", {BY_POSITION}, 100),
    Hot("log_end_proof", "40000", {BY_POSITION, BY_IDENTITY}, 30),
    Hot("indirect_changes", "'media', 5000, 50", {BY_NOTE}, 20),
    Hot("note_changes", "'media', 'mark', ARRAY['S1', 'S2']", {BY_NOTE}, 30),
    Hot("forget_changes", "'media', 1000000", {BY_NOTE}, 20),
    Hot("domain_sections", "'media', ARRAY['S7', 'S8', 'S9'], 8192", {BY_PAGE}, 36),
    Hot("section_sizes", "'media', ARRAY['S7', 'S8', 'S9']", {BY_PAGE}, 36),
    Hot("remove_sections", "'media', ARRAY['S7', 'S8', 'S9']", {BY_PAGE}, 36),
    Hot("has_dead_letters", "'catalog'", {"dead_letters_open"}, 10),
    Hot("resolve_dead_letters", f"{RESOLUTION}, 'catalog', {array(NAMES)}", {"dead_letters_open"}, 4 * len(NAMES)),
    Hot("resolve_dead_letter", f"{RESOLUTION}, 'ingest', 500", {"dead_letters_pkey"}, 50),
    Hot("get_dead_letter", "'ingest', 500", {"dead_letters_pkey"}, 10),
    Hot("count_dead_letters", "", {"dead_letters_open"}, 2 * EVENTS // 500),
    Hot("newest_dead_letters", f"NULL, NULL, NULL, false, {LAST}, 50, 1000", {BY_AGE, BY_NUMBER}, 8 * 50),
    Hot("newest_dead_letters", f"NULL, NULL, NULL, true, {LAST}, 50, 1000", {BY_AGE, BY_NUMBER}, 6 * 50),
    Hot("oldest_dead_letters", f"NULL, NULL, NULL, false, {FIRST}, 50, 1000", {BY_AGE, BY_NUMBER}, 8 * 50),
    Hot("newest_dead_letters_of_cause", f"NULL, NULL, NULL, false, {LAST}, 50, 1000, 'cause1'", BY_CAUSES, 8 * 20),
    Hot("oldest_dead_letters_of_cause", f"NULL, NULL, NULL, true, {FIRST}, 50, 1000, 'cause1'", BY_CAUSES, 6 * 50),
    Hot("count_letters_of_cause", "NULL, NULL, NULL, false, 'cause1'", {BY_CAUSE}, 4 * 20),
    Hot("dead_letter_causes", "1000, 10001, 1000, false", {BY_CAUSE}, 4 * 100 + 5 * 40),
    Hot("cause_history", "'cause1', '2020-01-01T00:00:00.000000Z', 10000, false", {BY_CAUSE}, 4 * 20),
    Hot("without_cause", "1000, 500, false", {BY_CAUSE}, 10),
    Hot("resolve_open", f"{RESOLUTION}, ARRAY[501, 1002, 1003]", {"dead_letters_pkey"}, 100),
    Hot(
        "dead_letters_of_sku",
        "ARRAY['ingest', 'projection', 'waiting'], ARRAY['', 'inventory'], 'S05000', 1000, 100",
        {"dead_letters_open"},
        50,
    ),
    Hot("requests_of", array(NAMES), {"dead_letters_open"}, 4 * len(NAMES)),
    Hot(
        "purge_dead_letters", f"{EMPTY}, 'ingest', true, {SOON}, 50, 1000000", {"dead_letters_pkey", BY_EXPIRY}, 20 * 50
    ),
    Hot("count_expired", f"'ingest', true, {SOON}", {BY_EXPIRY}, 200),
    Hot("count_expired", "'request', false, '2020-01-01T00:00:00.000000Z'", {BY_EXPIRY}, 10),
    Hot("count_purged", "'ingest'", {"dead_letters_purged"}, 10),
    Hot("checkpoint", "'catalog'", {"checkpoints_pkey", BY_POSITION, BY_IDENTITY}, 20),
    Hot("advance", "1, 2, 3, 4, 'x', 'catalog'", {"checkpoints_pkey", BY_POSITION, BY_IDENTITY}, 30),
    Hot("token_of", "sha256('7')", {"tokens_digest_key"}, 10),
    Hot("revoke_token", "'', 'tok_7'", {"tokens_pkey"}, 20),
]


@pytest.fixture
def full_database(postgres_server: PostgresServer) -> Iterator[str]:
    """A database for a store whose tables are filled while its statements are prepared."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
async def session(full_database: str) -> AsyncIterator[Session]:
    """A session of the store, which prepared every hot statement while the tables were empty; they are full now."""
    async with opened(configured(full_database)) as store, store._connections.readers.session() as session:
        await session.run("TRUNCATE stored_events, sections, dead_letters, checkpoints, tokens RESTART IDENTITY")
        for table in ("stored_events", "sections", "dead_letters", "checkpoints", "tokens"):
            await session.run(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        yield session


HOT_VERSIONS = 20_000
"""Versions of one stream."""

FILL_HOT = f"""
INSERT INTO stored_events (originator_id, originator_version, topic, state)
SELECT 'S05000/*/inventory/wms-hot', i, 'inventory', convert_to(repeat('x', 300), 'UTF8')
FROM generate_series(1, {HOT_VERSIONS}) AS i;
"""  # noqa: S608  # numbers of ours


@pytest.mark.parametrize("statistics", [False, True])
async def test_the_past_of_a_stream_with_many_versions_is_read_by_index(session: Session, *, statistics: bool) -> None:
    """By the stream's own, and as far as versions came later: each takes a step, and no other event is read."""
    await session.run(FILL)
    hot = Hot("heads_as_of", "ARRAY['S05000/*/inventory/wms-hot'], 8192, $1", {BY_STREAM}, 0)
    await session.run(f"PREPARE hot_0 AS {SQL[hot.name]}")
    await session.run(FILL_HOT)
    if statistics:
        await session.run("ANALYZE")
    for newer, blocks in ((0, 10), (100, 40), (HOT_VERSIONS - 1, 2_000)):
        position = EVENTS + HOT_VERSIONS - newer
        bindings = hot.bindings.replace("$1", str(position))
        judge(await explained(session, hot._replace(bindings=bindings, blocks=blocks), 0), hot._replace(blocks=blocks))


@pytest.mark.parametrize("statistics", [False, True])
async def test_hot_statements_read_by_index(session: Session, *, statistics: bool) -> None:
    """Prepared on empty tables, never analysed or analysed: the indexes are the same, and the blocks bounded."""
    for number, hot in enumerate(HOT):
        await session.run(f"PREPARE hot_{number} AS {SQL[hot.name]}")
        await explained(session, hot, number)
    await session.run(FILL)
    if statistics:
        await session.run("ANALYZE")
    for number, hot in enumerate(HOT):
        judge(await explained(session, hot, number), hot)


async def test_page_reads_by_index(session: Session, full_database: str) -> None:
    """`page` does, too, for a session with the server's own settings."""
    await session.run(FILL)
    await session.run("INSERT INTO layouts VALUES ('web-de', '{catalog,pricing,inventory,media}', 'catalog', '{}')")
    connection = await asyncpg.connect(full_database)
    try:
        await connection.fetchval("SELECT pagefold.page('S7', 'web-de')")
        [row] = await connection.fetch("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT pagefold.page('S7', 'web-de')")
        plan = json.loads(row[0])[0]["Plan"]
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= 50
    finally:
        await connection.close()
