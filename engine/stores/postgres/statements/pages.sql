-- page_sections --
-- The sections of one page.
SELECT domain, enabled, ready, versions, body, occurred_at FROM sections WHERE sku = $1 AND channel = $2 ORDER BY domain;

-- page_keys --
-- The next pages by (sku, channel).
SELECT DISTINCT sku, channel FROM sections
WHERE (sku, channel) > ($1, $2)
ORDER BY sku, channel
LIMIT $3;

-- section_skus --
-- The next SKUs that have a section of a domain.
SELECT DISTINCT sku FROM sections
WHERE sku > $2 AND domain = $1
ORDER BY sku
LIMIT $3;

-- section_counts --
-- How many sections each channel has of each domain, and how many are ready.
SELECT channel, domain, count(*), count(*) FILTER (WHERE ready) FROM sections GROUP BY channel, domain;
