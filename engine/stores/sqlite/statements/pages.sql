-- page_sections --
-- The sections of one page.
SELECT domain, enabled, ready, versions, body, occurred_at FROM sections WHERE sku = ? AND channel = ? ORDER BY domain;

-- sections_of_pages --
-- The sections of several SKUs in a channel, with the columns of `page_sections` first, as `domain_sections` has them.
SELECT json_group_array(json_array(domain, enabled, ready, octet_length(versions), octet_length(body), occurred_at, sku)),
    CAST(group_concat(versions || coalesce(body, ''), '') AS BLOB)
FROM sections WHERE channel = ? AND sku IN carray(?);

-- page_sizes --
-- How many bytes the sections of several SKUs have in a channel.
SELECT sum(octet_length(versions) + coalesce(octet_length(body), 0)) FROM sections WHERE channel = ? AND sku IN carray(?);

-- listed_pages --
-- How the sections of a channel stand, of the next SKUs; an SKU without any has one row, with nulls.
SELECT page.sku, section.domain, section.enabled, section.ready, section.occurred_at
FROM (SELECT DISTINCT sku FROM sections WHERE sku > :after ORDER BY sku LIMIT :limit) AS page
LEFT JOIN sections AS section ON section.sku = page.sku AND section.channel = :channel
ORDER BY page.sku, section.domain;

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

-- count_sections --
-- How many a domain has.
SELECT count(*) FROM sections WHERE domain = ?;

-- section_counts --
-- How many sections each channel has of each domain, and how many are ready.
SELECT channel, domain, count(*), sum(ready) FROM sections GROUP BY channel, domain;
