-- stated_references --
-- The statements of one reference, by SKU.
SELECT stream, kind, id, sku FROM known_references WHERE kind = ? AND id = ? ORDER BY sku, stream LIMIT ?;

-- references_of_streams --
-- What is stored for some streams.
SELECT stream, kind, id, sku FROM known_references WHERE stream IN carray(?) ORDER BY stream, kind, id;

-- listed_ids --
-- The next ids of a kind, or of any, after a reference; all of them, or those that several SKUs have. Links are none.
SELECT kind, id, min(sku), max(sku), count(*)
FROM known_references
WHERE (kind, id) > (:after_kind, :after_id) AND (:kind IS NULL OR kind = :kind) AND (kind < '@' OR kind >= 'A')
GROUP BY kind, id
HAVING NOT :shared OR min(sku) <> max(sku)
ORDER BY kind, id
LIMIT :limit;

-- next_reference_rows --
-- The next rows by key.
SELECT stream, kind, id, sku FROM known_references
WHERE (stream, kind, id) > (?, ?, ?)
ORDER BY stream, kind, id
LIMIT ?;

-- count_reference_kinds --
-- The ids of each kind, their statements, and the ids that several SKUs have. Links are none.
SELECT kind, count(*), sum(statements), count(*) FILTER (WHERE is_shared)
FROM (
    SELECT kind, count(*) AS statements, min(sku) <> max(sku) AS is_shared
    FROM known_references
    WHERE kind < '@' OR kind >= 'A'
    GROUP BY kind, id
)
GROUP BY kind
ORDER BY kind;

-- remove_references --
-- Removes a reference of a stream.
DELETE FROM known_references WHERE stream = ? AND kind = ? AND id = ?;

-- keep_references --
-- Stores a reference of a stream.
INSERT INTO known_references (stream, kind, id, sku) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- have_references --
-- Records that a domain's heads state references.
UPDATE checkpoints SET has_references = 1 WHERE domain = ?;

-- keep_whole_group --
-- Remembers at which version a source said what all of a group is, and returns the newest. One that was settled before is known.
INSERT INTO whole_groups (source, kind, id, version, occurred_at, settled) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (source, kind, id) DO UPDATE SET
    occurred_at = CASE
        WHEN excluded.version > whole_groups.version THEN excluded.occurred_at ELSE whole_groups.occurred_at
    END,
    settled = CASE
        WHEN excluded.version >= whole_groups.version THEN whole_groups.settled OR excluded.settled
        ELSE whole_groups.settled
    END,
    version = CASE WHEN excluded.version > whole_groups.version THEN excluded.version ELSE whole_groups.version END
RETURNING version, occurred_at, settled;
