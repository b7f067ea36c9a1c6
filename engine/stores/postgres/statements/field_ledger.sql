-- count_records --
-- Adds records of families, in the order given.
INSERT INTO source_fields (
    source, contract, family, field, first_seen, last_seen, records, seen_at, types, accepted_types, mapped, example
)
SELECT $1, $2, given.family, '', $3, $3, given.records, 0, 0, 0, false, ''
FROM unnest($4::text[], $5::bigint[]) AS given (family, records)
ON CONFLICT (source, contract, family, field) DO UPDATE SET
    last_seen = greatest(source_fields.last_seen, excluded.last_seen),
    records = source_fields.records + excluded.records;

-- note_fields --
-- Adds records with fields, in the order given. `seen_at` is then the number of the family's records, and `first_at` that
-- before the first.
INSERT INTO source_fields (
    source, contract, family, field, first_seen, last_seen, records, first_at, seen_at, types, accepted_types, mapped,
    example, alert, alerted_at
)
SELECT $1, $2, given.family, given.field, $3, $3, given.records, total.records - given.all_records, total.records,
    given.types, given.types, given.mapped, given.example, given.alert, CASE WHEN given.alert IS NOT NULL THEN $3 END
FROM unnest(
    $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::integer[], $10::boolean[], $11::text[], $12::text[]
) AS given (family, field, records, all_records, types, mapped, example, alert)
JOIN source_fields AS total
    ON total.source = $1 AND total.contract = $2 AND total.family = given.family AND total.field = ''
ON CONFLICT (source, contract, family, field) DO UPDATE SET
    last_seen = greatest(source_fields.last_seen, excluded.last_seen),
    records = source_fields.records + excluded.records,
    seen_at = excluded.seen_at,
    types = source_fields.types | excluded.types,
    accepted_types = CASE
        WHEN source_fields.alert = 'type' OR ($4 AND source_fields.types | excluded.types <> source_fields.types)
            THEN source_fields.accepted_types
        ELSE source_fields.accepted_types | excluded.types
    END,
    mapped = excluded.mapped,
    example = excluded.example,
    alert = CASE
        WHEN $4 AND source_fields.types | excluded.types <> source_fields.types THEN 'type'
        WHEN excluded.alert = 'value' AND source_fields.vanished_at IS NOT NULL THEN 'value'
        WHEN source_fields.alert = 'vanished' OR (source_fields.alert = 'new' AND excluded.mapped) THEN NULL
        ELSE source_fields.alert
    END,
    alerted_at = CASE
        WHEN $4 AND source_fields.types | excluded.types <> source_fields.types THEN $3
        WHEN excluded.alert = 'value' AND source_fields.vanished_at IS NOT NULL THEN $3
        ELSE source_fields.alerted_at
    END,
    vanished_at = NULL;

-- mark_missing --
-- Raises the alert of fields that no record had since a time, in families that records had since.
UPDATE source_fields SET alert = 'vanished', alerted_at = $3, vanished_at = $3
FROM source_fields AS total
WHERE source_fields.source = $1 AND source_fields.contract = $2 AND source_fields.types <> 0
    AND source_fields.vanished_at IS NULL AND source_fields.last_seen < $5 AND (source_fields.mapped OR $4)
    AND total.source = $1 AND total.contract = $2 AND total.family = source_fields.family AND total.field = ''
    AND total.last_seen >= $5 AND source_fields.records * $6 >= total.records - source_fields.first_at;

-- mark_overdue --
-- Raises the alert of fields that are absent from far more records than they usually are.
UPDATE source_fields SET alert = 'vanished', alerted_at = $3, vanished_at = $3
FROM source_fields AS total
WHERE source_fields.source = $1 AND source_fields.contract = $2 AND source_fields.types <> 0
    AND source_fields.vanished_at IS NULL AND (source_fields.mapped OR $4)
    AND total.source = $1 AND total.contract = $2 AND total.family = source_fields.family AND total.field = ''
    AND total.records - source_fields.seen_at >= $5
    AND (total.records - source_fields.seen_at) * source_fields.records
                >= (source_fields.seen_at - source_fields.first_at) * $6
    AND source_fields.records * $7 >= source_fields.seen_at - source_fields.first_at;

-- end_value_alerts --
-- Ends the alerts of values that no record had since a time. If one comes back, it is an alert again.
UPDATE source_fields SET alert = NULL, alerted_at = NULL, vanished_at = $3
WHERE source = $1 AND contract = $2 AND field <> '' AND types = 0 AND vanished_at IS NULL AND last_seen < $4;

-- known_since --
-- When the first record of a contract was seen, and the number of its fields.
SELECT min(first_seen), count(*) FROM source_fields WHERE source = $1 AND contract = $2;

-- field_entries --
-- The next fields, by key.
SELECT entry.source, entry.contract, entry.family, entry.field, entry.first_seen, entry.last_seen, entry.records,
    total.records - entry.first_at, entry.types, entry.accepted_types, entry.mapped, entry.example, entry.alert,
    entry.alerted_at
FROM source_fields AS entry
JOIN source_fields AS total
    ON total.source = entry.source AND total.contract = entry.contract AND total.family = entry.family AND total.field = ''
WHERE entry.field <> '' AND (entry.source, entry.contract, entry.family, entry.field) > ($5, $6, $7, $8)
    AND ($1::text IS NULL OR entry.source = $1) AND ($2::text IS NULL OR entry.contract = $2)
    AND ($3::text IS NULL OR entry.field = $3) AND (NOT $4 OR entry.alert IS NOT NULL)
ORDER BY entry.source, entry.contract, entry.family, entry.field
LIMIT $9;

-- alert_counts --
-- How many alerts there are, by source and kind.
SELECT source, alert, count(*) FROM source_fields WHERE alert IS NOT NULL GROUP BY source, alert ORDER BY source, alert;

-- end_alerts --
-- Ends alerts, and accepts the types of their fields.
UPDATE source_fields SET alert = NULL, alerted_at = NULL, accepted_types = types
WHERE alert = ANY ($4::text[]) AND ($1::text IS NULL OR source = $1)
    AND ($2::text IS NULL OR contract = $2) AND ($3::text IS NULL OR field = $3);
