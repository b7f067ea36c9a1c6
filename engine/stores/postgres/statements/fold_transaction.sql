-- checkpoints --
-- The checkpoints of all domains.
SELECT domain, position, applied, stale, dead, fingerprint, holder, mark FROM checkpoints ORDER BY domain;

-- checkpoint --
-- The checkpoint of one domain, locked until the transaction ends: its sections have one writer at a time. And whether the
-- log proves it.
SELECT domain, position, applied, stale, dead, fingerprint, holder, mark, position = 0 OR (
    mark IS NOT DISTINCT FROM (
        SELECT event_mark(event.originator_id, event.originator_version, event.revision, event.topic, event.state)
        FROM stored_events AS event WHERE event.notification_id = checkpoints.position
    )
    AND log_id IS NOT DISTINCT FROM (
        SELECT log_id FROM log_identity WHERE one AND written_in = 'stored_events'::regclass::oid
    )
) AS proved
FROM checkpoints WHERE domain = $1 FOR UPDATE;

-- create_checkpoint --
-- Creates the checkpoint of a domain that was never folded.
INSERT INTO checkpoints (domain) VALUES ($1) ON CONFLICT DO NOTHING;

-- take_over --
-- Sets the worker that folds a domain from now on. Any other loses its lease.
UPDATE checkpoints SET holder = $1 WHERE domain = $2;

-- advance --
-- Moves a checkpoint, and marks it.
UPDATE checkpoints SET position = $1, applied = $2, stale = $3, dead = $4, fingerprint = $5, mark = (
    SELECT event_mark(event.originator_id, event.originator_version, event.revision, event.topic, event.state)
    FROM stored_events AS event WHERE event.notification_id = $1
), log_id = (SELECT log_identity.log_id FROM log_identity WHERE one)
WHERE domain = $6
RETURNING mark;

-- domain_sections --
-- A domain's sections of some SKUs. A body above the limit is left out, with its versions.
SELECT sku, channel, domain, enabled, ready, CASE WHEN octet_length(body) > $3 THEN NULL ELSE versions END,
       CASE WHEN octet_length(body) <= $3 THEN body END, occurred_at, recorded_at
FROM sections
WHERE sku = ANY ($2::text[]) AND domain = $1
ORDER BY sku, channel;

-- section_sizes --
-- The bytes of a domain's sections of some SKUs.
SELECT coalesce(sum(octet_length(versions) + coalesce(octet_length(body), 0)), 0) FROM sections
WHERE sku = ANY ($2::text[]) AND domain = $1;

-- write_section --
-- Stores sections, in the order given, unless they are unchanged.
INSERT INTO sections (sku, channel, domain, enabled, ready, versions, body, occurred_at, recorded_at)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::boolean[], $5::boolean[], $6::bytea[], $7::bytea[], $8::text[], $9::text[]
)
ON CONFLICT (sku, channel, domain) DO UPDATE SET
    enabled = excluded.enabled, ready = excluded.ready, versions = excluded.versions, body = excluded.body,
    occurred_at = excluded.occurred_at, recorded_at = excluded.recorded_at
WHERE sections.versions IS DISTINCT FROM excluded.versions OR sections.body IS DISTINCT FROM excluded.body
    OR sections.occurred_at IS DISTINCT FROM excluded.occurred_at
    OR sections.recorded_at IS DISTINCT FROM excluded.recorded_at
    OR sections.enabled IS DISTINCT FROM excluded.enabled OR sections.ready IS DISTINCT FROM excluded.ready;

-- remove_section --
-- Removes a domain's sections of some SKUs in one channel. Pairs in two arrays might be joined in a slow order.
DELETE FROM sections WHERE sku = ANY ($3::text[]) AND channel = $2 AND domain = $1;

-- domain_streaks --
-- The streaks of a domain, by source.
SELECT source, stale FROM streaks WHERE domain = $1 AND stale > 0;

-- keep_streak --
-- Stores streaks, unless they are unchanged.
INSERT INTO streaks (domain, source, stale)
SELECT $1, source, stale FROM unnest($2::text[], $3::bigint[]) AS streak (source, stale)
ON CONFLICT (domain, source) DO UPDATE SET stale = excluded.stale WHERE streaks.stale <> excluded.stale;

-- streaks --
-- The streaks of all domains.
SELECT domain, source, stale FROM streaks WHERE stale > 0 ORDER BY domain, source;
