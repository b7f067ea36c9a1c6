-- delivery_cursor --
-- Where the marker of a target stands.
SELECT cursor FROM delivery_cursors WHERE target = ?1;

-- add_delivery_cursor --
-- Makes a target known, where its marker has not begun.
INSERT INTO delivery_cursors (target) VALUES (?1) ON CONFLICT DO NOTHING;

-- move_delivery_cursor --
-- Moves the cursor of a target, if it is where it was read.
UPDATE delivery_cursors SET cursor = ?3 WHERE target = ?1 AND cursor = ?2 RETURNING epoch;

-- mark_deliveries --
-- Stores what is wanted of pages, given as JSON. A claimed row changes always, since its holder may have read an older page,
-- or a newer one.
INSERT INTO deliveries AS d (
    target, sku, channel, state, wanted_tag, wanted_position, acked_tag, epoch, since, due_at, hold
)
SELECT ?1, wanted.sku, wanted.channel, iif(?5, 'held', 'waiting'), wanted.tag, wanted.position,
    iif(wanted.tag = '', '?', NULL), ?4, ?3, iif(?5, NULL, ?3), ?5
FROM (
    SELECT value ->> 0 AS sku, value ->> 1 AS channel, value ->> 2 AS tag, value ->> 3 AS position FROM json_each(?2)
) AS wanted
WHERE wanted.tag <> '' OR ?6 OR EXISTS (
    SELECT 1 FROM deliveries AS stored
    WHERE stored.target = ?1 AND stored.sku = wanted.sku AND stored.channel = wanted.channel
)
ON CONFLICT (target, sku, channel) DO UPDATE SET
    wanted_tag = excluded.wanted_tag,
    wanted_position = excluded.wanted_position,
    acked_tag = iif(d.epoch < excluded.epoch, '?', d.acked_tag),
    echo = iif(d.epoch < excluded.epoch, NULL, d.echo),
    epoch = max(d.epoch, excluded.epoch),
    attempts = iif(d.wanted_tag = excluded.wanted_tag, d.attempts, 0),
    document = iif(d.wanted_tag = excluded.wanted_tag, d.document, NULL),
    hold = excluded.hold,
    remarked = d.claim IS NOT NULL,
    state = CASE
        WHEN d.claim IS NOT NULL THEN 'waiting'
        WHEN d.epoch >= excluded.epoch AND coalesce(d.acked_tag, '') = excluded.wanted_tag THEN 'current'
        ELSE excluded.state
    END,
    since = CASE
        WHEN d.claim IS NULL AND d.epoch >= excluded.epoch AND coalesce(d.acked_tag, '') = excluded.wanted_tag THEN NULL
        ELSE coalesce(d.since, excluded.since)
    END,
    due_at = CASE
        WHEN d.claim IS NOT NULL THEN d.due_at
        WHEN d.epoch >= excluded.epoch AND coalesce(d.acked_tag, '') = excluded.wanted_tag THEN NULL
        ELSE excluded.due_at
    END
WHERE d.wanted_tag <> excluded.wanted_tag OR d.claim IS NOT NULL OR d.epoch < excluded.epoch;

-- claim_deliveries --
-- Claims rows that are due between two moments, unless the target is stopped. An expired claim, or a reset, leaves unknown
-- what the target holds.
UPDATE deliveries AS d SET
    due_at = ?5,
    claim = ?6,
    claimed_by = ?7,
    remarked = 0,
    overtaken = 0,
    acked_tag = iif(d.claim IS NOT NULL OR d.epoch < known.epoch, '?', d.acked_tag),
    echo = iif(d.epoch < known.epoch, NULL, d.echo),
    epoch = max(d.epoch, known.epoch)
FROM (SELECT epoch FROM delivery_cursors WHERE target = ?1) AS known
WHERE d.rowid IN (
    SELECT rowid FROM deliveries WHERE target = ?1 AND due_at > ?2 AND due_at <= ?3
        AND NOT EXISTS (SELECT 1 FROM delivery_targets WHERE delivery_targets.target = ?1 AND stopped)
    ORDER BY due_at
    LIMIT ?4
)
RETURNING sku, channel, wanted_tag, wanted_position, acked_tag, attempts, document;

