-- delivery_cursor --
-- Where the marker of a target stands.
SELECT cursor FROM delivery_cursors WHERE target = $1;

-- add_delivery_cursor --
-- Makes a target known, where its marker has not begun.
INSERT INTO delivery_cursors (target) VALUES ($1) ON CONFLICT DO NOTHING;

-- move_delivery_cursor --
-- Moves the cursor of a target, if it is where it was read. Its lock comes before those of rows.
UPDATE delivery_cursors SET cursor = $3 WHERE target = $1 AND cursor = $2 RETURNING epoch;

-- mark_deliveries --
-- Stores what is wanted of pages, in the order given. What changes nothing is left out before, since a conflict locks the
-- row: a claimed row changes always, since its holder may have read an older page, or a newer one.
INSERT INTO deliveries AS d (
    target, sku, channel, state, wanted_tag, wanted_position, acked_tag, epoch, since, due_at, hold
)
SELECT $1, wanted.sku, wanted.channel, CASE WHEN $6::boolean THEN 'held' ELSE 'waiting' END, wanted.tag, wanted.position,
    CASE WHEN wanted.tag = '' THEN '?' END, $5::bigint, delivery_clock(), CASE WHEN NOT $6 THEN delivery_clock() END, $6
FROM unnest($2::text[], $3::text[], $4::text[], $8::bigint[]) AS wanted (sku, channel, tag, position)
LEFT JOIN LATERAL (
    SELECT d.sku, d.wanted_tag, d.claim, d.epoch FROM deliveries AS d
    WHERE d.target = $1 AND d.sku = wanted.sku AND d.channel = wanted.channel
    OFFSET 0  -- row by row by the whole key: without statistics, a plan would read all rows of the target
) AS stored ON true
WHERE CASE
    WHEN stored.sku IS NULL THEN wanted.tag <> '' OR $7::boolean
    ELSE stored.wanted_tag <> wanted.tag OR stored.claim IS NOT NULL OR stored.epoch < $5
END
ON CONFLICT (target, sku, channel) DO UPDATE SET
    wanted_tag = excluded.wanted_tag,
    wanted_position = excluded.wanted_position,
    acked_tag = CASE WHEN d.epoch < excluded.epoch THEN '?' ELSE d.acked_tag END,
    echo = CASE WHEN d.epoch >= excluded.epoch THEN d.echo END,
    epoch = greatest(d.epoch, excluded.epoch),
    attempts = CASE WHEN d.wanted_tag = excluded.wanted_tag THEN d.attempts ELSE 0 END,
    document = CASE WHEN d.wanted_tag = excluded.wanted_tag THEN d.document END,
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
    END;

-- claim_deliveries --
-- Claims rows that are due between two moments, given from now on, unless the target is stopped. An expired claim, or a
-- reset, leaves unknown what the target holds.
WITH due AS MATERIALIZED (
    SELECT target, sku, channel FROM deliveries
    WHERE target = $1 AND due_at > delivery_clock() + $2::bigint AND due_at <= delivery_clock() + $3::bigint
        AND NOT EXISTS (SELECT FROM delivery_targets WHERE delivery_targets.target = $1 AND stopped)
    ORDER BY due_at
    LIMIT $4
    FOR UPDATE SKIP LOCKED
)
UPDATE deliveries AS d SET
    due_at = delivery_clock() + $5::bigint,
    claim = $6,
    claimed_by = $7,
    remarked = false,
    overtaken = false,
    acked_tag = CASE WHEN d.claim IS NOT NULL OR d.epoch < delivery_cursors.epoch THEN '?' ELSE d.acked_tag END,
    echo = CASE WHEN d.epoch >= delivery_cursors.epoch THEN d.echo END,
    epoch = greatest(d.epoch, delivery_cursors.epoch)
FROM due, delivery_cursors
WHERE d.target = due.target AND d.sku = due.sku AND d.channel = due.channel AND delivery_cursors.target = due.target
RETURNING d.sku, d.channel, d.wanted_tag, d.wanted_position, d.acked_tag, d.attempts, d.document;

