-- page_sections --
-- The sections of one page.
SELECT domain, enabled, ready, versions, body, occurred_at FROM sections WHERE sku = ? AND channel = ? ORDER BY domain;

-- page_keys --
-- The next pages by (sku, channel).
SELECT DISTINCT sku, channel FROM sections
WHERE (sku, channel) > (?, ?)
ORDER BY sku, channel
LIMIT ?;

-- section_skus --
-- The next SKUs that have a section of a domain.
SELECT DISTINCT sku FROM sections
WHERE domain = ? AND sku > ?
ORDER BY sku
LIMIT ?;

-- section_counts --
-- How many sections each channel has of each domain, and how many are ready.
SELECT channel, domain, count(*), sum(ready) FROM sections GROUP BY channel, domain;
