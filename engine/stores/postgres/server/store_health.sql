-- store_sizes --
-- The bytes of the log, of the pages and of all other tables, with their indexes.
SELECT CASE relname WHEN 'stored_events' THEN 'log' WHEN 'sections' THEN 'pages' WHEN 'deliveries' THEN 'deliveries'
        ELSE 'rest' END,
    sum(pg_total_relation_size(oid))::bigint
FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
GROUP BY 1
ORDER BY 1;

-- indexes --
-- Every index of the schema, with a query that counts and hashes its entries, whichever plan the server uses.
SELECT index.indexrelid AS oid, name.relname AS name, index.indrelid::regclass::text AS relation,
    CASE WHEN method.amname = 'btree' THEN format(
        'SELECT count(*), sum(hashtextextended(entry, 0)::numeric) '
            'FROM (SELECT concat_ws(chr(31), %1$s) AS entry FROM %2$s WHERE %3$s ORDER BY %1$s) AS entries',
        (
            SELECT string_agg(pg_get_indexdef(index.indexrelid, place, true), ', ' ORDER BY place)
            FROM generate_series(1, index.indnkeyatts) AS place
        ),
        index.indrelid::regclass, coalesce(pg_get_expr(index.indpred, index.indrelid), 'true')
    ) END AS comparison
FROM pg_index AS index
JOIN pg_class AS name ON name.oid = index.indexrelid
JOIN pg_am AS method ON method.oid = name.relam
WHERE name.relnamespace = current_schema()::regnamespace
ORDER BY name.relname;

-- index_checker --
-- The call that lets the extension amcheck look at an index, where it is installed.
SELECT format('SELECT %s.bt_index_check($1::oid::regclass, true)', pg_extension.extnamespace::regnamespace)
FROM pg_extension WHERE extname = 'amcheck';

-- change_setting --
-- Gives a setting of the session another value, until the transaction ends.
SELECT set_config($1, $2, true);

-- fill_file --
-- Makes rows that the server keeps in a temporary file while they are read, and returns their number.
WITH rows AS MATERIALIZED (SELECT repeat('.', $2::integer) AS bytes FROM generate_series(1, $1::integer))
SELECT count(bytes) FROM rows;
