-- The records that are to be fetched. The same source, rule and key are one fetch, however often it is asked for.
CREATE TABLE fetches (
    source text COLLATE "C" NOT NULL,
    rule text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    address text NOT NULL,
    notification bytea NOT NULL,
    headers bytea NOT NULL,
    confirmed boolean NOT NULL,
    asked bigint NOT NULL DEFAULT 1,
    since text COLLATE "C" NOT NULL,
    due text COLLATE "C" NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    error text,
    PRIMARY KEY (source, rule, key)
);

CREATE INDEX fetches_due ON fetches (source, due);