-- renew_deliveries --
-- Extends a claim of rows, and returns those that it still has.
UPDATE deliveries AS d SET due_at = ?5
WHERE d.rowid IN (
    SELECT stored.rowid FROM json_each(?4) AS named CROSS JOIN deliveries AS stored
    ON stored.target = ?1 AND stored.sku = named.value ->> 0 AND stored.channel = named.value ->> 1
) AND claim = ?2 AND claimed_by = ?3
RETURNING sku, channel;

-- offer_deliveries --
-- Stores what is offered of claimed rows.
UPDATE deliveries AS d SET echo = named.echo
FROM (
    SELECT stored.rowid AS number, unhex(given.value ->> 2) AS echo
    FROM json_each(?4) AS given CROSS JOIN deliveries AS stored
    ON stored.target = ?1 AND stored.sku = given.value ->> 0 AND stored.channel = given.value ->> 1
) AS named
WHERE d.rowid = named.number AND d.claim = ?2 AND d.claimed_by = ?3;

-- settle_deliveries --
-- Ends a claim of rows, given as JSON, and returns those that it still had. `is_newest`: nothing else was wanted since the
-- claim, so that what was read after it is no older than what is wanted. A group's own row is no dead letter.
WITH settled AS (
    SELECT value ->> 0 AS sku, value ->> 1 AS channel, value ->> 2 AS outcome, value ->> 3 AS tag, value ->> 4 AS page_tag,
        value ->> 5 AS position, value ->> 6 AS answer, value ->> 7 AS delay, unhex(value ->> 8) AS echo, value ->> 9 AS cause,
        key AS place
    FROM json_each(?4)
), claimed AS (
    SELECT settled.*, d.rowid AS number, d.acked_tag, d.overtaken, NOT d.remarked OR d.wanted_tag = settled.page_tag AS is_newest
    FROM settled CROSS JOIN deliveries AS d ON d.target = ?1 AND d.sku = settled.sku AND d.channel = settled.channel
    WHERE d.claim = ?2 AND d.claimed_by = ?3
), judged AS MATERIALIZED (
    SELECT *, is_newest AND (
        outcome = 'delivered' AND NOT overtaken OR outcome = 'unchanged' AND coalesce(acked_tag, '') = tag
    ) AS is_done, is_newest AND outcome IN ('dead', 'discarded') AS is_dead,
        is_newest AND outcome = 'dead' AND ?1 NOT LIKE 'saga:%' AS is_letter,
        (SELECT coalesce(max(letter), 0) FROM deliveries WHERE letter IS NOT NULL) + 1 + place AS new_letter
    FROM claimed
)
UPDATE deliveries AS d SET
    state = CASE WHEN is_done THEN 'current' WHEN is_dead THEN outcome WHEN d.hold OR outcome = 'held' THEN 'held' ELSE 'waiting' END,
    wanted_tag = iif(is_done, judged.page_tag, d.wanted_tag),
    wanted_position = iif(is_done, max(d.wanted_position, judged.position), d.wanted_position),
    acked_tag = CASE
        WHEN outcome = 'uncertain' OR outcome = 'delivered' AND judged.overtaken THEN '?'
        WHEN outcome = 'delivered' THEN judged.tag
        ELSE d.acked_tag
    END,
    acked_position = iif(outcome = 'delivered', judged.position, d.acked_position),
    acked_at = iif(outcome = 'delivered', ?5, d.acked_at),
    echo = CASE outcome WHEN 'delivered' THEN judged.echo WHEN 'uncertain' THEN d.echo WHEN 'unchanged' THEN d.echo END,
    attempts = CASE
        WHEN is_done OR NOT is_newest THEN 0
        WHEN outcome IN ('refused', 'dead', 'discarded') THEN d.attempts + 1
        ELSE d.attempts
    END,
    since = iif(is_done, NULL, d.since),
    due_at = CASE
        WHEN is_done OR is_dead OR d.hold OR outcome = 'held' THEN NULL WHEN is_newest THEN ?5 + judged.delay ELSE ?5
    END,
    document = iif(is_done, NULL, d.document),
    answer = judged.answer,
    letter = iif(is_letter, coalesce(d.letter, judged.new_letter), d.letter),
    died_at = iif(is_letter, ?5, d.died_at),
    cause = iif(is_letter, judged.cause, d.cause),
    decision = iif(is_letter, NULL, d.decision),
    claim = NULL,
    claimed_by = NULL,
    remarked = 0,
    overtaken = 0
