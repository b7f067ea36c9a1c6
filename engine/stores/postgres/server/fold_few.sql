-- fold_input --
-- In one snapshot: the checkpoint of a domain with its row version and whether the log proves it, whether some streams have
-- open dead letters or references, the mark of the event at a position, and the newest event of each stream. A state above the limit is left
-- out. Locks nothing: `fold_output` stores nothing if the row version has changed.
WITH checked AS MATERIALIZED (
    SELECT domain, position, applied, stale, dead, fingerprint, holder, mark, xmin::text AS row_version, position = 0 OR (
        mark IS NOT DISTINCT FROM (
            SELECT event_mark(event.originator_id, event.originator_version, event.revision, event.topic, event.state)
            FROM stored_events AS event WHERE event.notification_id = checkpoints.position
        )
        AND log_id IS NOT DISTINCT FROM (
            SELECT log_id FROM log_identity WHERE one AND written_in = 'stored_events'::regclass::oid
        )
    ) AS proved, EXISTS (
        SELECT 1 FROM dead_letters
        WHERE kind = 'projection' AND domain = $1 AND originator_id = ANY ($2::text[]) AND resolution IS NULL
    ) OR EXISTS (
        SELECT 1 FROM known_references WHERE stream = ANY ($2::text[])
    ) AS needs_transaction, (
        SELECT event_mark(event.originator_id, event.originator_version, event.revision, event.topic, event.state)
        FROM stored_events AS event WHERE event.notification_id = $3
    ) AS end_mark
    FROM checkpoints WHERE domain = $1
)
SELECT checked.*, head.notification_id, head.originator_id, head.originator_version, head.revision, head.topic,
       CASE WHEN octet_length(head.state) <= $4 THEN head.state END AS state
FROM checked
LEFT JOIN (
    unnest($2::text[]) AS wanted (originator_id)
    CROSS JOIN LATERAL (
        SELECT * FROM stored_events
        WHERE stored_events.originator_id = wanted.originator_id
        ORDER BY originator_version DESC, revision DESC
        LIMIT 1
    ) AS head
) ON true;

-- fold_output --
-- Moves a checkpoint and stores sections, in the order given, if the checkpoint's row is still the version that was read and
-- the event at the new position has the mark that was read. Returns whether it did, and how many rows of sections changed.
WITH advanced AS (
    UPDATE checkpoints SET position = $1, applied = $2, stale = $3, dead = $4, fingerprint = $5, mark = $7,
        log_id = (SELECT log_identity.log_id FROM log_identity WHERE one)
    WHERE domain = $6 AND xmin::text = $8 AND EXISTS (
        SELECT FROM stored_events AS event
        WHERE event.notification_id = $1 AND $7 = event_mark(
            event.originator_id, event.originator_version, event.revision, event.topic, event.state
        )
    )
    RETURNING domain
), written AS (
    INSERT INTO sections (sku, domain, channels, flags, layout, contents)
    SELECT new_rows.*
    FROM advanced, unnest($9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::bytea[]) AS new_rows
    ON CONFLICT (sku, domain) DO UPDATE SET
        channels = excluded.channels, flags = excluded.flags, layout = excluded.layout, contents = excluded.contents
    WHERE sections.contents <> excluded.contents OR sections.layout <> excluded.layout
        OR sections.flags <> excluded.flags OR sections.channels <> excluded.channels
    RETURNING 1
)
SELECT EXISTS (SELECT FROM advanced), (SELECT count(*) FROM written);

-- change_row_version --
-- Changes nothing but the version of a checkpoint's row, so that a worker that has read the row before stores nothing.
UPDATE checkpoints SET holder = holder WHERE domain = $1;