-- renew_deliveries --
-- Extends a claim of rows, and returns those that it still has. The rows are found by key first, then compared: a plan that
-- counts on few rows with a claim would read all rows of the target.
WITH named AS MATERIALIZED (
    SELECT stored.*
    FROM unnest($4::text[], $5::text[]) AS given (sku, channel)
    CROSS JOIN LATERAL (
        SELECT d.target, d.sku, d.channel, d.claim, d.claimed_by FROM deliveries AS d
        WHERE d.target = $1 AND d.sku = given.sku AND d.channel = given.channel
        OFFSET 0 FOR UPDATE
    ) AS stored
)
UPDATE deliveries AS d SET due_at = delivery_clock() + $6::bigint
FROM named
WHERE d.target = named.target AND d.sku = named.sku AND d.channel = named.channel
    AND named.claim = $2 AND named.claimed_by = $3
RETURNING d.sku, d.channel;

-- offer_deliveries --
-- Stores what is offered of claimed rows. As above, they are found by key.
WITH named AS MATERIALIZED (
    SELECT stored.*, given.echo
    FROM unnest($4::text[], $5::text[], $6::bytea[]) AS given (sku, channel, echo)
    CROSS JOIN LATERAL (
        SELECT d.target, d.sku, d.channel, d.claim, d.claimed_by FROM deliveries AS d
        WHERE d.target = $1 AND d.sku = given.sku AND d.channel = given.channel
        OFFSET 0 FOR UPDATE
    ) AS stored
)
UPDATE deliveries AS d SET echo = named.echo
FROM named
WHERE d.target = named.target AND d.sku = named.sku AND d.channel = named.channel
    AND named.claim = $2 AND named.claimed_by = $3;

-- settle_deliveries --
-- Ends a claim of rows, and returns those that it still had. `is_newest`: nothing else was wanted since the claim, so that
-- what was read after it is no older than what is wanted. All rows are locked first, in the order given, since those that the
-- claim has lost are changed next. A group's own row is no dead letter.
WITH named AS MATERIALIZED (
    SELECT settled.*, stored.target, stored.claim, stored.claimed_by, stored.acked_tag, stored.overtaken,
        NOT stored.remarked OR stored.wanted_tag = settled.page_tag AS is_newest
    FROM unnest(
        $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::text[], $11::bigint[], $12::bytea[],
        $13::text[]
    ) AS settled (sku, channel, outcome, tag, page_tag, position, answer, delay, echo, cause)
    CROSS JOIN LATERAL (
        SELECT d.target, d.claim, d.claimed_by, d.acked_tag, d.overtaken, d.remarked, d.wanted_tag FROM deliveries AS d
        WHERE d.target = $1 AND d.sku = settled.sku AND d.channel = settled.channel
        OFFSET 0 FOR UPDATE
    ) AS stored
), judged AS (
    SELECT *, is_newest AND (
        outcome = 'delivered' AND NOT overtaken OR outcome = 'unchanged' AND coalesce(acked_tag, '') = tag
    ) AS is_done, is_newest AND outcome IN ('dead', 'discarded') AS is_dead,
        is_newest AND outcome = 'dead' AND NOT starts_with($1, 'saga:') AS is_letter
    FROM named
    WHERE claim = $2 AND claimed_by = $3
)
UPDATE deliveries AS d SET
    state = CASE
        WHEN is_done THEN 'current' WHEN is_dead THEN outcome WHEN d.hold OR outcome = 'held' THEN 'held' ELSE 'waiting'
    END,
    wanted_tag = CASE WHEN is_done THEN judged.page_tag ELSE d.wanted_tag END,
    wanted_position = CASE WHEN is_done THEN greatest(d.wanted_position, judged.position) ELSE d.wanted_position END,
    acked_tag = CASE
        WHEN outcome = 'uncertain' OR outcome = 'delivered' AND judged.overtaken THEN '?'
        WHEN outcome = 'delivered' THEN judged.tag
        ELSE d.acked_tag
    END,
    acked_position = CASE WHEN outcome = 'delivered' THEN judged.position ELSE d.acked_position END,
    acked_at = CASE WHEN outcome = 'delivered' THEN delivery_clock() ELSE d.acked_at END,
    echo = CASE outcome WHEN 'delivered' THEN judged.echo WHEN 'uncertain' THEN d.echo WHEN 'unchanged' THEN d.echo END,
    attempts = CASE
        WHEN is_done OR NOT is_newest THEN 0 WHEN outcome IN ('refused', 'dead', 'discarded') THEN d.attempts + 1 ELSE d.attempts
    END,
    since = CASE WHEN NOT is_done THEN d.since END,
    due_at = CASE
        WHEN is_done OR is_dead OR d.hold OR outcome = 'held' THEN NULL
        WHEN is_newest THEN delivery_clock() + judged.delay
        ELSE delivery_clock()
    END,
    document = CASE WHEN NOT is_done THEN d.document END,
    answer = judged.answer,
    letter = CASE WHEN is_letter THEN coalesce(d.letter, nextval('delivery_letters')) ELSE d.letter END,
    died_at = CASE WHEN is_letter THEN delivery_clock() ELSE d.died_at END,
    cause = CASE WHEN is_letter THEN judged.cause ELSE d.cause END,
    decision = CASE WHEN NOT is_letter THEN d.decision END,
    claim = NULL,
    claimed_by = NULL,
    remarked = false,
    overtaken = false
