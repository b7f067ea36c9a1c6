-- page_sections --
-- The sections of one SKU.
SELECT domain, channels, flags, layout, contents FROM sections WHERE sku = ? ORDER BY domain;

-- sections_of_pages --
-- The sections of several SKUs, in the form of `domain_sections`.
SELECT json_group_array(json_array(sku, domain, channels, flags, layout, octet_length(contents))),
    CAST(group_concat(contents, '') AS BLOB)
FROM sections WHERE sku IN carray(?);

-- page_sizes --
-- The bytes of the sections of several SKUs.
SELECT sum(octet_length(contents)) FROM sections WHERE sku IN carray(?);

-- listed_pages --
-- The sections of the next SKUs, without their contents.
SELECT sku, domain, channels, flags, layout FROM sections
WHERE sku IN (SELECT DISTINCT sku FROM sections WHERE sku > ? ORDER BY sku LIMIT ?)
ORDER BY sku, domain;

-- page_keys --
-- Which channels have a section, by (sku, domain).
SELECT sku, domain, channels FROM sections
WHERE (sku, domain) > (?, ?)
ORDER BY sku, domain
LIMIT ?;

-- page_skus --
-- The next SKUs that have a section.
SELECT DISTINCT sku FROM sections WHERE sku > ? ORDER BY sku LIMIT ?;

-- section_skus --
-- The next SKUs that have a section of a domain.
SELECT sku FROM sections
WHERE domain = ? AND sku > ?
ORDER BY sku
LIMIT ?;

-- count_sections --
-- The number of rows of a domain with the same channels and flags.
SELECT domain, channels, flags, count(*) FROM sections WHERE domain = ? GROUP BY domain, channels, flags;

-- page_layouts --
-- The next SKUs, grouped by the channels and flags of their rows: those, the number of the SKUs, and the last one.
SELECT rows, count(*), max(sku) FROM (
    SELECT sku, json_group_array(json_array(domain, channels, flags)) AS rows FROM sections
    WHERE sku > ? GROUP BY sku ORDER BY sku LIMIT ?
) GROUP BY rows;
