-- checkpoints --
-- The checkpoints of all domains.
SELECT domain, position, applied, stale, dead, fingerprint, holder, mark FROM checkpoints ORDER BY domain;

-- checkpoint --
-- The checkpoint of one domain. The transaction is already the only writer.
SELECT domain, position, applied, stale, dead, fingerprint, holder, mark, log_id FROM checkpoints WHERE domain = ?;

-- create_checkpoint --
-- Creates the checkpoint of a domain that was never folded.
INSERT INTO checkpoints (domain) VALUES (?) ON CONFLICT DO NOTHING;

-- take_over --
-- Sets the worker that folds a domain from now on. Any other loses its lease.
UPDATE checkpoints SET holder = ? WHERE domain = ?;

-- advance --
-- Moves a checkpoint, and marks it.
UPDATE checkpoints SET position = ?, applied = ?, stale = ?, dead = ?, fingerprint = ?, mark = ?, log_id = ?
WHERE domain = ?;

-- domain_sections --
-- A domain's sections of some SKUs, all in two values: see `packed`. Each body follows its versions.
SELECT json_group_array(json_array(
    sku, channel, domain, enabled, ready, octet_length(versions), octet_length(body), occurred_at, recorded_at
)), CAST(group_concat(versions || coalesce(body, ''), '') AS BLOB)
FROM sections WHERE domain = ? AND sku IN carray(?);

-- section_sizes --
-- The bytes of a domain's sections of some SKUs.
SELECT sum(octet_length(versions) + coalesce(octet_length(body), 0)) FROM sections WHERE domain = ? AND sku IN carray(?);

-- write_section --
-- Stores a section, unless it is unchanged.
INSERT INTO sections (sku, channel, domain, enabled, ready, versions, body, occurred_at, recorded_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (sku, channel, domain) DO UPDATE SET
    enabled = excluded.enabled, ready = excluded.ready, versions = excluded.versions, body = excluded.body,
    occurred_at = excluded.occurred_at, recorded_at = excluded.recorded_at
WHERE sections.versions IS NOT excluded.versions OR sections.body IS NOT excluded.body
    OR sections.occurred_at IS NOT excluded.occurred_at OR sections.recorded_at IS NOT excluded.recorded_at
    OR sections.enabled IS NOT excluded.enabled OR sections.ready IS NOT excluded.ready;

-- remove_section --
-- Removes a domain's section.
DELETE FROM sections WHERE sku = ? AND channel = ? AND domain = ?;

-- domain_streaks --
-- The streaks of a domain, by source.
SELECT source, stale FROM streaks WHERE domain = ? AND stale > 0;

-- keep_streak --
-- Stores a streak, unless it is unchanged.
INSERT INTO streaks (domain, source, stale) VALUES (?, ?, ?)
ON CONFLICT (domain, source) DO UPDATE SET stale = excluded.stale WHERE streaks.stale <> excluded.stale;

-- streaks --
-- The streaks of all domains.
SELECT domain, source, stale FROM streaks WHERE stale > 0 ORDER BY domain, source;
