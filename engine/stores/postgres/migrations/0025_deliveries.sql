-- What each target holds of each page, and what it is to get. The moments are microseconds since 1970, by the clock of the
-- server. A row is due while `due_at` has passed: when it was marked, when it is tried again, or when its claim expires.
-- What was acknowledged in an earlier epoch than that of the target's cursor counts no more.
CREATE TABLE deliveries (
    target text COLLATE "C" NOT NULL,
    sku text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('current', 'waiting', 'held', 'dead', 'discarded')),
    wanted_tag text COLLATE "C" NOT NULL,
    wanted_position bigint NOT NULL,
    acked_tag text COLLATE "C",
    acked_position bigint NOT NULL DEFAULT 0,
    acked_at bigint,
    epoch bigint NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    since bigint,
    due_at bigint,
    answer text NOT NULL DEFAULT '',
    claim bigint,
    claimed_by text,
    remarked boolean NOT NULL DEFAULT false,
    overtaken boolean NOT NULL DEFAULT false,
    hold boolean NOT NULL DEFAULT false,
    document bytea,
    echo bytea,
    PRIMARY KEY (target, sku, channel),
    CHECK ((state = 'waiting') = (due_at IS NOT NULL)),
    CHECK ((state = 'current') = (since IS NULL)),
    CHECK (claim IS NULL OR state = 'waiting')
) WITH (autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX deliveries_due ON deliveries (target, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_by_age ON deliveries (target, state, since, sku, channel) WHERE state <> 'current';

-- Where the marker of a target stands in the feed; and how far a reset has come, while there is one.
CREATE TABLE delivery_cursors (
    target text COLLATE "C" PRIMARY KEY,
    cursor text NOT NULL DEFAULT '',
    epoch bigint NOT NULL DEFAULT 1,
    reset_sku text COLLATE "C",
    reset_channel text COLLATE "C",
    reset_since bigint
);

-- What the processes that deliver to a target share: see `engine/stores/target_state.py`.
CREATE TABLE delivery_targets (
    target text COLLATE "C" PRIMARY KEY,
    stopped boolean NOT NULL DEFAULT false,
    state text NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);

-- The numbers of rows, kept by triggers.
CREATE TABLE delivery_counts (
    target text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    holding text COLLATE "C" NOT NULL,
    pages bigint NOT NULL,
    PRIMARY KEY (target, channel, state, holding)
) WITH (fillfactor = 50);

-- What was counted of a target since it exists.
CREATE TABLE delivery_totals (
    target text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    total bigint NOT NULL,
    PRIMARY KEY (target, name)
) WITH (fillfactor = 50);

-- The time, the same throughout a statement.
CREATE FUNCTION delivery_clock() RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (extract(epoch FROM statement_timestamp()) * 1000000)::bigint;

-- What a target holds of a page, by its receipt.
CREATE FUNCTION delivery_holding(state text, wanted_tag text, acked_tag text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN wanted_tag = '' AND coalesce(acked_tag, '') = '' THEN 'none'
    WHEN wanted_tag = '' THEN 'surplus'
    WHEN state = 'current' THEN 'current'
    WHEN coalesce(acked_tag, '') = '' THEN 'missing'
    ELSE 'behind'
END;

-- Rows of counts are changed in their order, so that no two transactions wait for each other.
CREATE FUNCTION count_new_deliveries() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO delivery_counts AS counted (target, channel, state, holding, pages)
    SELECT target, channel, state, delivery_holding(state, wanted_tag, acked_tag) AS holding, count(*)
    FROM new_rows GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (target, channel, state, holding) DO UPDATE SET pages = counted.pages + excluded.pages;
    RETURN NULL;
END
$$;

CREATE FUNCTION count_changed_deliveries() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO delivery_counts AS counted (target, channel, state, holding, pages)
    SELECT target, channel, state, holding, sum(pages) FROM (
        SELECT target, channel, state, delivery_holding(state, wanted_tag, acked_tag) AS holding, 1 AS pages FROM new_rows
        UNION ALL
        SELECT target, channel, state, delivery_holding(state, wanted_tag, acked_tag), -1 FROM old_rows
    ) AS changed
    GROUP BY 1, 2, 3, 4 HAVING sum(pages) <> 0 ORDER BY 1, 2, 3, 4
    ON CONFLICT (target, channel, state, holding) DO UPDATE SET pages = counted.pages + excluded.pages;
    RETURN NULL;
END
$$;

CREATE FUNCTION count_removed_deliveries() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO delivery_counts AS counted (target, channel, state, holding, pages)
    SELECT target, channel, state, delivery_holding(state, wanted_tag, acked_tag) AS holding, -count(*)
    FROM old_rows GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (target, channel, state, holding) DO UPDATE SET pages = counted.pages + excluded.pages;
    RETURN NULL;
END
$$;

CREATE TRIGGER deliveries_inserted AFTER INSERT ON deliveries
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_new_deliveries();

CREATE TRIGGER deliveries_updated AFTER UPDATE ON deliveries
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION count_changed_deliveries();

CREATE TRIGGER deliveries_deleted AFTER DELETE ON deliveries
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION count_removed_deliveries();