FROM judged
WHERE d.rowid = judged.number
RETURNING sku, channel;

-- overtake_deliveries --
-- Rows whose lost claim may have reached the target after another one: what it holds is unknown, also once another holder's
-- claim is settled.
UPDATE deliveries AS d SET
    acked_tag = '?',
    overtaken = d.claim IS NOT NULL,
    state = iif(d.claim IS NULL AND d.hold, 'held', 'waiting'),
    since = coalesce(d.since, ?3),
    due_at = CASE WHEN d.claim IS NOT NULL THEN d.due_at WHEN NOT d.hold THEN ?3 END
WHERE d.rowid IN (
    SELECT stored.rowid FROM json_each(?2) AS named CROSS JOIN deliveries AS stored
    ON stored.target = ?1 AND stored.sku = named.value ->> 0 AND stored.channel = named.value ->> 1
);

-- next_due_delivery --
-- In how many microseconds the next row is due; 0 if one is due, or further ahead than can be.
SELECT iif(last.due_at > ?2 + ?3, 0, max(0, next.due_at - ?2))
FROM (
    SELECT due_at FROM deliveries WHERE target = ?1 AND due_at IS NOT NULL ORDER BY due_at LIMIT 1
) AS next, (
    SELECT due_at FROM deliveries WHERE target = ?1 AND due_at IS NOT NULL ORDER BY due_at DESC LIMIT 1
) AS last;

-- move_deliveries --
-- Changes the state of rows that are in one of some states, none of which is claimed.
UPDATE deliveries AS d SET
    state = ?4,
    hold = 0,
    attempts = iif(?4 = 'waiting', 0, d.attempts),
    due_at = iif(?4 = 'waiting', ?5, NULL)
WHERE d.rowid IN (
    SELECT stored.rowid FROM json_each(?2) AS named CROSS JOIN deliveries AS stored
    ON stored.target = ?1 AND stored.sku = named.value ->> 0 AND stored.channel = named.value ->> 1
) AND d.state IN (SELECT value FROM json_each(?3));

-- place_deliveries --
-- Has documents sent, given as JSON with their bytes in hexadecimal. A claim of another document is revoked: its bytes may
-- arrive all the same.
INSERT INTO deliveries AS d (
    target, sku, channel, state, wanted_tag, wanted_position, acked_tag, epoch, since, due_at, hold, document
)
SELECT ?1, placed.sku, placed.channel, 'waiting', placed.tag, placed.position, iif(placed.tag = '', '?', NULL),
    (SELECT epoch FROM delivery_cursors WHERE target = ?1), ?3, ?3, 0, unhex(placed.document)
FROM (
    SELECT value ->> 0 AS sku, value ->> 1 AS channel, value ->> 2 AS tag, value ->> 3 AS position,
        value ->> 4 AS document
    FROM json_each(?2)
) AS placed
WHERE true
ON CONFLICT (target, sku, channel) DO UPDATE SET
    wanted_tag = excluded.wanted_tag,
    wanted_position = excluded.wanted_position,
    acked_tag = iif(d.claim IS NOT NULL OR d.epoch < excluded.epoch, '?', d.acked_tag),
    echo = iif(d.epoch < excluded.epoch, NULL, d.echo),
    epoch = max(d.epoch, excluded.epoch),
    attempts = 0,
    hold = 0,
    remarked = 0,
    state = iif(
        d.claim IS NULL AND d.epoch >= excluded.epoch AND coalesce(d.acked_tag, '') = excluded.wanted_tag,
        'current', 'waiting'
    ),
    document = iif(
        d.claim IS NULL AND d.epoch >= excluded.epoch AND coalesce(d.acked_tag, '') = excluded.wanted_tag,
        NULL, excluded.document
    ),
    since = CASE
        WHEN d.claim IS NULL AND d.epoch >= excluded.epoch AND coalesce(d.acked_tag, '') = excluded.wanted_tag THEN NULL
        ELSE coalesce(d.since, excluded.since)
    END,
    due_at = CASE
        WHEN d.claim IS NULL AND d.epoch >= excluded.epoch AND coalesce(d.acked_tag, '') = excluded.wanted_tag THEN NULL
        ELSE excluded.due_at
    END,
    claim = NULL,
    claimed_by = NULL
