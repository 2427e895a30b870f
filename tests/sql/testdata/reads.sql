-- plain
SELECT 1
SELECT
SELECT 1 AS one, 'two' AS two, 3.5 AS three, NULL AS four, true AS five
SELECT * FROM shop.orders
SELECT * FROM orders
SELECT id, total FROM shop.orders WHERE id = 7
SELECT o.* FROM shop.orders AS o WHERE o.status = 'open' ORDER BY o.total DESC LIMIT 5
SELECT DISTINCT status FROM shop.orders
SELECT DISTINCT ON (customer_id) customer_id, id, total FROM shop.orders ORDER BY customer_id, total DESC
SELECT id FROM shop.orders ORDER BY total DESC NULLS LAST, id ASC OFFSET 5 LIMIT 10
SELECT id FROM shop.orders ORDER BY 1 FETCH FIRST 3 ROWS ONLY
SELECT id, total FROM shop.orders ORDER BY total FETCH FIRST 3 ROWS WITH TIES
SELECT id FROM shop.orders LIMIT ALL
SELECT ALL id FROM shop.orders
VALUES (1, 'a'), (2, 'b')
TABLE shop.products
SELECT shop.orders.id, shop.orders.status FROM shop.orders
SELECT orders.id FROM shop.orders
SELECT orders.id FROM orders
SELECT "id" AS "Order Id" FROM "shop"."orders"
SELECT o FROM shop.orders o WHERE o.id = 1
SELECT (o).total FROM shop.orders o WHERE (o).id < 3
SELECT count(o) FROM shop.orders o
SELECT id AS total FROM shop.orders ORDER BY total
SELECT customer_id AS c, count(*) AS n FROM shop.orders GROUP BY c ORDER BY n DESC
SELECT U&'\0061' AS letter, E'tab\there', $tag$dollar 'quoted'$tag$, B'101', X'1F', 'it''s'
SELECT id /* a comment -- with another */ FROM shop.orders -- and one at the end
SELECT ctid, xmin, tableoid FROM shop.orders LIMIT 1
SELECT 1 + 2 * 3 - 4 / 2 % 3, 2 ^ 3, |/ 16, @ -5, 5 & 3, 5 | 3, 5 # 3, ~5, 1 << 3, 8 >> 1
SELECT id FROM shop.orders WHERE id OPERATOR(pg_catalog.=) 3
SELECT t.a, t.b FROM (VALUES (1, 'x'), (2, 'y')) AS t(a, b)
SELECT id FROM ONLY shop.orders
SELECT current_date, current_time, current_timestamp, localtime, localtimestamp, current_timestamp(2)
SELECT current_user, session_user, current_role, current_catalog, current_schema, user
-- conditions
SELECT id FROM shop.orders WHERE status IN ('open', 'paid') AND total > 10
SELECT id FROM shop.orders WHERE NOT (status = 'open' OR total < 100)
SELECT id FROM shop.orders WHERE total BETWEEN 10 AND 50
SELECT id FROM shop.orders WHERE total NOT BETWEEN SYMMETRIC 50 AND 10
SELECT id FROM shop.orders WHERE notes IS NOT NULL AND notes LIKE 'urgent%'
SELECT id FROM shop.orders WHERE notes ILIKE '%CALL%'
SELECT id FROM shop.orders WHERE notes LIKE '%\%%' ESCAPE '\'
SELECT name FROM shop.customers WHERE name SIMILAR TO 'Customer (1|2)%'
SELECT name FROM shop.customers WHERE name ~ '^Customer [0-9]$'
SELECT name FROM shop.customers WHERE name !~* '^customer 1'
SELECT id FROM shop.orders WHERE (customer_id, status) IN ((1, 'open'), (2, 'paid'))
SELECT id FROM shop.orders WHERE (customer_id, id) > (5, 10)
SELECT id FROM shop.orders WHERE notes IS DISTINCT FROM 'x' AND status IS NOT DISTINCT FROM 'open'
SELECT id FROM shop.orders WHERE (total > 100) IS TRUE
SELECT id FROM shop.orders WHERE (total > 100) IS NOT UNKNOWN
SELECT id FROM shop.orders WHERE total > ALL (SELECT price FROM shop.items WHERE quantity = 1 AND order_id < 3)
SELECT id FROM shop.orders WHERE total = ANY (ARRAY[3.5, 7, 10.5])
SELECT id FROM shop.orders WHERE status <> ALL ('{open,paid}'::text[])
SELECT id FROM shop.orders WHERE id = ANY (SELECT order_id FROM shop.items WHERE sku = 'sku-3')
SELECT name FROM shop.customers WHERE country COLLATE "C" < 'F'
SELECT name FROM shop.customers ORDER BY name COLLATE pg_catalog."C"
SELECT id FROM shop.orders WHERE created_at >= now() - interval '100 years'
SELECT id FROM shop.orders WHERE created_at::date = DATE '2026-01-02'
SELECT id FROM shop.orders WHERE (created_at, interval '1 day') OVERLAPS ('2026-01-02'::timestamptz, '2026-01-03'::timestamptz)
SELECT id FROM shop.orders WHERE CASE WHEN status = 'open' THEN total > 20 ELSE false END
-- case, coalesce and their kin
SELECT id, CASE status WHEN 'open' THEN 1 WHEN 'paid' THEN 2 ELSE 0 END AS rank FROM shop.orders
SELECT id, CASE WHEN total > 100 THEN 'large' WHEN total > 50 THEN 'medium' ELSE 'small' END FROM shop.orders
SELECT COALESCE(notes, 'none'), NULLIF(status, 'open') FROM shop.orders
SELECT GREATEST(total, 50), LEAST(total, 50, 20) FROM shop.orders
SELECT sum(CASE WHEN status = 'paid' THEN total ELSE 0 END) FROM shop.orders
SELECT num_nulls(notes, shipped), num_nonnulls(notes, shipped) FROM shop.orders
SELECT ROW(1, 'a', NULL), ROW(id, total) = ROW(1, 3.5) FROM shop.orders LIMIT 1
-- joins
SELECT o.id, c.name FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id
SELECT o.id, c.name FROM shop.orders o INNER JOIN shop.customers c ON c.id = o.customer_id AND c.country = 'DE' WHERE o.total > 10
SELECT c.name, o.id FROM shop.customers c LEFT JOIN shop.orders o ON o.customer_id = c.id AND o.status = 'open'
SELECT c.name, o.id FROM shop.orders o RIGHT OUTER JOIN shop.customers c ON o.customer_id = c.id
SELECT c.name, o.id FROM shop.customers c FULL JOIN shop.orders o ON o.customer_id = c.id
SELECT count(*) FROM shop.customers CROSS JOIN shop.products
SELECT order_id, sku, title FROM shop.items JOIN shop.products USING (sku)
SELECT sku, title, on_hand FROM shop.products NATURAL JOIN shop.stock
SELECT o.id, c.name, i.sku, p.title FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id JOIN shop.items i ON i.order_id = o.id JOIN shop.products p ON p.sku = i.sku
SELECT a.name, b.name AS manager FROM shop.customers a LEFT JOIN shop.customers b ON b.id = a.manager_id
SELECT a.id, b.id FROM shop.orders a, shop.orders b WHERE a.customer_id = b.customer_id AND a.id < b.id
SELECT j.id, j.name FROM (shop.orders o JOIN shop.customers c ON c.id = o.customer_id) AS j(id, customer_id, status, total, created_at, shipped, notes, cid, name)
SELECT u.sku FROM shop.items i JOIN shop.products p USING (sku) AS u
SELECT o.id FROM shop.orders o JOIN (shop.items i JOIN shop.products p ON p.sku = i.sku) ON i.order_id = o.id
SELECT o.id, s.n FROM shop.orders o LEFT JOIN (SELECT order_id, count(*) AS n FROM shop.items GROUP BY order_id) s ON s.order_id = o.id
SELECT customers.name, orders.total FROM shop.customers, shop.orders WHERE customers.id = orders.customer_id
SELECT x.id, y.line FROM shop.orders x LEFT JOIN shop.items y ON x.id = y.order_id AND y.quantity > 1 WHERE y.line IS NULL
SELECT p.title, q.title AS parent FROM shop.products p JOIN shop.products q ON p.parent = q.sku
SELECT o.customer_id, i.sku FROM shop.orders o JOIN shop.items i ON (o.id = i.order_id) ORDER BY o.customer_id, i.sku
SELECT c.id, k.n FROM shop.customers AS c(id, full_name) JOIN (SELECT customer_id, count(*) FROM shop.orders GROUP BY 1) AS k(cid, n) ON k.cid = c.id
-- lateral
SELECT c.name, t.id, t.total FROM shop.customers c CROSS JOIN LATERAL (SELECT o.id, o.total FROM shop.orders o WHERE o.customer_id = c.id ORDER BY o.total DESC LIMIT 2) t
SELECT c.name, t.n FROM shop.customers c LEFT JOIN LATERAL (SELECT count(*) AS n FROM shop.orders WHERE customer_id = c.id) t ON true
SELECT c.name, tag FROM shop.customers c, unnest(c.tags) AS tag
SELECT c.name, t.tag, t.position FROM shop.customers c, LATERAL unnest(c.tags) WITH ORDINALITY AS t(tag, position)
SELECT p.sku, e.key, e.value FROM shop.products p, jsonb_each(p.attributes) e
SELECT o.id, d FROM shop.orders o, LATERAL generate_series(lower(o.shipped), upper(o.shipped) - 1, interval '1 day') d WHERE o.shipped IS NOT NULL
SELECT p.sku, part->>'n' AS n FROM shop.products p CROSS JOIN LATERAL jsonb_array_elements(p.attributes->'parts') AS part
SELECT c.id, w FROM shop.customers c CROSS JOIN LATERAL regexp_split_to_table(c.name, ' ') AS w
SELECT o.id, x.rank FROM shop.orders o, LATERAL (VALUES (o.total * 2), (o.total * 3)) AS x(rank)
-- aggregates
SELECT count(*) FROM shop.orders
SELECT count(DISTINCT customer_id), sum(total), avg(total), min(total), max(total) FROM shop.orders
SELECT status, count(*) FROM shop.orders GROUP BY status HAVING count(*) > 3
SELECT customer_id, sum(total) FILTER (WHERE status = 'paid') AS paid FROM shop.orders GROUP BY customer_id
SELECT string_agg(name, ', ' ORDER BY name DESC) FROM shop.customers
SELECT array_agg(id ORDER BY total DESC, id) FROM shop.orders
SELECT array_agg(DISTINCT status) FROM shop.orders
SELECT jsonb_agg(jsonb_build_object('id', id, 'total', total)) FROM shop.orders WHERE id < 4
SELECT jsonb_object_agg(id, status) FROM shop.orders
SELECT json_agg(o) FROM shop.orders o WHERE o.id < 3
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total), percentile_disc(0.9) WITHIN GROUP (ORDER BY total), mode() WITHIN GROUP (ORDER BY status) FROM shop.orders
SELECT percentile_cont(ARRAY[0.25, 0.5, 0.75]) WITHIN GROUP (ORDER BY total) FROM shop.orders
SELECT stddev(total), stddev_pop(total), stddev_samp(total), variance(total), var_pop(total), var_samp(total) FROM shop.orders
SELECT corr(total, id), covar_pop(total, id), covar_samp(total, id), regr_slope(total, id), regr_intercept(total, id), regr_r2(total, id), regr_count(total, id) FROM shop.orders
SELECT bool_and(total > 0), bool_or(total > 200), every(total > 0) FROM shop.orders
SELECT bit_and(id), bit_or(id), bit_xor(id) FROM shop.orders
SELECT range_agg(shipped), range_intersect_agg(shipped) FROM shop.orders WHERE shipped IS NOT NULL
SELECT rank(100) WITHIN GROUP (ORDER BY total), dense_rank(100) WITHIN GROUP (ORDER BY total), percent_rank(100) WITHIN GROUP (ORDER BY total), cume_dist(100) WITHIN GROUP (ORDER BY total) FROM shop.orders
SELECT date_trunc('day', created_at) AS day, sum(total) FROM shop.orders GROUP BY date_trunc('day', created_at) ORDER BY day
SELECT date_trunc('week', created_at) AS week, count(*) FROM shop.orders GROUP BY 1 ORDER BY 1
SELECT c.country, count(DISTINCT o.id), sum(o.total)::numeric(12, 2) FROM shop.customers c LEFT JOIN shop.orders o ON o.customer_id = c.id GROUP BY c.country ORDER BY 3 DESC NULLS LAST
SELECT xmlagg(xmlelement(name status, status)) FROM shop.orders WHERE id < 3
SELECT count(*) FILTER (WHERE notes IS NULL) * 100.0 / count(*) AS percent FROM shop.orders
SELECT customer_id, max(total) - min(total) AS spread FROM shop.orders GROUP BY customer_id HAVING max(total) <> min(total) ORDER BY spread
-- grouping sets
SELECT status, customer_id, sum(total) FROM shop.orders GROUP BY GROUPING SETS ((status), (customer_id), ())
SELECT status, customer_id, sum(total) FROM shop.orders GROUP BY ROLLUP (status, customer_id)
SELECT status, customer_id, sum(total), GROUPING(status, customer_id) FROM shop.orders GROUP BY CUBE (status, customer_id)
SELECT status, customer_id, count(*) FROM shop.orders GROUP BY DISTINCT ROLLUP (status), ROLLUP (status, customer_id)
SELECT country, date_part('year', born) AS year, count(*) FROM shop.customers GROUP BY GROUPING SETS (country, ROLLUP (date_part('year', born)))
SELECT CASE WHEN GROUPING(status) = 1 THEN 'all' ELSE status END AS status, count(*) FROM shop.orders GROUP BY ROLLUP (status)
SELECT status, count(*) FROM shop.orders GROUP BY (status), ()
-- windows
SELECT id, row_number() OVER (ORDER BY total DESC) FROM shop.orders
SELECT id, rank() OVER (PARTITION BY customer_id ORDER BY total DESC), dense_rank() OVER (PARTITION BY customer_id ORDER BY total DESC) FROM shop.orders
SELECT id, sum(total) OVER (ORDER BY created_at ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS running FROM shop.orders
SELECT id, avg(total) OVER (ORDER BY created_at ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING) FROM shop.orders
SELECT id, lag(total, 1, 0.0) OVER w, lead(total) OVER w FROM shop.orders WINDOW w AS (PARTITION BY customer_id ORDER BY created_at)
SELECT id, first_value(total) OVER w, last_value(total) OVER w, nth_value(total, 2) OVER w FROM shop.orders WINDOW w AS (ORDER BY id RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
SELECT id, ntile(4) OVER (ORDER BY total), percent_rank() OVER (ORDER BY total), cume_dist() OVER (ORDER BY total) FROM shop.orders
SELECT id, count(*) OVER (), total / sum(total) OVER () AS share FROM shop.orders
SELECT id, sum(total) FILTER (WHERE status = 'paid') OVER (PARTITION BY customer_id) FROM shop.orders
SELECT id, sum(total) OVER (ORDER BY created_at RANGE BETWEEN interval '1 day' PRECEDING AND CURRENT ROW) FROM shop.orders
SELECT id, sum(total) OVER (ORDER BY status GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW) FROM shop.orders
SELECT id, sum(total) OVER (w ORDER BY id ROWS 3 PRECEDING EXCLUDE TIES) FROM shop.orders WINDOW w AS (PARTITION BY status)
SELECT * FROM (SELECT o.*, row_number() OVER (PARTITION BY customer_id ORDER BY total DESC) AS place FROM shop.orders o) ranked WHERE place = 1
SELECT id, total - lag(total) OVER (ORDER BY id) AS change FROM shop.orders ORDER BY change DESC NULLS LAST
SELECT customer_id, sum(sum(total)) OVER (ORDER BY customer_id) FROM shop.orders GROUP BY customer_id
SELECT kind, at, at - lag(at) OVER (PARTITION BY kind ORDER BY at) AS gap FROM shop.events
SELECT id, sum(flag) OVER (ORDER BY id) AS session FROM (SELECT id, CASE WHEN at - lag(at) OVER (ORDER BY at) > interval '30 minutes' THEN 1 ELSE 0 END AS flag FROM shop.events) s
-- common table expressions
WITH paid AS (SELECT * FROM shop.orders WHERE status = 'paid') SELECT count(*) FROM paid
WITH orders AS (SELECT * FROM shop.orders WHERE id < 5) SELECT * FROM orders
WITH orders AS (SELECT * FROM orders WHERE id < 5) SELECT * FROM orders
WITH a AS (SELECT 1 AS x), b AS (SELECT x + 1 AS y FROM a) SELECT a.x, b.y FROM a, b
WITH a(x, y) AS (SELECT id, total FROM shop.orders) SELECT x FROM a WHERE y > 50
WITH totals AS MATERIALIZED (SELECT customer_id, sum(total) AS spent FROM shop.orders GROUP BY customer_id) SELECT c.name, t.spent FROM totals t JOIN shop.customers c ON c.id = t.customer_id ORDER BY t.spent DESC
WITH t AS NOT MATERIALIZED (SELECT id FROM shop.orders) SELECT t.id FROM t UNION ALL SELECT id FROM t
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10) SELECT sum(i) FROM n
WITH RECURSIVE tree AS (SELECT sku, parent, 0 AS level FROM shop.products WHERE parent IS NULL UNION ALL SELECT p.sku, p.parent, t.level + 1 FROM shop.products p JOIN tree t ON p.parent = t.sku) SELECT * FROM tree ORDER BY level, sku
WITH RECURSIVE chain AS (SELECT id, manager_id, ARRAY[id] AS path FROM shop.customers WHERE manager_id IS NULL UNION SELECT c.id, c.manager_id, chain.path || c.id FROM shop.customers c, chain WHERE c.manager_id = chain.id AND NOT c.id = ANY (chain.path)) SELECT id, array_length(path, 1) FROM chain
WITH RECURSIVE t AS (SELECT sku, parent FROM shop.products WHERE parent IS NULL UNION ALL SELECT p.sku, p.parent FROM shop.products p, t WHERE p.parent = t.sku) SEARCH BREADTH FIRST BY sku SET seq SELECT sku FROM t ORDER BY seq
WITH RECURSIVE t AS (SELECT sku, parent FROM shop.products WHERE parent IS NULL UNION ALL SELECT p.sku, p.parent FROM shop.products p, t WHERE p.parent = t.sku) CYCLE sku SET looped USING trail SELECT sku, looped, trail FROM t
WITH RECURSIVE t AS (SELECT sku, parent FROM shop.products UNION ALL SELECT p.sku, p.parent FROM shop.products p, t WHERE p.parent = t.sku AND t.sku = 'none') CYCLE sku SET looped TO 'y' DEFAULT 'n' USING trail SELECT sku, looped FROM t
WITH days AS (SELECT generate_series(DATE '2026-01-01', DATE '2026-01-10', interval '1 day')::date AS day) SELECT d.day, count(o.id) FROM days d LEFT JOIN shop.orders o ON o.created_at::date = d.day GROUP BY d.day ORDER BY d.day
WITH outer_cte AS (WITH inner_cte AS (SELECT id FROM shop.orders) SELECT * FROM inner_cte) SELECT count(*) FROM outer_cte
SELECT * FROM (WITH x AS (SELECT id FROM shop.items, shop.orders WHERE order_id = id) SELECT DISTINCT id FROM x) y
WITH a AS (SELECT id FROM shop.orders), b AS (SELECT id FROM a WHERE id > 3), c AS (SELECT count(*) AS n FROM b) SELECT n FROM c
WITH x AS (SELECT customer_id FROM shop.orders) SELECT name FROM shop.customers WHERE id IN (SELECT customer_id FROM x)
WITH first AS (SELECT min(at) AS at FROM shop.events), last AS (SELECT max(at) AS at FROM shop.events) SELECT last.at - first.at FROM first, last
WITH RECURSIVE months(m) AS (SELECT DATE '2026-01-01' UNION ALL SELECT (m + interval '1 month')::date FROM months WHERE m < DATE '2026-06-01') SELECT m, (SELECT count(*) FROM shop.orders o WHERE date_trunc('month', o.created_at) = m) FROM months
-- subqueries
SELECT (SELECT count(*) FROM shop.items i WHERE i.order_id = o.id) AS lines, o.id FROM shop.orders o
SELECT id FROM shop.orders WHERE customer_id IN (SELECT id FROM shop.customers WHERE country = 'DE')
SELECT id FROM shop.orders o WHERE EXISTS (SELECT 1 FROM shop.items i WHERE i.order_id = o.id AND i.quantity > 1)
SELECT name FROM shop.customers c WHERE NOT EXISTS (SELECT FROM shop.orders o WHERE o.customer_id = c.id AND o.status = 'cancelled')
SELECT ARRAY(SELECT id FROM shop.orders WHERE customer_id = 1 ORDER BY id)
SELECT * FROM shop.orders WHERE total > (SELECT avg(total) FROM shop.orders)
SELECT * FROM (SELECT customer_id, sum(total) AS spent FROM shop.orders GROUP BY customer_id) s WHERE s.spent > 50
SELECT id, total > (SELECT avg(o2.total) FROM shop.orders o2 WHERE o2.customer_id = o.customer_id) AS above FROM shop.orders o
SELECT (SELECT c.name FROM shop.customers c WHERE c.id = o.customer_id) FROM shop.orders o ORDER BY (SELECT c.name FROM shop.customers c WHERE c.id = o.customer_id)
SELECT name FROM shop.customers WHERE (id, country) IN (SELECT customer_id, 'DE' FROM shop.orders)
SELECT name FROM shop.customers WHERE id NOT IN (SELECT customer_id FROM shop.orders WHERE customer_id IS NOT NULL)
SELECT x FROM (SELECT id AS x FROM (SELECT id FROM shop.orders) a) b
SELECT (SELECT array_agg(sku) FROM shop.items WHERE order_id = orders.id) FROM shop.orders LIMIT 3
SELECT id FROM shop.orders o WHERE total = (SELECT max(total) FROM shop.orders WHERE customer_id = o.customer_id)
SELECT ROW(1, 2) = (SELECT 1, 2)
SELECT count(*) FROM shop.orders WHERE total > SOME (SELECT price * 10 FROM shop.items)
-- set operations
SELECT id FROM shop.orders UNION SELECT id FROM shop.customers
SELECT id FROM shop.orders UNION ALL SELECT id FROM shop.customers ORDER BY id LIMIT 10
SELECT customer_id FROM shop.orders INTERSECT SELECT id FROM shop.customers
SELECT id FROM shop.customers EXCEPT ALL SELECT customer_id FROM shop.orders
(SELECT id FROM shop.orders ORDER BY id LIMIT 2) UNION ALL (SELECT id FROM shop.customers ORDER BY id DESC LIMIT 2)
SELECT 'orders' AS what, count(*) FROM shop.orders UNION ALL SELECT 'customers', count(*) FROM shop.customers ORDER BY what
SELECT a FROM (SELECT 1 AS a UNION SELECT 2) t EXCEPT SELECT 2
VALUES (1), (2) UNION ALL SELECT 3
WITH x AS (SELECT 1 AS a UNION SELECT 2 AS a) SELECT a FROM x INTERSECT SELECT 1
-- json
SELECT profile->'address'->>'city' FROM shop.customers
SELECT profile #>> '{address,city}', profile #> '{langs,0}' FROM shop.customers
SELECT id FROM shop.customers WHERE profile @> '{"tier": 1}'
SELECT id FROM shop.customers WHERE profile ? 'tier' AND profile ?| ARRAY['tier', 'x'] AND profile ?& ARRAY['tier', 'langs']
SELECT id FROM shop.customers WHERE profile @? '$.langs[*] ? (@ == "en")'
SELECT id FROM shop.customers WHERE profile @@ '$.tier > 0'
SELECT jsonb_path_query(profile, '$.langs[*]') FROM shop.customers
SELECT jsonb_path_query_array(attributes, '$.parts[*].n'), jsonb_path_query_first(attributes, '$.color'), jsonb_path_exists(attributes, '$.weight') FROM shop.products
SELECT jsonb_set(profile, '{address,city}', '"Berlin"'), profile || '{"a": 1}', profile - 'tier', profile #- '{langs,0}' FROM shop.customers
SELECT jsonb_pretty(profile), jsonb_typeof(profile->'langs'), jsonb_array_length(profile->'langs') FROM shop.customers
SELECT key, value FROM shop.products, jsonb_each_text(attributes) WHERE sku = 'sku-1'
SELECT jsonb_object_keys(attributes) FROM shop.products
SELECT x.color, x.weight FROM shop.products, jsonb_to_record(attributes) AS x(color text, weight numeric)
SELECT r.n FROM shop.products, jsonb_to_recordset(attributes->'parts') AS r(n int)
SELECT * FROM json_to_recordset('[{"a":1,"b":"x"},{"a":2,"b":"y"}]') AS t(a int, b text)
SELECT row_to_json(o), to_jsonb(o) FROM shop.orders o WHERE id = 1
SELECT json_build_object('a', 1, 'b', json_build_array(1, 2)), to_json(ARRAY[1, 2]), array_to_json(ARRAY[[1, 2], [3, 4]])
SELECT jsonb_strip_nulls('{"a": null, "b": 1}'), jsonb_insert('{"a": [0]}', '{a, 0}', '1'), jsonb_object('{a,1,b,2}'::text[])
SELECT (profile->>'tier')::int AS tier, count(*) FROM shop.customers GROUP BY (profile->>'tier')::int
SELECT profile['address']['city'] FROM shop.customers
SELECT json_array_elements_text('["a", "b"]'), json_typeof('1'), json_extract_path_text('{"a": {"b": 2}}', 'a', 'b')
SELECT jsonb_path_match('{"a": 1}', '$.a == 1'), '[1,2,3]'::jsonb - 1
-- arrays
SELECT tags[1], tags[1:2], array_length(tags, 1), cardinality(tags) FROM shop.customers
SELECT id FROM shop.customers WHERE 't1' = ANY (tags) AND tags @> ARRAY['all'] AND tags && '{t1,t2}'
SELECT dimensions[1] * dimensions[2] * dimensions[3] AS volume FROM shop.products
SELECT array_append(tags, 'x'), array_prepend('x', tags), array_cat(tags, ARRAY['y']), array_remove(tags, 'all'), array_replace(tags, 'all', 'any') FROM shop.customers
SELECT array_position(tags, 'all'), array_positions(tags, 'all'), array_to_string(tags, ','), array_upper(tags, 1), array_ndims(tags) FROM shop.customers
SELECT unnest(dimensions) FROM shop.products
SELECT a, b FROM unnest(ARRAY[1, 2], ARRAY['x', 'y']) AS t(a, b)
SELECT * FROM ROWS FROM (generate_series(1, 3), unnest(ARRAY['a', 'b'])) WITH ORDINALITY AS t(n, letter, place)
SELECT string_to_array('a,b,c', ','), string_to_table('a b', ' '), array_fill(0, ARRAY[2, 2]), trim_array(ARRAY[1, 2, 3], 1)
SELECT (ARRAY[[1, 2], [3, 4]])[2][1], ARRAY[1, 2] || 3, ARRAY[1, 2] || ARRAY[3], '{}'::int[] || 1
SELECT i, dimensions[i] FROM shop.products, generate_subscripts(dimensions, 1) AS i
SELECT (ARRAY[10, 20, 30])[2], (string_to_array(name, ' '))[1] FROM shop.customers
SELECT array_agg(x ORDER BY x) FROM (SELECT DISTINCT unnest(tags) AS x FROM shop.customers) t
-- full text
SELECT sku, title FROM shop.products WHERE words @@ to_tsquery('english', 'chair | table')
SELECT sku, ts_rank(words, query) AS rank FROM shop.products, plainto_tsquery('english', 'green lamp') query WHERE words @@ query ORDER BY rank DESC
SELECT ts_headline('english', title, websearch_to_tsquery('english', '"running shoes" -red'), 'StartSel=<, StopSel=>') FROM shop.products
SELECT to_tsvector('simple', title) || setweight(to_tsvector('english', title), 'A') FROM shop.products
SELECT phraseto_tsquery('english', 'old books'), numnode(to_tsquery('a & b')), querytree(to_tsquery('a & !b')), strip(words), ts_rank_cd(words, to_tsquery('chair')), length(words) FROM shop.products
SELECT to_tsvector('english'::regconfig, title) @@ 'chair'::tsquery FROM shop.products
SELECT tsvector_to_array(words), 'a & b'::tsquery && 'c'::tsquery, 'fat'::tsquery <-> 'cat'::tsquery FROM shop.products
-- dates
SELECT extract(year FROM created_at), extract(epoch FROM created_at), date_part('dow', created_at) FROM shop.orders
SELECT age(now(), created_at) IS NOT NULL, created_at AT TIME ZONE 'Europe/Berlin', created_at + interval '1 month 2 days' FROM shop.orders
SELECT to_char(created_at, 'YYYY-MM-DD HH24:MI:SS'), to_date('2026-05-01', 'YYYY-MM-DD'), to_timestamp(0), to_timestamp('01 Jan 2026', 'DD Mon YYYY') FROM shop.orders LIMIT 1
SELECT make_date(2026, 5, 1), make_time(1, 2, 3.5), make_timestamp(2026, 1, 1, 0, 0, 0), make_timestamptz(2026, 1, 1, 0, 0, 0, 'UTC'), make_interval(days => 3, hours => 2)
SELECT date_bin('15 minutes', at, TIMESTAMPTZ '2026-01-01 00:00Z') AS slot, count(*) FROM shop.events GROUP BY slot ORDER BY slot
SELECT justify_days(interval '40 days'), justify_hours(interval '30 hours'), justify_interval(interval '1 mon -1 hour'), isfinite(now()), clock_timestamp() > now(), statement_timestamp() >= transaction_timestamp()
SELECT DATE '2026-03-01' - DATE '2026-02-01', DATE '2026-01-31' + 1, TIME '10:00' + interval '90 minutes', date_trunc('quarter', DATE '2026-05-05'), timezone('UTC', now()) < now() + interval '1 day'
SELECT generate_series('2026-01-01'::timestamptz, '2026-01-02'::timestamptz, '6 hours')
SELECT shipped && daterange('2026-01-10', '2026-01-20'), lower(shipped), upper_inc(shipped), isempty(shipped), shipped @> DATE '2026-01-10', shipped * daterange('2026-01-01', '2026-02-01', '[]') FROM shop.orders
SELECT int4range(1, 5) -|- int4range(5, 9), numrange(1, 5) + numrange(3, 7), range_merge(int4range(1, 2), int4range(5, 6)), multirange(int4range(1, 3)), '{[1,3), [5,9)}'::int4multirange @> 6
SELECT interval '2 hours' * 3, interval '1 day' / 4, -interval '1 day', interval '90' minute, interval '1-2' year to month
-- strings
SELECT upper(name), lower(name), initcap(name), length(name), char_length(name), octet_length(name), bit_length(name) FROM shop.customers
SELECT substring(name FROM 1 FOR 4), substring(name FROM '[0-9]+'), substr(name, 2), position('o' IN name), strpos(name, 'o'), overlay(name PLACING 'XX' FROM 2 FOR 3) FROM shop.customers
SELECT trim(BOTH 'x' FROM 'xxaxx'), trim('  a '), ltrim(' a'), rtrim('a '), btrim('xax', 'x'), lpad('1', 3, '0'), rpad('1', 3, '0')
SELECT replace(email, '@', ' at '), translate(name, 'aeiou', '12345'), reverse(name), repeat('ab', 2), left(name, 3), right(name, 2), split_part(email, '@', 2) FROM shop.customers
SELECT regexp_replace(name, '\d+', '#', 'g'), regexp_match(name, '(\w+) (\d+)'), regexp_matches(name, '\d', 'g'), regexp_split_to_array(name, ' '), regexp_count(name, 'o'), regexp_substr(name, '\d+'), regexp_like(name, 'C'), regexp_instr(name, 'u') FROM shop.customers
SELECT concat(name, ' <', email, '>'), concat_ws(', ', country, name), format('%s: %L %I', name, email, 'Col'), name || ' of ' || country FROM shop.customers
SELECT md5(email), sha256(email::bytea), encode(sha256('x'::bytea), 'hex'), decode('YQ==', 'base64'), convert_from('a'::bytea, 'UTF8'), convert_to('a', 'UTF8') FROM shop.customers LIMIT 1
SELECT pg_catalog.ascii('a'), chr(97), to_hex(255), quote_literal('it''s'), quote_ident('A b'), quote_nullable(NULL), starts_with('abc', 'a'), unistr('\0061'), normalize('ä', NFD), 'ä' IS NFC NORMALIZED
SELECT 'abc' ~~ 'a%', 'abc' ^@ 'a', string_agg(DISTINCT country, ',') FROM shop.customers
SELECT parse_ident('a.b'), to_ascii('a', 'LATIN1'), get_byte('ab'::bytea, 0), set_byte('ab'::bytea, 0, 65), bit_count('a'::bytea)
-- numbers
SELECT round(total, 1), ceil(total), floor(total), trunc(total, 1), abs(-total), sign(total), mod(id, 7), power(id, 2), sqrt(id), cbrt(id), exp(1), ln(id), log(id), div(id, 3) FROM shop.orders
SELECT random() < 1, pi(), degrees(pi()), radians(180), sin(0), cos(0), tan(0), atan2(1, 1), width_bucket(total, 0, 250, 5), gcd(12, 18), lcm(4, 6), factorial(5), scale(total), trim_scale(total) FROM shop.orders LIMIT 2
SELECT to_number('1,234.5', '9,999.9'), to_char(total, 'FM999G990D00'), total::int, total::float8, total::text, (total * 100)::bigint FROM shop.orders
SELECT gen_random_uuid() IS NOT NULL, '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid
SELECT width_bucket(total, ARRAY[10, 50, 100]::numeric[]) AS bucket, count(*) FROM shop.orders GROUP BY bucket
-- casts and types
SELECT CAST(id AS text), id::varchar(10), id::numeric(10, 2), '1'::int8, 't'::boolean, '1.5'::real, '2026-01-01'::date, '1 day'::interval, '{1,2}'::int[], '10.0.0.1'::inet, '08:00:2b:01:02:03'::macaddr, B'101'::bit(3), '(1,2)'::point, '<a/>'::xml FROM shop.orders LIMIT 1
SELECT pg_typeof(total), pg_column_size(total), pg_size_pretty(12345678::bigint), pg_size_bytes('1 MB') FROM shop.orders LIMIT 1
SELECT o.to_json ->> 'id', c.concat <> '', o.num_nulls FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id ORDER BY o.id
SELECT j.row_to_json ->> 'sku' FROM (shop.products p JOIN shop.stock s USING (sku)) AS j ORDER BY 1
SELECT shop.stock.quote_literal FROM shop.stock WHERE stock.to_jsonb @> '{"sku": "sku-3"}'
SELECT pg_typeof(o.total)::text || ' of ' || o.id, concat(CAST(pg_typeof(o.notes) AS varchar)) FROM shop.orders o WHERE pg_typeof(o.id)::text = 'integer' LIMIT 1
SELECT host(source), masklen(source), network(source), source << inet '10.0.0.0/8', family(source), abbrev(source), set_masklen(source, 24) FROM shop.events
SELECT point(1, 2) <-> point(4, 6), box(point(0, 0), point(1, 1)) @> point(0.5, 0.5), circle(point(0, 0), 2), area(box(point(0, 0), point(2, 2))), center(circle(point(1, 1), 1))
SELECT text(id), int4(total), date(created_at), "char"(id) FROM shop.orders LIMIT 1
SELECT xmlelement(name customer, xmlattributes(id AS id), xmlforest(name, email)), xmlconcat('<a/>'::xml, '<b/>'::xml), xmlpi(name php), xmlcomment('x'), xmlparse(CONTENT 'a'), xmlserialize(CONTENT '<a/>'::xml AS text), xpath('/a/text()', '<a>1</a>'), xmlexists('/a' PASSING ('<a/>'::xml)) FROM shop.customers LIMIT 1
SELECT t.* FROM xmltable('/r/i' PASSING '<r><i n="1">a</i><i n="2">b</i></r>' COLUMNS place FOR ORDINALITY, n int PATH '@n', v text PATH '.' DEFAULT 'none') AS t
SELECT name::"char", name::name, name::bpchar FROM shop.customers LIMIT 1
-- sampling and series
SELECT count(*) FROM shop.orders TABLESAMPLE SYSTEM (50)
SELECT count(*) FROM shop.orders AS o TABLESAMPLE BERNOULLI (10) REPEATABLE (42)
SELECT n, n * n AS square FROM generate_series(1, 10) AS n
SELECT n FROM generate_series(0, 100, 10) n WHERE n % 20 = 0
SELECT d::date, to_char(d, 'Dy') FROM generate_series(DATE '2026-01-01', '2026-01-07', '1 day') d
SELECT generate_series FROM generate_series(1, 3)
SELECT f.a, f.b FROM (SELECT generate_series(1, 2), 'x') AS f(a, b)
-- reports
SELECT c.country, o.status, count(*) AS orders, round(avg(o.total), 2) AS mean FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id GROUP BY c.country, o.status ORDER BY c.country, orders DESC
SELECT to_char(o.created_at, 'YYYY-MM') AS month, sum(i.quantity * i.price) AS revenue, sum(sum(i.quantity * i.price)) OVER (ORDER BY to_char(o.created_at, 'YYYY-MM')) AS cumulative FROM shop.orders o JOIN shop.items i ON i.order_id = o.id GROUP BY to_char(o.created_at, 'YYYY-MM') ORDER BY month
SELECT p.title, sum(i.quantity) AS sold, rank() OVER (ORDER BY sum(i.quantity) DESC) AS place FROM shop.products p LEFT JOIN shop.items i ON i.sku = p.sku GROUP BY p.title
SELECT kind, count(*) FILTER (WHERE at < '2026-01-02') AS first_day, count(*) FILTER (WHERE at >= '2026-01-02') AS later FROM shop.events GROUP BY kind
WITH funnel AS (SELECT payload->>'customer' AS who, bool_or(kind = 'view') AS viewed, bool_or(kind = 'click') AS clicked, bool_or(kind = 'buy') AS bought FROM shop.events GROUP BY 1) SELECT count(*) FILTER (WHERE viewed), count(*) FILTER (WHERE clicked), count(*) FILTER (WHERE bought) FROM funnel
WITH firsts AS (SELECT customer_id, min(created_at)::date AS joined FROM shop.orders GROUP BY customer_id) SELECT f.joined, count(DISTINCT o.customer_id) FROM firsts f JOIN shop.orders o USING (customer_id) GROUP BY f.joined ORDER BY f.joined
SELECT c.name FROM shop.customers c JOIN shop.orders o ON o.customer_id = c.id GROUP BY c.id, c.name HAVING sum(o.total) > (SELECT avg(spent) FROM (SELECT sum(total) AS spent FROM shop.orders GROUP BY customer_id) t)
SELECT a.sku, b.sku, count(*) AS together FROM shop.items a JOIN shop.items b ON a.order_id = b.order_id AND a.sku < b.sku GROUP BY a.sku, b.sku ORDER BY together DESC LIMIT 10
SELECT ntile, min(total), max(total), count(*) FROM (SELECT total, ntile(4) OVER (ORDER BY total) AS ntile FROM shop.orders) q GROUP BY ntile ORDER BY ntile
SELECT d.day, COALESCE(sum(o.total), 0) AS revenue, avg(COALESCE(sum(o.total), 0)) OVER (ORDER BY d.day ROWS 6 PRECEDING) AS week FROM generate_series(DATE '2026-01-01', DATE '2026-01-14', interval '1 day') AS d(day) LEFT JOIN shop.orders o ON o.created_at::date = d.day GROUP BY d.day ORDER BY d.day
SELECT max(CASE WHEN status = 'open' THEN n END) AS open, max(CASE WHEN status = 'paid' THEN n END) AS paid FROM (SELECT status, count(*) AS n FROM shop.orders GROUP BY status) s
SELECT s.sku, s.on_hand - COALESCE(d.wanted, 0) AS left_over FROM shop.stock s LEFT JOIN (SELECT i.sku, sum(i.quantity) AS wanted FROM shop.items i JOIN shop.orders o ON o.id = i.order_id WHERE o.status = 'open' GROUP BY i.sku) d ON d.sku = s.sku
SELECT o.id FROM shop.orders o LEFT JOIN shop.items i ON i.order_id = o.id WHERE i.order_id IS NULL
SELECT customer_id, array_agg(status ORDER BY created_at) AS history, (array_agg(total ORDER BY created_at DESC))[1] AS latest FROM shop.orders GROUP BY customer_id
SELECT extract(hour FROM at) AS hour, kind, count(*), repeat('#', count(*)::int) AS bar FROM shop.events GROUP BY hour, kind ORDER BY hour, kind
SELECT c.name, coalesce(json_agg(json_build_object('id', o.id, 'total', o.total) ORDER BY o.id) FILTER (WHERE o.id IS NOT NULL), '[]') AS orders FROM shop.customers c LEFT JOIN shop.orders o ON o.customer_id = c.id GROUP BY c.id
SELECT DISTINCT payload->>'path' AS path FROM shop.events ORDER BY path
SELECT o.status, c.country FROM shop.orders o, shop.customers c WHERE o.customer_id = c.id AND (o.status, c.country) = ('open', 'DE')
SELECT shop.customers.name FROM shop.customers, shop.orders WHERE shop.orders.customer_id = shop.customers.id
SELECT count.count FROM (SELECT count(*) FROM shop.orders) AS count
SELECT s.count, s.max FROM (SELECT count(*), max(total) FROM shop.orders) s
SELECT min(x.m) FROM (SELECT max(total) AS m FROM shop.orders GROUP BY customer_id UNION ALL SELECT max(price) FROM shop.items) x
SELECT avg(n) FROM (SELECT count(*) AS n FROM shop.items GROUP BY order_id) t
-- more of what analysts write
SELECT c.country, count(*) AS customers, round(100.0 * count(*) / sum(count(*)) OVER (), 1) AS percent FROM shop.customers c GROUP BY c.country
SELECT o.id, o.total, avg(o.total) OVER (PARTITION BY c.country) AS usual FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id
SELECT width_bucket(total, 0, 250, 10) AS bin, count(*), min(total), max(total) FROM shop.orders GROUP BY 1 ORDER BY 1
SELECT date_trunc('hour', at) AS hour, count(*) FILTER (WHERE kind = 'buy')::numeric / NULLIF(count(*), 0) AS rate FROM shop.events GROUP BY 1 ORDER BY 1
SELECT source, count(*) FROM shop.events WHERE source <<= '10.0.1.0/24' GROUP BY source ORDER BY count DESC
SELECT p.sku, p.attributes->>'color' AS color, (p.attributes->>'weight')::numeric AS weight FROM shop.products p WHERE (p.attributes->>'weight')::numeric BETWEEN 2 AND 9 ORDER BY weight
SELECT e.payload->>'customer' AS who, array_agg(e.kind ORDER BY e.at) AS path FROM shop.events e GROUP BY who HAVING count(*) > 2
SELECT c.name, EXISTS (SELECT FROM shop.orders o WHERE o.customer_id = c.id AND o.total > 150) AS big FROM shop.customers c
WITH ranked AS (SELECT sku, sum(quantity * price) AS revenue FROM shop.items GROUP BY sku), totals AS (SELECT sum(revenue) AS all_revenue FROM ranked) SELECT r.sku, r.revenue, sum(r.revenue) OVER (ORDER BY r.revenue DESC) / t.all_revenue AS cumulative FROM ranked r CROSS JOIN totals t
SELECT id FROM shop.orders WHERE created_at >= date_trunc('month', TIMESTAMPTZ '2026-01-15') AND created_at < date_trunc('month', TIMESTAMPTZ '2026-01-15') + interval '1 month'
SELECT customer_id, count(*) FROM shop.orders WHERE status = ANY ('{open,paid}') GROUP BY customer_id ORDER BY count(*) DESC, customer_id LIMIT 3 OFFSET 1
SELECT string_agg(format('%s (%s)', name, country), E'\n' ORDER BY id) FROM shop.customers
