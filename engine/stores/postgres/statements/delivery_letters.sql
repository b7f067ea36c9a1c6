-- newest_delivery_letters --
-- The next deliveries after a place that were given up or discarded, newest first.
SELECT letter, target, sku, channel, state, answer, died_at, decision, cause, wanted_position
FROM deliveries
WHERE state = $1::text AND letter IS NOT NULL
    AND (died_at, letter) < ($2::bigint, $3::bigint)
ORDER BY died_at DESC, letter DESC
LIMIT $4;

-- newest_delivery_letters_of_target --
-- The next deliveries of a target after a place that were given up or discarded, newest first.
SELECT letter, target, sku, channel, state, answer, died_at, decision, cause, wanted_position
FROM deliveries
WHERE state = $1::text AND letter IS NOT NULL AND target = $5::text
    AND (died_at, letter) < ($2::bigint, $3::bigint)
ORDER BY died_at DESC, letter DESC
LIMIT $4;

-- newest_delivery_letters_of_cause --
-- The next deliveries of a cause, at one target or any after a place that were given up or discarded, newest first.
SELECT letter, target, sku, channel, state, answer, died_at, decision, cause, wanted_position
FROM deliveries
WHERE state = $1::text AND letter IS NOT NULL AND cause = $5::text AND ($6::text IS NULL OR target = $6::text)
    AND (died_at, letter) < ($2::bigint, $3::bigint)
ORDER BY died_at DESC, letter DESC
LIMIT $4;

-- oldest_delivery_letters --
-- The next deliveries after a place that were given up or discarded, oldest first.
SELECT letter, target, sku, channel, state, answer, died_at, decision, cause, wanted_position
FROM deliveries
WHERE state = $1::text AND letter IS NOT NULL
    AND (died_at, letter) > ($2::bigint, $3::bigint)
ORDER BY died_at, letter
LIMIT $4;

-- oldest_delivery_letters_of_target --
-- The next deliveries of a target after a place that were given up or discarded, oldest first.
SELECT letter, target, sku, channel, state, answer, died_at, decision, cause, wanted_position
FROM deliveries
WHERE state = $1::text AND letter IS NOT NULL AND target = $5::text
    AND (died_at, letter) > ($2::bigint, $3::bigint)
ORDER BY died_at, letter
LIMIT $4;

-- oldest_delivery_letters_of_cause --
-- The next deliveries of a cause, at one target or any after a place that were given up or discarded, oldest first.
SELECT letter, target, sku, channel, state, answer, died_at, decision, cause, wanted_position
FROM deliveries
WHERE state = $1::text AND letter IS NOT NULL AND cause = $5::text AND ($6::text IS NULL OR target = $6::text)
    AND (died_at, letter) > ($2::bigint, $3::bigint)
ORDER BY died_at, letter
LIMIT $4;

-- get_delivery_letter --
-- A delivery that was given up once, whatever became of it, with a document that a person has edited.
SELECT letter, target, sku, channel, state, answer, died_at, decision, cause, wanted_position, wanted_tag, attempts, document
FROM deliveries WHERE letter = $1;

-- count_delivery_letters --
-- The number of deliveries in a state, to one target or all; without the pages of groups.
SELECT coalesce(sum(pages), 0)::bigint FROM delivery_counts
WHERE state = $1::text AND ($2::text IS NULL OR target = $2) AND NOT starts_with(target, 'saga:');

-- count_delivery_letters_of_cause --
-- The number of deliveries of a cause in a state, likewise.
SELECT count(*) FROM deliveries
WHERE state = $1::text AND letter IS NOT NULL AND cause = $3::text AND ($2::text IS NULL OR target = $2);

-- delivery_letter_causes --
-- The causes of deliveries that were given up, each found after the one before it; how many there are, up to a number; the newest.
WITH RECURSIVE causes (cause) AS (
    (SELECT cause FROM deliveries WHERE cause > '' AND state = 'dead' AND letter IS NOT NULL ORDER BY cause LIMIT 1)
    UNION ALL
    SELECT following.cause FROM causes
    CROSS JOIN LATERAL (
        SELECT each.cause FROM deliveries AS each WHERE each.cause > causes.cause AND each.state = 'dead' AND each.letter IS NOT NULL
        ORDER BY each.cause LIMIT 1
    ) AS following
)

SELECT
    causes.cause, counted.letters, oldest.died_at, newest.died_at, newest.letter, newest.target, newest.sku, newest.channel,
    newest.answer
FROM (SELECT cause FROM causes LIMIT $1) AS causes
CROSS JOIN LATERAL (
    SELECT count(*) AS letters FROM (
        SELECT FROM deliveries AS each WHERE each.cause = causes.cause AND each.state = 'dead' AND each.letter IS NOT NULL LIMIT $2
    ) AS listed
) AS counted
CROSS JOIN LATERAL (
    SELECT died_at FROM deliveries AS each WHERE each.cause = causes.cause AND each.state = 'dead' AND each.letter IS NOT NULL
    ORDER BY died_at, letter LIMIT 1
) AS oldest
CROSS JOIN LATERAL (
    SELECT died_at, letter, target, sku, channel, answer FROM deliveries AS each
    WHERE each.cause = causes.cause AND each.state = 'dead' AND each.letter IS NOT NULL
    ORDER BY died_at DESC, letter DESC LIMIT 1
) AS newest
ORDER BY causes.cause;

-- delivery_letter_history --
-- How many deliveries of a cause were given up since a moment, by ten minutes since 1970, up to a number.
SELECT died_at / 600000000 AS steps, count(*)
FROM (
    SELECT died_at FROM deliveries WHERE cause = $1::text AND state = 'dead' AND letter IS NOT NULL AND died_at >= $2::bigint
    ORDER BY died_at DESC
    LIMIT $3
) AS listed
GROUP BY steps
ORDER BY steps;

-- retry_delivery_letters --
-- Makes deliveries due that were given up, and keeps who decided so. Rows are locked by key, in the order of all.
WITH named AS MATERIALIZED (
    SELECT target, sku, channel FROM deliveries WHERE letter = ANY ($1::bigint[]) AND state = 'dead'
    ORDER BY target, sku, channel
    FOR UPDATE
)
UPDATE deliveries AS d SET state = 'waiting', hold = false, attempts = 0, due_at = delivery_clock(), decision = $2
FROM named
WHERE d.target = named.target AND d.sku = named.sku AND d.channel = named.channel
RETURNING d.letter;

-- discard_delivery_letters --
-- Discards deliveries that were given up, and keeps who decided so, likewise.
WITH named AS MATERIALIZED (
    SELECT target, sku, channel FROM deliveries WHERE letter = ANY ($1::bigint[]) AND state = 'dead'
    ORDER BY target, sku, channel
    FOR UPDATE
)
UPDATE deliveries AS d SET state = 'discarded', hold = false, decision = $2
FROM named
WHERE d.target = named.target AND d.sku = named.sku AND d.channel = named.channel
RETURNING d.letter;

-- edit_delivery_letter --
-- Has a document sent, once, in place of the one that was given up.
UPDATE deliveries SET
    state = 'waiting', hold = false, attempts = 0, due_at = delivery_clock(), document = $3, decision = $2
WHERE letter = $1 AND state = 'dead' AND wanted_tag <> ''
RETURNING letter;
