-- newest_delivery_letters --
-- The next deliveries after a place that were given up or discarded, newest first.
SELECT letter, target, sku, channel, state, answer, died_at, decision, cause, wanted_position
FROM deliveries
WHERE state = ?1 AND letter IS NOT NULL
    AND (died_at, letter) < (?2, ?3)
ORDER BY died_at DESC, letter DESC
LIMIT ?4;

-- newest_delivery_letters_of_target --
-- The next deliveries of a target after a place that were given up or discarded, newest first.
SELECT letter, target, sku, channel, state, answer, died_at, decision, cause, wanted_position
FROM deliveries
WHERE state = ?1 AND letter IS NOT NULL AND target = ?5
    AND (died_at, letter) < (?2, ?3)
ORDER BY died_at DESC, letter DESC
LIMIT ?4;

-- newest_delivery_letters_of_cause --
-- The next deliveries of a cause, at one target or any after a place that were given up or discarded, newest first.
SELECT letter, target, sku, channel, state, answer, died_at, decision, cause, wanted_position
FROM deliveries
WHERE state = ?1 AND letter IS NOT NULL AND cause = ?5 AND (?6 IS NULL OR target = ?6)
    AND (died_at, letter) < (?2, ?3)
ORDER BY died_at DESC, letter DESC
LIMIT ?4;

-- oldest_delivery_letters --
-- The next deliveries after a place that were given up or discarded, oldest first.
SELECT letter, target, sku, channel, state, answer, died_at, decision, cause, wanted_position
FROM deliveries
WHERE state = ?1 AND letter IS NOT NULL
    AND (died_at, letter) > (?2, ?3)
ORDER BY died_at, letter
LIMIT ?4;

-- oldest_delivery_letters_of_target --
-- The next deliveries of a target after a place that were given up or discarded, oldest first.
SELECT letter, target, sku, channel, state, answer, died_at, decision, cause, wanted_position
FROM deliveries
WHERE state = ?1 AND letter IS NOT NULL AND target = ?5
    AND (died_at, letter) > (?2, ?3)
ORDER BY died_at, letter
LIMIT ?4;

-- oldest_delivery_letters_of_cause --
-- The next deliveries of a cause, at one target or any after a place that were given up or discarded, oldest first.
SELECT letter, target, sku, channel, state, answer, died_at, decision, cause, wanted_position
FROM deliveries
WHERE state = ?1 AND letter IS NOT NULL AND cause = ?5 AND (?6 IS NULL OR target = ?6)
    AND (died_at, letter) > (?2, ?3)
ORDER BY died_at, letter
LIMIT ?4;

-- get_delivery_letter --
-- A delivery that was given up once, whatever became of it, with a document that a person has edited.
SELECT letter, target, sku, channel, state, answer, died_at, decision, cause, wanted_position, wanted_tag, attempts, document
FROM deliveries WHERE letter = ?1;

-- count_delivery_letters --
-- The number of deliveries in a state, to one target or all; without the pages of groups.
SELECT coalesce(sum(pages), 0) FROM delivery_counts
WHERE state = ?1 AND (?2 IS NULL OR target = ?2) AND target NOT LIKE 'saga:%';

-- count_delivery_letters_of_cause --
-- The number of deliveries of a cause in a state, likewise.
SELECT count(*) FROM deliveries
WHERE state = ?1 AND letter IS NOT NULL AND cause = ?3 AND (?2 IS NULL OR target = ?2);

-- delivery_letter_causes --
-- The causes of deliveries that were given up, each found after the one before it; how many there are, up to a number; the newest.
WITH RECURSIVE causes (cause) AS (
    SELECT (
        SELECT cause FROM deliveries WHERE cause > '' AND state = 'dead' AND letter IS NOT NULL
        ORDER BY cause LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT each.cause FROM deliveries AS each
        WHERE each.cause > causes.cause AND each.state = 'dead' AND each.letter IS NOT NULL
        ORDER BY each.cause LIMIT 1
    )
    FROM causes
    WHERE causes.cause IS NOT NULL
    LIMIT ?1 + 1
),

found AS (
    SELECT
        cause,
        (SELECT count(*) FROM (
            SELECT 1 FROM deliveries AS each
            WHERE each.cause = causes.cause AND state = 'dead' AND letter IS NOT NULL LIMIT ?2
        )) AS letters,
        (
            SELECT died_at FROM deliveries AS each
            WHERE each.cause = causes.cause AND state = 'dead' AND letter IS NOT NULL
            ORDER BY died_at, letter LIMIT 1
        ) AS first,
        (
            SELECT letter FROM deliveries AS each
            WHERE each.cause = causes.cause AND state = 'dead' AND letter IS NOT NULL
            ORDER BY died_at DESC, letter DESC LIMIT 1
        ) AS newest
    FROM causes
    WHERE cause IS NOT NULL
    LIMIT ?1
)

SELECT found.cause, letters, first, died_at, letter, target, sku, channel, answer
FROM found CROSS JOIN deliveries ON letter = newest
ORDER BY found.cause;

-- delivery_letter_history --
-- How many deliveries of a cause were given up since a moment, by ten minutes since 1970, up to a number.
SELECT died_at / 600000000 AS steps, count(*)
FROM (
    SELECT died_at FROM deliveries
    WHERE cause = ?1 AND state = 'dead' AND letter IS NOT NULL AND died_at >= ?2
    ORDER BY died_at DESC
    LIMIT ?3
)
GROUP BY steps
ORDER BY steps;

-- retry_delivery_letters --
-- Makes deliveries due that were given up, and keeps who decided so.
UPDATE deliveries SET state = 'waiting', hold = 0, attempts = 0, due_at = ?3, decision = ?2
WHERE letter IN (SELECT value FROM json_each(?1)) AND state = 'dead'
RETURNING letter;

-- discard_delivery_letters --
-- Discards deliveries that were given up, and keeps who decided so.
UPDATE deliveries SET state = 'discarded', hold = 0, decision = ?2
WHERE letter IN (SELECT value FROM json_each(?1)) AND state = 'dead'
RETURNING letter;

-- edit_delivery_letter --
-- Has a document sent, once, in place of the one that was given up.
UPDATE deliveries SET state = 'waiting', hold = 0, attempts = 0, due_at = ?4, document = ?3, decision = ?2
WHERE letter = ?1 AND state = 'dead' AND wanted_tag <> ''
RETURNING letter;
