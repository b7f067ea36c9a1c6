-- stated_references --
-- The statements of one reference, by SKU.
SELECT stream, kind, id, sku FROM known_references WHERE kind = ? AND id = ? ORDER BY sku, stream LIMIT ?;

-- references_of_streams --
-- What is stored for some streams.
SELECT stream, kind, id, sku FROM known_references WHERE stream IN carray(?) ORDER BY stream, kind, id;

-- listed_ids --
-- The next ids of a kind, or of any, after a reference; all of them, or those that several SKUs have.
SELECT kind, id, min(sku), max(sku), count(*)
FROM known_references
WHERE (kind, id) > (:after_kind, :after_id) AND (:kind IS NULL OR kind = :kind)
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
-- The ids of each kind, their statements, and the ids that several SKUs have.
SELECT kind, count(*), sum(statements), count(*) FILTER (WHERE is_shared)
FROM (
    SELECT kind, count(*) AS statements, min(sku) <> max(sku) AS is_shared FROM known_references GROUP BY kind, id
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
