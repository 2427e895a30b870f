-- insert
INSERT INTO shop.stock (sku, on_hand) SELECT 'sku-1', 3 WHERE false
INSERT INTO shop.orders (id, customer_id) VALUES (1001, 1)
INSERT INTO shop.orders (id, customer_id, status, total) VALUES (1001, 1, 'open', 10), (1002, 2, DEFAULT, 20) RETURNING id
INSERT INTO shop.orders VALUES (1001, 1, 'open', 10, now(), NULL, NULL)
INSERT INTO shop.orders AS o (id, customer_id) SELECT max(id) + 1, 1 FROM shop.orders RETURNING o.*
INSERT INTO shop.events (at, kind, payload) VALUES (now(), 'view', '{"path": "/"}') RETURNING id, at
INSERT INTO shop.events (id, at, kind, payload) OVERRIDING SYSTEM VALUE VALUES (9999, now(), 'view', '{}')
INSERT INTO shop.items (order_id, line, sku, price) SELECT o.id, 9, p.sku, 1.5 FROM shop.orders o CROSS JOIN shop.products p WHERE o.id = 3 AND p.sku = 'sku-2'
WITH big AS (SELECT id FROM shop.orders WHERE total > 200) INSERT INTO shop.items (order_id, line, sku, price) SELECT id, 7, 'sku-1', 2 FROM big
WITH added AS (INSERT INTO shop.orders (id, customer_id) VALUES (1001, 1) RETURNING id) SELECT id FROM added
INSERT INTO shop.customers (id, name, email, country, tags[1]) VALUES (100, 'New', 'new@example.org', 'DE', 'x')
-- insert on conflict
INSERT INTO shop.stock (sku, on_hand) VALUES ('sku-1', 5) ON CONFLICT DO NOTHING
INSERT INTO shop.stock (sku, on_hand) VALUES ('sku-1', 5) ON CONFLICT (sku) DO UPDATE SET on_hand = stock.on_hand + excluded.on_hand
INSERT INTO shop.stock AS s (sku, on_hand) VALUES ('sku-1', 5) ON CONFLICT (sku) DO UPDATE SET on_hand = excluded.on_hand, updated_at = now() WHERE s.on_hand < excluded.on_hand RETURNING s.sku
INSERT INTO shop.stock (sku, on_hand) VALUES ('sku-1', 5) ON CONFLICT ON CONSTRAINT stock_pkey DO UPDATE SET on_hand = 0
INSERT INTO shop.customers (id, name, email, country) VALUES (1, 'x', 'c1@example.org', 'DE') ON CONFLICT (email) DO UPDATE SET (name, country) = (excluded.name, excluded.country)
-- update
UPDATE shop.orders SET status = 'paid' WHERE id = 3
UPDATE shop.orders SET total = total * 1.1, notes = COALESCE(notes, '') || '!' WHERE status = 'open' AND created_at < now() RETURNING id, total
UPDATE shop.orders o SET status = 'shipped' FROM shop.customers c WHERE c.id = o.customer_id AND c.country = 'DE'
UPDATE shop.orders SET (status, notes) = ('paid', 'by card') WHERE id IN (SELECT order_id FROM shop.items WHERE sku = 'sku-4')
UPDATE shop.stock s SET (on_hand, updated_at) = (SELECT s.on_hand - sum(i.quantity), now() FROM shop.items i WHERE i.sku = s.sku) WHERE s.sku = 'sku-2'
UPDATE shop.customers SET tags[1] = 'vip', profile = jsonb_set(profile, '{tier}', '9') WHERE id = 4
UPDATE shop.customers SET profile['tier'] = '5' WHERE id = 4
WITH late AS (SELECT id FROM shop.orders WHERE status = 'open' ORDER BY created_at LIMIT 3) UPDATE shop.orders SET notes = 'late' FROM late WHERE orders.id = late.id RETURNING orders.id
UPDATE shop.orders SET status = DEFAULT WHERE id = 3
UPDATE ONLY shop.orders SET notes = NULL WHERE EXISTS (SELECT 1 FROM shop.items i WHERE i.order_id = orders.id AND i.quantity > 1)
UPDATE shop.orders SET total = t.sum FROM (SELECT order_id, sum(price) AS sum FROM shop.items GROUP BY order_id) t WHERE t.order_id = orders.id
WITH changed AS (UPDATE shop.orders SET status = 'paid' WHERE id < 3 RETURNING *) SELECT count(*), sum(total) FROM changed
-- delete
DELETE FROM shop.items WHERE order_id = 3 AND line = 1
DELETE FROM shop.items i USING shop.orders o WHERE o.id = i.order_id AND o.status = 'cancelled' RETURNING i.*
DELETE FROM shop.events WHERE at < now() - interval '1 day' AND kind = 'view'
DELETE FROM shop.items WHERE (order_id, line) IN (SELECT order_id, max(line) FROM shop.items GROUP BY order_id)
WITH gone AS (DELETE FROM shop.items WHERE order_id < 4 RETURNING *) INSERT INTO shop.events (at, kind, payload) SELECT now(), 'gone', to_jsonb(gone) FROM gone
DELETE FROM shop.items AS i WHERE NOT EXISTS (SELECT FROM shop.products p WHERE p.sku = i.sku)
-- merge
MERGE INTO shop.stock s USING (VALUES ('sku-1', 7), ('sku-2', 8)) AS n(sku, on_hand) ON n.sku = s.sku WHEN MATCHED THEN UPDATE SET on_hand = n.on_hand WHEN NOT MATCHED THEN INSERT (sku, on_hand) VALUES (n.sku, n.on_hand)
MERGE INTO shop.stock AS s USING shop.products AS p ON p.sku = s.sku WHEN MATCHED AND s.on_hand = 0 THEN DELETE WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN INSERT VALUES (p.sku, 0, NULL)
WITH sold AS (SELECT sku, sum(quantity) AS n FROM shop.items GROUP BY sku) MERGE INTO shop.stock USING sold ON stock.sku = sold.sku WHEN MATCHED THEN UPDATE SET on_hand = on_hand - sold.n
-- locking
SELECT id FROM shop.orders WHERE id = 3 FOR UPDATE
SELECT o.id FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id WHERE o.id = 3 FOR NO KEY UPDATE OF o SKIP LOCKED
SELECT id FROM shop.orders WHERE status = 'open' ORDER BY id LIMIT 1 FOR SHARE NOWAIT
SELECT s.id FROM (SELECT id FROM shop.orders WHERE id < 3) s FOR KEY SHARE