WHERE d.wanted_position <> excluded.wanted_position
    OR d.document IS NULL AND d.state NOT IN ('current', 'dead', 'discarded');

-- edit_delivery --
-- Has a document sent in place of the page's, and revokes a claim, whose bytes may arrive all the same.
UPDATE deliveries AS d SET
    document = ?4,
    state = 'waiting',
    since = coalesce(d.since, ?5),
    due_at = ?5,
    attempts = 0,
    hold = 0,
    acked_tag = iif(d.claim IS NULL, d.acked_tag, '?'),
    claim = NULL,
    claimed_by = NULL
WHERE target = ?1 AND sku = ?2 AND channel = ?3;

-- redeliver_deliveries --
-- Forgets receipts, also those of an earlier epoch; revokes claims, and makes rows due.
UPDATE deliveries AS d SET
    acked_tag = '?',
    echo = NULL,
    epoch = max(d.epoch, ?3),
    state = iif(d.state = 'held', 'held', 'waiting'),
    since = coalesce(d.since, ?4),
    due_at = iif(d.state = 'held', NULL, ?4),
    attempts = 0,
    claim = NULL,
    claimed_by = NULL
WHERE d.rowid IN (
    SELECT stored.rowid FROM json_each(?2) AS named CROSS JOIN deliveries AS stored
    ON stored.target = ?1 AND stored.sku = named.value ->> 0 AND stored.channel = named.value ->> 1
);

-- begin_reset --
-- Begins a reset at the first row: of all receipts, which count no more, or of those since a moment.
UPDATE delivery_cursors SET epoch = epoch + (?2 IS NULL), reset_sku = '', reset_channel = '', reset_since = ?2
WHERE target = ?1;

-- reset_progress --
-- How far a reset has come, if there is one.
SELECT epoch, reset_sku, reset_channel, reset_since FROM delivery_cursors WHERE target = ?1 AND reset_sku IS NOT NULL;

-- reset_deliveries --
-- The next rows of a target by key, whether a reset is about them. A row is of the new epoch once it was claimed or marked.
SELECT sku, channel, iif(?4 IS NULL, epoch < ?5, coalesce(acked_at >= ?4, 0))
FROM deliveries WHERE target = ?1 AND (sku, channel) > (?2, ?3)
ORDER BY sku, channel
LIMIT ?6;

-- keep_reset --
-- Keeps how far a reset has come; null once it has ended.
UPDATE delivery_cursors SET reset_sku = ?2, reset_channel = ?3 WHERE target = ?1;

-- forget_receipts --
-- Begins a reset of every target: after a restore, targets may hold newer pages than the receipts say.
UPDATE delivery_cursors SET epoch = epoch + 1, reset_sku = '', reset_channel = '', reset_since = NULL;

-- forget_deliveries --
-- Removes the first rows of a target.
DELETE FROM deliveries WHERE rowid IN (
    SELECT rowid FROM deliveries WHERE target = ?1 ORDER BY sku, channel LIMIT ?2
);

-- forget_delivery_cursor --
-- Removes a target.
DELETE FROM delivery_cursors WHERE target = ?1;

-- forget_delivery_target --
-- Removes the shared state of a target.
DELETE FROM delivery_targets WHERE target = ?1;

