-- The records that are to be fetched. The same source, rule and key are one fetch, however often it is asked for.
CREATE TABLE fetches (
    source TEXT NOT NULL,
    rule TEXT NOT NULL,
    key TEXT NOT NULL,
    address TEXT NOT NULL,
    notification BLOB NOT NULL,
    headers BLOB NOT NULL,
    confirmed INTEGER NOT NULL,
    asked INTEGER NOT NULL DEFAULT 1,
    since TEXT NOT NULL,
    due TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    PRIMARY KEY (source, rule, key)
) STRICT;

CREATE INDEX fetches_due ON fetches (source, due);
