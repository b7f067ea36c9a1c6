-- page_sections --
-- The sections of one page.
SELECT domain, enabled, ready, versions, body, occurred_at FROM sections WHERE sku = $1 AND channel = $2 ORDER BY domain;

-- sections_of_pages --
-- The sections of several pages, with the columns of `page_sections` first, and sorted as there within each page. A body
-- above the limit is left out, with its versions.
SELECT section.domain, enabled, ready, CASE WHEN octet_length(body) > $3 THEN NULL ELSE versions END,
       CASE WHEN octet_length(body) <= $3 THEN body END, occurred_at, wanted.sku, wanted.channel
FROM unnest($1::text[], $2::text[]) AS wanted (sku, channel)
CROSS JOIN LATERAL (
    SELECT * FROM sections WHERE sections.sku = wanted.sku AND sections.channel = wanted.channel ORDER BY domain
) AS section;

-- page_sizes --
-- The bytes of the sections of several SKUs in a channel.
SELECT coalesce(sum(octet_length(versions) + coalesce(octet_length(body), 0)), 0) FROM sections
WHERE sku = ANY ($1::text[]) AND channel = $2;

-- listed_pages --
-- The state of the sections of a channel, of the next SKUs; a SKU without sections has one row, with nulls.
SELECT page.sku, section.domain, section.enabled, section.ready, section.occurred_at
FROM (SELECT DISTINCT sku FROM sections WHERE sku > $2 ORDER BY sku LIMIT $3) AS page
LEFT JOIN LATERAL (
    SELECT * FROM sections WHERE sections.sku = page.sku AND sections.channel = $1 ORDER BY domain
) AS section ON TRUE
ORDER BY page.sku;

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

-- count_sections --
-- The number of sections of a domain.
SELECT count(*) FROM sections WHERE domain = $1;

-- section_counts --
-- The number of sections by channel and domain, and how many are ready.
SELECT channel, domain, count(*), count(*) FILTER (WHERE ready) FROM sections GROUP BY channel, domain;