FROM judged
WHERE d.target = judged.target AND d.sku = judged.sku AND d.channel = judged.channel
RETURNING d.sku, d.channel;

-- overtake_deliveries --
-- Rows whose lost claim may have reached the target after another one: what it holds is unknown, also once another holder's
-- claim is settled.
UPDATE deliveries AS d SET
    acked_tag = '?',
    overtaken = d.claim IS NOT NULL,
    state = CASE WHEN d.claim IS NULL AND d.hold THEN 'held' ELSE 'waiting' END,
    since = coalesce(d.since, delivery_clock()),
    due_at = CASE WHEN d.claim IS NOT NULL THEN d.due_at WHEN NOT d.hold THEN delivery_clock() END
FROM (
    SELECT $1 AS target, given.* FROM unnest($2::text[], $3::text[]) AS given (sku, channel) OFFSET 0
) AS named
WHERE d.target = named.target AND d.sku = named.sku AND d.channel = named.channel;

-- next_due_delivery --
-- In how many microseconds the next row is due; 0 if one is due, or further ahead than can be.
SELECT CASE
    WHEN last.due_at > delivery_clock() + $2::bigint THEN 0 ELSE greatest(0, next.due_at - delivery_clock())
END
FROM (
    SELECT due_at FROM deliveries WHERE target = $1 AND due_at IS NOT NULL ORDER BY due_at LIMIT 1
) AS next, (
    SELECT due_at FROM deliveries WHERE target = $1 AND due_at IS NOT NULL ORDER BY due_at DESC LIMIT 1
) AS last;

-- move_deliveries --
-- Changes the state of rows that are in one of some states, none of which is claimed. As above, they are found by key.
WITH named AS MATERIALIZED (
    SELECT stored.*
    FROM unnest($2::text[], $3::text[]) AS given (sku, channel)
    CROSS JOIN LATERAL (
        SELECT d.target, d.sku, d.channel, d.state FROM deliveries AS d
        WHERE d.target = $1 AND d.sku = given.sku AND d.channel = given.channel
        OFFSET 0 FOR UPDATE
    ) AS stored
)
UPDATE deliveries AS d SET
    state = $5,
    hold = false,
    attempts = CASE WHEN $5 = 'waiting' THEN 0 ELSE d.attempts END,
    due_at = CASE WHEN $5 = 'waiting' THEN delivery_clock() END
FROM named
WHERE d.target = named.target AND d.sku = named.sku AND d.channel = named.channel AND named.state = ANY ($4::text[]);

-- place_deliveries --
-- Has documents sent, in the order given. A claim of another document is revoked: its bytes may arrive all the same.
INSERT INTO deliveries AS d (
    target, sku, channel, state, wanted_tag, wanted_position, acked_tag, epoch, since, due_at, hold, document
)
SELECT $1, placed.sku, placed.channel, 'waiting', placed.tag, placed.position, CASE WHEN placed.tag = '' THEN '?' END,
    (SELECT epoch FROM delivery_cursors WHERE target = $1), delivery_clock(), delivery_clock(), false, placed.document
FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bytea[])
    AS placed (sku, channel, tag, position, document)
