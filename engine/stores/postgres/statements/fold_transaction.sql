-- checkpoints --
-- The checkpoints of all domains.
SELECT domain, position, applied, stale, dead, fingerprint, holder, mark FROM checkpoints ORDER BY domain;

-- checkpoint --
-- The checkpoint of one domain, locked until the transaction ends: its sections have one writer at a time. And whether the
-- log proves it, and whether it has had references.
SELECT domain, position, applied, stale, dead, fingerprint, holder, mark, position = 0 OR (
    mark IS NOT DISTINCT FROM (
        SELECT event_mark(event.originator_id, event.originator_version, event.revision, event.topic, event.state)
        FROM stored_events AS event WHERE event.notification_id = checkpoints.position
    )
    AND log_id IS NOT DISTINCT FROM (
        SELECT log_id FROM log_identity WHERE one AND written_in = 'stored_events'::regclass::oid
    )
) AS proved, has_references
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
-- A domain's sections of some SKUs. Contents above the limit are left out.
SELECT sku, domain, channels, flags, layout, CASE WHEN octet_length(contents) <= $3 THEN contents END
FROM sections
WHERE sku = ANY ($2::text[]) AND domain = $1
ORDER BY sku;

-- section_sizes --
-- The bytes of a domain's sections of some SKUs.
SELECT coalesce(sum(octet_length(contents)), 0) FROM sections WHERE sku = ANY ($2::text[]) AND domain = $1;

-- write_sections --
-- Stores a domain's sections of SKUs, in the order given, unless they are unchanged.
INSERT INTO sections (sku, domain, channels, flags, layout, contents)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[])
ON CONFLICT (sku, domain) DO UPDATE SET
    channels = excluded.channels, flags = excluded.flags, layout = excluded.layout, contents = excluded.contents
WHERE sections.contents <> excluded.contents OR sections.layout <> excluded.layout
    OR sections.flags <> excluded.flags OR sections.channels <> excluded.channels;

-- write_noted_sections --
-- As `write_sections`, and returns the SKUs that changed.
INSERT INTO sections (sku, domain, channels, flags, layout, contents)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[])
ON CONFLICT (sku, domain) DO UPDATE SET
    channels = excluded.channels, flags = excluded.flags, layout = excluded.layout, contents = excluded.contents
WHERE sections.contents <> excluded.contents OR sections.layout <> excluded.layout
    OR sections.flags <> excluded.flags OR sections.channels <> excluded.channels
RETURNING sku;

-- remove_sections --
-- Removes a domain's sections of some SKUs, and returns those that had any.
DELETE FROM sections WHERE domain = $1 AND sku = ANY ($2::text[])
RETURNING sku;

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
