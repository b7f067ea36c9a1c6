-- begin_audit_entry --
-- Adds an entry before anything is done.
INSERT INTO audit (started_at, actor, via, action, target, reason, command)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
RETURNING number;

-- end_audit_entry --
-- Records what came of it, once.
UPDATE audit SET ended_at = ?2, outcome = ?3, error = ?4, details = ?5
WHERE number = ?1 AND ended_at IS NULL;

-- newest_audit_entries --
-- The newest entries below a number, of an actor, an action or all of a command, about a target.
SELECT number, started_at, actor, via, action, target, reason, command, ended_at, outcome, error, details
FROM audit
WHERE (?4 IS NULL OR number < ?4) AND (?1 IS NULL OR actor = ?1) AND (?3 IS NULL OR target = ?3)
    AND (?2 IS NULL OR action = ?2 OR substr(action, 1, length(?2) + 1) = ?2 || ' ')
ORDER BY number DESC
LIMIT ?5;

-- oldest_audit_entry --
-- When the oldest entry began.
SELECT started_at FROM audit ORDER BY number LIMIT 1;

-- forget_audit_entries --
-- Removes those of the oldest entries that began before a time.
DELETE FROM audit
WHERE started_at < ?1 AND number IN (SELECT number FROM audit ORDER BY number LIMIT ?2)
RETURNING number;
