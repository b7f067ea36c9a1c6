-- stated_references --
-- The statements of references, up to a number of each, if there is one.
SELECT stated.stream, stated.kind, stated.id, stated.sku
FROM unnest($1::text[], $2::text[]) AS wanted (kind, id)
CROSS JOIN LATERAL (
    SELECT * FROM known_references
    WHERE known_references.kind = wanted.kind AND known_references.id = wanted.id
    ORDER BY sku, stream
    LIMIT $3::bigint
) AS stated;

-- references_of_streams --
-- What is stored for some streams.
SELECT stream, kind, id, sku FROM known_references WHERE stream = ANY ($1::text[]) ORDER BY stream, kind, id;

-- listed_ids --
-- The next ids of a kind, or of any, after a reference; all of them, or those that several SKUs have. Links are none.
SELECT kind, id, min(sku), max(sku), count(*)
FROM known_references
WHERE (kind, id) > ($2::text, $3::text) AND ($1::text IS NULL OR kind = $1) AND (kind < '@' OR kind >= 'A')
GROUP BY kind, id
HAVING NOT $4::boolean OR min(sku) <> max(sku)
ORDER BY kind, id
LIMIT $5;

-- next_reference_rows --
-- The next rows by key.
SELECT stream, kind, id, sku FROM known_references
WHERE (stream, kind, id) > ($1::text, $2::text, $3::text)
ORDER BY stream, kind, id
LIMIT $4;

-- count_reference_kinds --
-- The ids of each kind, their statements, and the ids that several SKUs have. Links are none.
SELECT kind, count(*), sum(statements)::bigint, count(*) FILTER (WHERE is_shared)
FROM (
    SELECT kind, count(*) AS statements, min(sku) <> max(sku) AS is_shared
    FROM known_references
    WHERE kind < '@' OR kind >= 'A'
    GROUP BY kind, id
) AS known
GROUP BY kind
ORDER BY kind;

-- remove_references --
-- Removes references of streams.
DELETE FROM known_references USING unnest($1::text[], $2::text[], $3::text[]) AS removed (stream, kind, id)
WHERE known_references.stream = removed.stream AND known_references.kind = removed.kind AND known_references.id = removed.id;

-- keep_references --
-- Stores references of streams, in the order given.
INSERT INTO known_references (stream, kind, id, sku)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
ON CONFLICT DO NOTHING;

-- have_references --
-- Records that a domain's heads state references.
UPDATE checkpoints SET has_references = true WHERE domain = $1;

-- keep_whole_group --
-- Remembers at which version a source said what all of a group is, and returns the newest. One that was settled before is known.
INSERT INTO whole_groups (source, kind, id, version, occurred_at, settled) VALUES ($1, $2, $3, $4, $5, $6)
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
