-- Plans of configurations that are kept, and what was decided about them. The times are fixed-width UTC text.
CREATE TABLE plans (
    plan text COLLATE "C" PRIMARY KEY,
    planned_at text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    position bigint NOT NULL,
    changed bigint NOT NULL,
    taken bigint NOT NULL,
    made_by text NOT NULL,
    state text COLLATE "C" NOT NULL,
    decided_by text NOT NULL,
    reason text NOT NULL,
    decided_at text COLLATE "C" NOT NULL,
    body bytea NOT NULL
);
