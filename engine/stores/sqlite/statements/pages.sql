-- page_sections --
-- The sections of one page.
SELECT domain, enabled, ready, versions, body, occurred_at FROM sections WHERE sku = ? AND channel = ? ORDER BY domain;

-- sections_of_pages --
-- The sections of several SKUs in a channel, first the columns of `page_sections`, in the form of `domain_sections`.
SELECT json_group_array(json_array(domain, enabled, ready, octet_length(versions), octet_length(body), occurred_at, sku)),
    CAST(group_concat(versions || coalesce(body, ''), '') AS BLOB)
FROM sections WHERE channel = ? AND sku IN carray(?);

-- page_sizes --
-- The bytes of the sections of several SKUs in a channel.
SELECT sum(octet_length(versions) + coalesce(octet_length(body), 0)) FROM sections WHERE channel = ? AND sku IN carray(?);

-- listed_pages --
-- The state of the sections of a channel, of the next SKUs; a SKU without sections has one row, with nulls.
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
-- The number of sections of a domain.
SELECT count(*) FROM sections WHERE domain = ?;

-- section_counts --
-- The number of sections by channel and domain, and how many are ready.
SELECT channel, domain, count(*), sum(ready) FROM sections GROUP BY channel, domain;
