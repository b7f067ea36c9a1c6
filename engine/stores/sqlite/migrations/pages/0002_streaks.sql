-- How many events of a source, in a row, were overtaken in a domain before they came. 0 when the last one was news.
CREATE TABLE streaks (
    domain TEXT NOT NULL,
    source TEXT NOT NULL,
    stale INTEGER NOT NULL,
    PRIMARY KEY (domain, source)
) STRICT;
