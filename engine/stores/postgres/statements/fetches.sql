-- want_fetch --
-- Adds a fetch; one that is wanted already counts one more notification, and stays due when it is.
INSERT INTO fetches (source, rule, key, address, notification, headers, confirmed, due, since)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (source, rule, key) DO UPDATE SET
    address = excluded.address,
    notification = excluded.notification,
    headers = excluded.headers,
    confirmed = fetches.confirmed OR excluded.confirmed,
    asked = fetches.asked + 1;

-- due_fetches --
-- The next fetches of a source.
SELECT source, rule, key, address, notification, headers, confirmed, asked, since, due, tries, error
FROM fetches WHERE source = $1 AND (due <= $2 OR due > $3) ORDER BY due, rule, key LIMIT $4;

-- fetch_done --
-- Removes a fetch, unless it was wanted again.
DELETE FROM fetches WHERE source = $1 AND rule = $2 AND key = $3 AND asked = $4;

-- fetch_again --
-- What was wanted again is a new fetch.
UPDATE fetches SET since = $4, due = $4, tries = 0, error = NULL, confirmed = FALSE
WHERE source = $1 AND rule = $2 AND key = $3;

-- fetch_failed --
-- Notes a failure.
UPDATE fetches SET error = $4, tries = $5, due = $6 WHERE source = $1 AND rule = $2 AND key = $3;

-- oldest_fetches --
-- Fetches of a source or all.
SELECT source, rule, key, address, notification, headers, confirmed, asked, since, due, tries, error
FROM fetches WHERE CAST($1 AS text) IS NULL OR source = $1
ORDER BY since, source, rule, key LIMIT $2;

-- count_fetches --
-- How many fetches are wanted, by source.
SELECT source, count(*), coalesce(sum(CASE WHEN error IS NULL THEN 0 ELSE 1 END), 0), min(since)
FROM fetches GROUP BY source ORDER BY source;
