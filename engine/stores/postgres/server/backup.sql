-- see_one_moment --
-- Every statement of the transaction sees what was there when it began.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- moment --
-- A name by which another session sees the same; which log there is then, up to where; and how large everything is.
SELECT pg_export_snapshot(), (SELECT log_id FROM log_identity),
    (SELECT coalesce(max(notification_id), 0) FROM stored_events),
    (SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
     WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r');

-- has_schema --
-- Whether there is a schema of a name.
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1);

-- set_aside --
-- Gives a schema another name.
SELECT format('ALTER SCHEMA %I RENAME TO %I', $1::text, $2::text);

-- has_deliveries --
-- Whether a restored schema has receipts. An older one has none.
SELECT to_regclass('delivery_cursors') IS NOT NULL;
