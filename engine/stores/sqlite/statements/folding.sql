-- checkpoints --
-- Those of all domains.
SELECT domain, position, applied, stale, dead, fingerprint, holder FROM checkpoints ORDER BY domain;

-- checkpoint --
-- That of one domain. The transaction is the only writer already.
SELECT domain, position, applied, stale, dead, fingerprint, holder FROM checkpoints WHERE domain = ?;

-- create_checkpoint --
-- Makes the checkpoint of a domain that was never folded.
INSERT INTO checkpoints (domain) VALUES (?) ON CONFLICT DO NOTHING;

-- take_over --
-- Names the worker that folds a domain from now on. Any other finds its lease lost.
UPDATE checkpoints SET holder = ? WHERE domain = ?;

-- advance --
-- Moves a checkpoint.
UPDATE checkpoints SET position = ?, applied = ?, stale = ?, dead = ?, fingerprint = ? WHERE domain = ?;

-- write_section --
-- Puts a section in place, unless the same one stands there.
INSERT INTO sections (sku, channel, domain, enabled, ready, versions, body, occurred_at, recorded_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (sku, channel, domain) DO UPDATE SET
    enabled = excluded.enabled, ready = excluded.ready, versions = excluded.versions, body = excluded.body,
    occurred_at = excluded.occurred_at, recorded_at = excluded.recorded_at
WHERE sections.versions IS NOT excluded.versions OR sections.body IS NOT excluded.body
    OR sections.occurred_at IS NOT excluded.occurred_at OR sections.recorded_at IS NOT excluded.recorded_at
    OR sections.enabled IS NOT excluded.enabled OR sections.ready IS NOT excluded.ready;
