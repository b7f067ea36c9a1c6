-- What the records of sources have at each field, since when, and how often. The row of the field '' counts the records of
-- a family. It can not be folded again from the log.
CREATE TABLE source_fields (
    source text COLLATE "C" NOT NULL,
    contract text COLLATE "C" NOT NULL,
    family text COLLATE "C" NOT NULL,
    field text COLLATE "C" NOT NULL,
    first_seen text COLLATE "C" NOT NULL,
    last_seen text COLLATE "C" NOT NULL,
    records bigint NOT NULL,
    first_at bigint NOT NULL DEFAULT 0,
    seen_at bigint NOT NULL,
    types integer NOT NULL,
    accepted_types integer NOT NULL,
    mapped boolean NOT NULL,
    example text NOT NULL,
    alert text COLLATE "C" CHECK (alert IN ('new', 'vanished', 'type', 'value')),
    alerted_at text COLLATE "C",
    vanished_at text COLLATE "C",
    PRIMARY KEY (source, contract, family, field)
);

-- There are few alerts among many fields.
CREATE INDEX source_fields_alerts ON source_fields (source, alert) WHERE alert IS NOT NULL;
