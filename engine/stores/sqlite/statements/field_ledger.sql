-- count_records --
-- Adds records of a family.
INSERT INTO source_fields (
    source, contract, family, field, first_seen, last_seen, records, seen_at, types, accepted_types, mapped, example
) VALUES (:source, :contract, :family, '', :at, :at, :records, 0, 0, 0, 0, '')
ON CONFLICT (source, contract, family, field) DO UPDATE SET
    last_seen = max(last_seen, excluded.last_seen), records = records + excluded.records;

-- note_fields --
-- Adds records with a field. `seen_at` is then the number of the family's records, and `first_at` that before the first.
INSERT INTO source_fields (
    source, contract, family, field, first_seen, last_seen, records, first_at, seen_at, types, accepted_types, mapped, example,
    alert, alerted_at
) VALUES (
    :source, :contract, :family, :field, :at, :at, :records, (
        SELECT total.records - :all_records FROM source_fields AS total
        WHERE total.source = :source AND total.contract = :contract AND total.family = :family AND total.field = ''
    ), (
        SELECT total.records FROM source_fields AS total
        WHERE total.source = :source AND total.contract = :contract AND total.family = :family AND total.field = ''
    ), :types, :types, :mapped, :example,
    :alert, CASE WHEN :alert IS NOT NULL THEN :at END
)
ON CONFLICT (source, contract, family, field) DO UPDATE SET
    last_seen = max(last_seen, excluded.last_seen),
    records = records + excluded.records,
    seen_at = excluded.seen_at,
    types = types | excluded.types,
    accepted_types = CASE
        WHEN alert = 'type' OR (:alert_type AND types | excluded.types <> types) THEN accepted_types
        ELSE accepted_types | excluded.types
    END,
    mapped = excluded.mapped,
    example = excluded.example,
    alert = CASE
        WHEN :alert_type AND types | excluded.types <> types THEN 'type'
        WHEN excluded.alert = 'value' AND vanished_at IS NOT NULL THEN 'value'
        WHEN alert = 'vanished' OR (alert = 'new' AND excluded.mapped) THEN NULL
        ELSE alert
    END,
    alerted_at = CASE
        WHEN :alert_type AND types | excluded.types <> types THEN :at
        WHEN excluded.alert = 'value' AND vanished_at IS NOT NULL THEN :at
        ELSE alerted_at
    END,
    vanished_at = NULL;

-- mark_missing --
-- Raises the alert of fields that no record had since a time, in families that records had since.
UPDATE source_fields SET alert = 'vanished', alerted_at = :at, vanished_at = :at
WHERE source = :source AND contract = :contract AND types <> 0 AND vanished_at IS NULL AND last_seen < :since
    AND (mapped OR :unmapped)
    AND EXISTS (
        SELECT 1 FROM source_fields AS total
        WHERE total.source = source_fields.source AND total.contract = source_fields.contract
            AND total.family = source_fields.family AND total.field = '' AND total.last_seen >= :since
            AND source_fields.records * :rare >= total.records - source_fields.first_at
    )
RETURNING field;

-- mark_overdue --
-- Raises the alert of fields that are absent from far more records than they usually are.
UPDATE source_fields SET alert = 'vanished', alerted_at = :at, vanished_at = :at
WHERE source = :source AND contract = :contract AND types <> 0 AND vanished_at IS NULL AND (mapped OR :unmapped)
    AND EXISTS (
        SELECT 1 FROM source_fields AS total
        WHERE total.source = source_fields.source AND total.contract = source_fields.contract
            AND total.family = source_fields.family AND total.field = ''
            AND total.records - source_fields.seen_at >= :least
            AND (total.records - source_fields.seen_at) * source_fields.records
                >= (source_fields.seen_at - source_fields.first_at) * :gaps
            AND source_fields.records * :rare >= source_fields.seen_at - source_fields.first_at
    )
RETURNING field;

-- end_value_alerts --
-- Ends the alerts of values that no record had since a time. If one comes back, it is an alert again.
UPDATE source_fields SET alert = NULL, alerted_at = NULL, vanished_at = :at
WHERE source = :source AND contract = :contract AND field <> '' AND types = 0 AND vanished_at IS NULL
    AND last_seen < :since;

-- known_since --
-- When the first record of a contract was seen, and the number of its fields.
SELECT min(first_seen), count(*) FROM source_fields WHERE source = ? AND contract = ?;

-- field_entries --
-- The next fields, by key.
SELECT entry.source, entry.contract, entry.family, entry.field, entry.first_seen, entry.last_seen, entry.records,
    total.records - entry.first_at, entry.types, entry.accepted_types, entry.mapped, entry.example, entry.alert,
    entry.alerted_at
FROM source_fields AS entry
JOIN source_fields AS total
    ON total.source = entry.source AND total.contract = entry.contract AND total.family = entry.family AND total.field = ''
WHERE entry.field <> '' AND (entry.source, entry.contract, entry.family, entry.field)
        > (:after_source, :after_contract, :after_family, :after_field)
    AND (:source IS NULL OR entry.source = :source) AND (:contract IS NULL OR entry.contract = :contract)
    AND (:field IS NULL OR entry.field = :field) AND (NOT :alerts OR entry.alert IS NOT NULL)
ORDER BY entry.source, entry.contract, entry.family, entry.field
LIMIT :limit;

-- alert_counts --
-- How many alerts there are, by source and kind.
SELECT source, alert, count(*) FROM source_fields WHERE alert IS NOT NULL GROUP BY source, alert ORDER BY source, alert;

-- end_alerts --
-- Ends alerts, and accepts the types of their fields.
UPDATE source_fields SET alert = NULL, alerted_at = NULL, accepted_types = types
WHERE alert IN carray(:alerts) AND (:source IS NULL OR source = :source)
    AND (:contract IS NULL OR contract = :contract) AND (:field IS NULL OR field = :field)
RETURNING field;
