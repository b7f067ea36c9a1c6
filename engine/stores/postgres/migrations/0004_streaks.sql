-- How many events of a source, in a row, were overtaken in a domain before they came. 0 when the last one was news.
CREATE TABLE streaks (
    domain text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    stale bigint NOT NULL,
    PRIMARY KEY (domain, source)
) WITH (fillfactor = 50);
