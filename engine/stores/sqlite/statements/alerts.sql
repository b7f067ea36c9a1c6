-- open_alerts --
-- The alerts that are not resolved.
SELECT number, kpi, label, since, reading, below_since, resolved_at FROM alerts WHERE resolved_at IS NULL
ORDER BY since, number;

-- newest_alerts --
-- The newest alerts.
SELECT number, kpi, label, since, reading, below_since, resolved_at FROM alerts ORDER BY number DESC LIMIT ?1;

-- begin_alert --
-- Opens an alert, unless one is open.
INSERT INTO alerts (kpi, label, since, reading) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (kpi, label) WHERE resolved_at IS NULL DO NOTHING
RETURNING number;

-- queue_crossed --
-- Queues a message of a new alert for each target.
INSERT INTO alert_messages (alert, target, event, reading, due)
SELECT ?1, value, 'crossed', ?3, ?4 FROM json_each(?2);

-- note_below --
-- Since when an alert is below its limit.
UPDATE alerts SET below_since = ?2 WHERE number = ?1 AND resolved_at IS NULL;

-- resolve_alert --
-- Resolves an alert, unless it is.
UPDATE alerts SET resolved_at = ?2 WHERE number = ?1 AND resolved_at IS NULL RETURNING number;

-- queue_resolved --
-- Queues a message of a resolved alert for each target that has one of its beginning.
INSERT INTO alert_messages (alert, target, event, reading, due)
SELECT alert, target, 'resolved', ?3, ?2 FROM alert_messages WHERE alert = ?1 AND event = 'crossed';

-- due_alert_messages --
-- The next messages. 'crossed' is before 'resolved'.
SELECT message.alert, message.target, message.event, alerts.since, message.reading, message.tries
FROM alert_messages AS message JOIN alerts ON alerts.number = message.alert
WHERE message.sent_at IS NULL AND message.due <= ?1 AND NOT EXISTS (
    SELECT 1 FROM alert_messages AS earlier
    WHERE earlier.alert = message.alert AND earlier.target = message.target AND earlier.event < message.event
        AND earlier.sent_at IS NULL
)
ORDER BY message.due, message.alert, message.target LIMIT ?2;

-- alert_message_sent --
-- Notes that a message is done with.
UPDATE alert_messages SET sent_at = ?4, tries = tries + 1 WHERE alert = ?1 AND target = ?2 AND event = ?3;

-- alert_message_failed --
-- Notes a failure.
UPDATE alert_messages SET error = ?4, tries = tries + 1, due = ?5
WHERE alert = ?1 AND target = ?2 AND event = ?3;

-- forget_alert_messages --
-- Removes the messages of alerts that were resolved long ago.
DELETE FROM alert_messages WHERE alert IN (SELECT number FROM alerts WHERE resolved_at < ?1);

-- forget_alerts --
-- Removes alerts that were resolved long ago.
DELETE FROM alerts WHERE resolved_at < ?1;