-- forget_delivery_counts --
-- Removes the numbers of a target's rows.
DELETE FROM delivery_counts WHERE target = ?1;

-- forget_delivery_totals --
-- Removes what was counted of a target.
DELETE FROM delivery_totals WHERE target = ?1;

-- deliveries_of_skus --
-- The rows of SKUs at a target, or at each.
SELECT d.target, sku, channel, state, wanted_tag, wanted_position, iif(d.epoch < known.epoch, '?', acked_tag),
    acked_position, acked_at, attempts, since, due_at, answer, claimed_by, document IS NOT NULL,
    iif(d.epoch < known.epoch, NULL, echo)
FROM delivery_cursors AS known CROSS JOIN deliveries AS d ON d.target = known.target
WHERE (?2 IS NULL OR known.target = ?2) AND d.sku IN carray(?1)
ORDER BY d.target, sku, channel;

-- deliveries_by_key --
-- The next rows of a target by key.
SELECT target, sku, channel, state, wanted_tag, wanted_position,
    iif(epoch < (SELECT epoch FROM delivery_cursors WHERE target = ?1), '?', acked_tag),
    acked_position, acked_at, attempts, since, due_at, answer, claimed_by, document IS NOT NULL, echo
FROM deliveries WHERE target = ?1 AND (sku, channel) > (?2, ?3)
ORDER BY sku, channel
LIMIT ?4;

-- oldest_deliveries --
-- The next rows of a target in a state by age.
SELECT target, sku, channel, state, wanted_tag, wanted_position,
    iif(epoch < (SELECT epoch FROM delivery_cursors WHERE target = ?1), '?', acked_tag),
    acked_position, acked_at, attempts, since, due_at, answer, claimed_by, document IS NOT NULL, echo
FROM deliveries
WHERE target = ?1 AND state = ?2 AND state <> 'current' AND (since, sku, channel) > (?3, ?4, ?5)
ORDER BY since, sku, channel
LIMIT ?6;

-- waiting_since --
-- Since when the oldest waiting row of each target waits.
SELECT target, oldest FROM (
    SELECT target, (
        SELECT since FROM deliveries
        WHERE deliveries.target = delivery_cursors.target AND state = 'waiting' AND state <> 'current'
        ORDER BY since LIMIT 1
    ) AS oldest
    FROM delivery_cursors
) WHERE oldest IS NOT NULL
ORDER BY target;

-- delivery_counts --
-- The numbers of rows of a target, or of each.
SELECT target, channel, state, holding, pages FROM delivery_counts
WHERE (?1 IS NULL OR target = ?1) AND pages <> 0
ORDER BY target, channel, state, holding;

-- delivery_totals --
-- What was counted of a target, or of each.
SELECT target, name, total FROM delivery_totals WHERE ?1 IS NULL OR target = ?1 ORDER BY target, name;

-- add_delivery_totals --
-- Adds to what was counted of a target, given as JSON.
INSERT INTO delivery_totals AS known (target, name, total)
SELECT ?1, key, value FROM json_each(?2) WHERE true
ON CONFLICT (target, name) DO UPDATE SET total = known.total + excluded.total;

-- delivery_target --
-- The shared state of a target.
SELECT state FROM delivery_targets WHERE target = ?1;

-- lock_delivery_target --
-- The shared state of a target, which no other transaction changes meanwhile: only one writes.
SELECT state FROM delivery_targets WHERE target = ?1;

-- add_delivery_target --
-- Makes a target known.
INSERT INTO delivery_targets (target) VALUES (?1) ON CONFLICT DO NOTHING;

-- keep_delivery_target --
-- Stores the shared state of a target.
UPDATE delivery_targets SET state = ?2, stopped = ?3 WHERE target = ?1;

-- delivery_targets --
-- The shared state of every target, and whether its receipts are being reset.
SELECT known.target, known.state, delivery_cursors.reset_sku IS NOT NULL
FROM delivery_targets AS known LEFT JOIN delivery_cursors ON delivery_cursors.target = known.target
ORDER BY known.target;
