-- Who did what: an entry is there before anything is done, and says afterwards what came of it.
CREATE TABLE audit (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at text COLLATE "C" NOT NULL,
    actor text COLLATE "C" NOT NULL,
    via text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL,
    target text COLLATE "C" NOT NULL,
    reason text,
    command text,
    ended_at text COLLATE "C",
    outcome text COLLATE "C",
    error text,
    details text NOT NULL DEFAULT '{}'
);