ON CONFLICT (target, sku, channel) DO UPDATE SET
    wanted_tag = excluded.wanted_tag,
    wanted_position = excluded.wanted_position,
    acked_tag = CASE WHEN d.claim IS NOT NULL OR d.epoch < excluded.epoch THEN '?' ELSE d.acked_tag END,
    echo = CASE WHEN d.epoch >= excluded.epoch THEN d.echo END,
    epoch = greatest(d.epoch, excluded.epoch),
    attempts = 0,
    hold = false,
    remarked = false,
    state = CASE
        WHEN d.claim IS NULL AND d.epoch >= excluded.epoch AND coalesce(d.acked_tag, '') = excluded.wanted_tag
            THEN 'current'
        ELSE 'waiting'
    END,
    document = CASE
        WHEN d.claim IS NULL AND d.epoch >= excluded.epoch AND coalesce(d.acked_tag, '') = excluded.wanted_tag THEN NULL
        ELSE excluded.document
    END,
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
    document = $4,
    state = 'waiting',
    since = coalesce(d.since, delivery_clock()),
    due_at = delivery_clock(),
    attempts = 0,
    hold = false,
    acked_tag = CASE WHEN d.claim IS NULL THEN d.acked_tag ELSE '?' END,
    claim = NULL,
    claimed_by = NULL
WHERE target = $1 AND sku = $2 AND channel = $3;

-- redeliver_deliveries --
-- Forgets receipts, also those of an earlier epoch; revokes claims, and makes rows due.
UPDATE deliveries AS d SET
    acked_tag = '?',
    echo = NULL,
    epoch = greatest(d.epoch, $4::bigint),
    state = CASE WHEN d.state = 'held' THEN 'held' ELSE 'waiting' END,
    since = coalesce(d.since, delivery_clock()),
    due_at = CASE WHEN d.state <> 'held' THEN delivery_clock() END,
    attempts = 0,
    claim = NULL,
    claimed_by = NULL
FROM (
    SELECT $1 AS target, given.* FROM unnest($2::text[], $3::text[]) AS given (sku, channel) OFFSET 0
) AS named
WHERE d.target = named.target AND d.sku = named.sku AND d.channel = named.channel;

-- begin_reset --
-- Begins a reset at the first row: of all receipts, which count no more, or of those since a moment.
UPDATE delivery_cursors SET
    epoch = epoch + CASE WHEN $2::bigint IS NULL THEN 1 ELSE 0 END, reset_sku = '', reset_channel = '', reset_since = $2
WHERE target = $1;

-- reset_progress --
-- How far a reset has come, if there is one. No other transaction changes it meanwhile.
SELECT epoch, reset_sku, reset_channel, reset_since FROM delivery_cursors WHERE target = $1 AND reset_sku IS NOT NULL
FOR UPDATE;

-- reset_deliveries --
-- The next rows of a target by key, whether a reset is about them. A row is of the new epoch once it was claimed or marked.
SELECT sku, channel, CASE WHEN $4::bigint IS NULL THEN epoch < $5::bigint ELSE acked_at >= $4 END
FROM deliveries WHERE target = $1 AND (sku, channel) > ($2::text, $3::text)
ORDER BY sku, channel
LIMIT $6;

-- keep_reset --
-- Keeps how far a reset has come; null once it has ended.
UPDATE delivery_cursors SET reset_sku = $2, reset_channel = $3 WHERE target = $1;

-- forget_receipts --
-- Begins a reset of every target: after a restore, targets may hold newer pages than the receipts say.
UPDATE delivery_cursors SET epoch = epoch + 1, reset_sku = '', reset_channel = '', reset_since = NULL;

-- forget_deliveries --
-- Removes the first rows of a target.
WITH named AS MATERIALIZED (
    SELECT target, sku, channel FROM deliveries WHERE target = $1 ORDER BY sku, channel LIMIT $2 FOR UPDATE
)
DELETE FROM deliveries USING named
WHERE deliveries.target = named.target AND deliveries.sku = named.sku AND deliveries.channel = named.channel;

-- forget_delivery_cursor --
-- Removes a target.
DELETE FROM delivery_cursors WHERE target = $1;

-- forget_delivery_target --
-- Removes the shared state of a target.
DELETE FROM delivery_targets WHERE target = $1;

-- forget_delivery_counts --
-- Removes the numbers of a target's rows.
DELETE FROM delivery_counts WHERE target = $1;

