-- checkpoints --
-- The checkpoints of all domains.
SELECT domain, position, applied, stale, dead, fingerprint, holder, mark FROM checkpoints ORDER BY domain;

-- checkpoint --
-- The checkpoint of one domain, and whether it has had references. The transaction is already the only writer.
SELECT domain, position, applied, stale, dead, fingerprint, holder, mark, log_id, has_references FROM checkpoints WHERE domain = ?;

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
-- A domain's sections of some SKUs, all in two values: see `packed`.
SELECT json_group_array(json_array(sku, domain, channels, flags, layout, octet_length(contents))),
    CAST(group_concat(contents, '') AS BLOB)
FROM sections WHERE domain = ? AND sku IN carray(?);

-- section_sizes --
-- The bytes of a domain's sections of some SKUs.
SELECT sum(octet_length(contents)) FROM sections WHERE domain = ? AND sku IN carray(?);

-- write_sections --
-- Stores a domain's sections of a SKU, unless they are unchanged.
INSERT INTO sections (sku, domain, channels, flags, layout, contents) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (sku, domain) DO UPDATE SET
    channels = excluded.channels, flags = excluded.flags, layout = excluded.layout, contents = excluded.contents
WHERE sections.contents <> excluded.contents OR sections.layout <> excluded.layout
    OR sections.flags <> excluded.flags OR sections.channels <> excluded.channels;

-- write_noted_sections --
-- As `write_sections`, and returns the SKUs that changed.
INSERT INTO sections (sku, domain, channels, flags, layout, contents) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (sku, domain) DO UPDATE SET
    channels = excluded.channels, flags = excluded.flags, layout = excluded.layout, contents = excluded.contents
WHERE sections.contents <> excluded.contents OR sections.layout <> excluded.layout
    OR sections.flags <> excluded.flags OR sections.channels <> excluded.channels
RETURNING sku;

-- remove_sections --
-- Removes a domain's sections of some SKUs, and returns those that had any.
DELETE FROM sections WHERE domain = ? AND sku IN carray(?)
RETURNING sku;

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
