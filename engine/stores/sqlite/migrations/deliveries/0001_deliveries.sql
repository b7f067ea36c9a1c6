-- What each target holds of each page, and what it is to get. The moments are microseconds since 1970. A row is due while
-- `due_at` has passed: when it was marked, when it is tried again, or when its claim expires. What was acknowledged in an
-- earlier epoch than that of the target's cursor counts no more.
CREATE TABLE deliveries (
    target TEXT NOT NULL,
    sku TEXT NOT NULL,
    channel TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('current', 'waiting', 'held', 'dead', 'discarded')),
    wanted_tag TEXT NOT NULL,
    wanted_position INTEGER NOT NULL,
    acked_tag TEXT,
    acked_position INTEGER NOT NULL DEFAULT 0,
    acked_at INTEGER,
    epoch INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    since INTEGER,
    due_at INTEGER,
    answer TEXT NOT NULL DEFAULT '',
    claim INTEGER,
    claimed_by TEXT,
    remarked INTEGER NOT NULL DEFAULT 0,
    overtaken INTEGER NOT NULL DEFAULT 0,
    hold INTEGER NOT NULL DEFAULT 0,
    document BLOB,
    echo BLOB,
    holding TEXT GENERATED ALWAYS AS (
        CASE
            WHEN wanted_tag = '' AND coalesce(acked_tag, '') = '' THEN 'none'
            WHEN wanted_tag = '' THEN 'surplus'
            WHEN state = 'current' THEN 'current'
            WHEN coalesce(acked_tag, '') = '' THEN 'missing'
            ELSE 'behind'
        END
    ) VIRTUAL,
    PRIMARY KEY (target, sku, channel),
    CHECK ((state = 'waiting') = (due_at IS NOT NULL)),
    CHECK ((state = 'current') = (since IS NULL)),
    CHECK (claim IS NULL OR state = 'waiting')
) STRICT;

CREATE INDEX deliveries_due ON deliveries (target, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_by_age ON deliveries (target, state, since, sku, channel) WHERE state <> 'current';

-- Where the marker of a target stands in the feed; and how far a reset has come, while there is one.
CREATE TABLE delivery_cursors (
    target TEXT PRIMARY KEY,
    cursor TEXT NOT NULL DEFAULT '',
    epoch INTEGER NOT NULL DEFAULT 1,
    reset_sku TEXT,
    reset_channel TEXT,
    reset_since INTEGER
) STRICT;

-- What the processes that deliver to a target share: see `engine/stores/target_state.py`.
CREATE TABLE delivery_targets (
    target TEXT PRIMARY KEY,
    stopped INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT '{}'
) STRICT;

-- The numbers of rows, kept by triggers.
CREATE TABLE delivery_counts (
    target TEXT NOT NULL,
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    holding TEXT NOT NULL,
    pages INTEGER NOT NULL,
    PRIMARY KEY (target, channel, state, holding)
) STRICT, WITHOUT ROWID;

-- What was counted of a target since it exists.
CREATE TABLE delivery_totals (
    target TEXT NOT NULL,
    name TEXT NOT NULL,
    total INTEGER NOT NULL,
    PRIMARY KEY (target, name)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER deliveries_inserted AFTER INSERT ON deliveries BEGIN
    INSERT INTO delivery_counts (target, channel, state, holding, pages)
    VALUES (NEW.target, NEW.channel, NEW.state, NEW.holding, 1)
    ON CONFLICT (target, channel, state, holding) DO UPDATE SET pages = pages + 1;
END;

CREATE TRIGGER deliveries_updated AFTER UPDATE ON deliveries
WHEN OLD.state <> NEW.state OR OLD.holding <> NEW.holding BEGIN
    UPDATE delivery_counts SET pages = pages - 1
    WHERE target = OLD.target AND channel = OLD.channel AND state = OLD.state AND holding = OLD.holding;
    INSERT INTO delivery_counts (target, channel, state, holding, pages)
    VALUES (NEW.target, NEW.channel, NEW.state, NEW.holding, 1)
    ON CONFLICT (target, channel, state, holding) DO UPDATE SET pages = pages + 1;
END;

CREATE TRIGGER deliveries_deleted AFTER DELETE ON deliveries BEGIN
    UPDATE delivery_counts SET pages = pages - 1
    WHERE target = OLD.target AND channel = OLD.channel AND state = OLD.state AND holding = OLD.holding;
END;
