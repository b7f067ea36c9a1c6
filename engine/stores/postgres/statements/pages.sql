-- page_sections --
-- The sections of one SKU.
SELECT domain, channels, flags, layout, contents FROM sections WHERE sku = $1 ORDER BY domain;

-- sections_of_pages --
-- The sections of several SKUs, sorted by domain within each. Contents above the limit are left out.
SELECT section.sku, domain, channels, flags, layout, CASE WHEN octet_length(contents) <= $2 THEN contents END
FROM unnest($1::text[]) AS wanted (sku)
CROSS JOIN LATERAL (SELECT * FROM sections WHERE sections.sku = wanted.sku ORDER BY domain) AS section;

-- page_sizes --
-- The bytes of the sections of several SKUs.
SELECT coalesce(sum(octet_length(contents)), 0) FROM sections WHERE sku = ANY ($1::text[]);

-- listed_pages --
-- The sections of the next SKUs, without their contents.
SELECT section.sku, domain, channels, flags, layout
FROM (SELECT DISTINCT sku FROM sections WHERE sku > $1 ORDER BY sku LIMIT $2) AS page
CROSS JOIN LATERAL (SELECT * FROM sections WHERE sections.sku = page.sku ORDER BY domain) AS section
ORDER BY section.sku;

-- page_keys --
-- Which channels have a section, by (sku, domain).
SELECT sku, domain, channels FROM sections
WHERE (sku, domain) > ($1, $2)
ORDER BY sku, domain
LIMIT $3;

-- page_skus --
-- The next SKUs that have a section.
SELECT DISTINCT sku FROM sections WHERE sku > $1 ORDER BY sku LIMIT $2;

-- section_skus --
-- The next SKUs that have a section of a domain.
SELECT sku FROM sections
WHERE sku > $2 AND domain = $1
ORDER BY sku
LIMIT $3;

-- count_sections --
-- The number of rows of a domain with the same channels and flags.
SELECT domain, channels, flags, count(*) FROM sections WHERE domain = $1 GROUP BY domain, channels, flags;

-- page_layouts --
-- The next SKUs, grouped by the channels and flags of their rows: those, the number of the SKUs, and the last one.
SELECT rows, count(*), max(sku) FROM (
    SELECT sku, array_agg(ARRAY[domain, channels, flags]) AS rows FROM sections
    WHERE sku > $1 GROUP BY sku ORDER BY sku LIMIT $2
) AS page GROUP BY rows;