-- forget_delivery_totals --
-- Removes what was counted of a target.
DELETE FROM delivery_totals WHERE target = $1;

-- deliveries_of_skus --
-- The rows of SKUs at a target, or at each.
SELECT target, sku, channel, state, wanted_tag, wanted_position,
    CASE WHEN d.epoch < cursor_epoch THEN '?' ELSE acked_tag END, acked_position, acked_at, attempts, since, due_at, answer,
    claimed_by, document IS NOT NULL, CASE WHEN d.epoch >= cursor_epoch THEN echo END
FROM (
    SELECT target AS cursor_target, epoch AS cursor_epoch FROM delivery_cursors WHERE $2::text IS NULL OR target = $2
) AS known
CROSS JOIN LATERAL (
    SELECT * FROM deliveries WHERE deliveries.target = known.cursor_target AND deliveries.sku = ANY ($1::text[])
) AS d
ORDER BY target, sku, channel;

-- deliveries_by_key --
-- The next rows of a target by key.
SELECT target, sku, channel, state, wanted_tag, wanted_position,
    CASE WHEN epoch < (SELECT epoch FROM delivery_cursors WHERE target = $1) THEN '?' ELSE acked_tag END,
    acked_position, acked_at, attempts, since, due_at, answer, claimed_by, document IS NOT NULL, echo
FROM deliveries WHERE target = $1 AND (sku, channel) > ($2::text, $3::text)
ORDER BY sku, channel
LIMIT $4;

-- oldest_deliveries --
-- The next rows of a target in a state by age.
SELECT target, sku, channel, state, wanted_tag, wanted_position,
    CASE WHEN epoch < (SELECT epoch FROM delivery_cursors WHERE target = $1) THEN '?' ELSE acked_tag END,
    acked_position, acked_at, attempts, since, due_at, answer, claimed_by, document IS NOT NULL, echo
FROM deliveries
WHERE target = $1 AND state = $2::text AND state <> 'current' AND (since, sku, channel) > ($3::bigint, $4::text, $5::text)
ORDER BY since, sku, channel
LIMIT $6;

-- waiting_since --
-- Since when the oldest waiting row of each target waits.
SELECT known.target, oldest.since FROM delivery_cursors AS known
CROSS JOIN LATERAL (
    SELECT since FROM deliveries
    WHERE deliveries.target = known.target AND state = 'waiting' AND state <> 'current' ORDER BY since LIMIT 1
) AS oldest
ORDER BY known.target;

-- delivery_counts --
-- The numbers of rows of a target, or of each.
SELECT target, channel, state, holding, pages FROM delivery_counts
WHERE ($1::text IS NULL OR target = $1) AND pages <> 0
ORDER BY target, channel, state, holding;

-- delivery_totals --
-- What was counted of a target, or of each.
SELECT target, name, total FROM delivery_totals WHERE $1::text IS NULL OR target = $1 ORDER BY target, name;

-- add_delivery_totals --
-- Adds to what was counted of a target, in the order given.
INSERT INTO delivery_totals AS known (target, name, total)
SELECT $1, name, total FROM unnest($2::text[], $3::bigint[]) AS added (name, total)
ON CONFLICT (target, name) DO UPDATE SET total = known.total + excluded.total;

-- delivery_target --
-- The time, and the shared state of a target.
SELECT delivery_clock(), state FROM delivery_targets WHERE target = $1;

-- lock_delivery_target --
-- The time, and the shared state of a target, which no other transaction changes meanwhile.
SELECT delivery_clock(), state FROM delivery_targets WHERE target = $1 FOR UPDATE;

-- add_delivery_target --
-- Makes a target known.
INSERT INTO delivery_targets (target) VALUES ($1) ON CONFLICT DO NOTHING;

-- keep_delivery_target --
-- Stores the shared state of a target.
UPDATE delivery_targets SET state = $2, stopped = $3 WHERE target = $1;

-- delivery_targets --
-- The shared state of every target, and whether its receipts are being reset.
SELECT known.target, delivery_clock(), known.state, delivery_cursors.reset_sku IS NOT NULL
FROM delivery_targets AS known LEFT JOIN delivery_cursors ON delivery_cursors.target = known.target
ORDER BY known.target;
