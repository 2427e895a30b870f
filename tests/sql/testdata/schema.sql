-- A small shop. Everything that the statements of the corpora speak of.
CREATE EXTENSION dblink SCHEMA public;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA shop;
CREATE SCHEMA vault;
GRANT USAGE ON SCHEMA shop TO caller, least;

CREATE TABLE shop.customers (
	id int PRIMARY KEY,
	name text NOT NULL,
	email text NOT NULL UNIQUE,
	country text NOT NULL,
	tags text[] NOT NULL DEFAULT '{}',
	profile jsonb NOT NULL DEFAULT '{}',
	born date,
	manager_id int REFERENCES shop.customers
);
CREATE TABLE shop.orders (
	id int PRIMARY KEY,
	customer_id int NOT NULL REFERENCES shop.customers,
	status text NOT NULL DEFAULT 'open',
	total numeric(10, 2) NOT NULL DEFAULT 0,
	created_at timestamptz NOT NULL DEFAULT '2026-01-01 00:00:00Z',
	shipped daterange,
	notes text
);
CREATE TABLE shop.items (
	order_id int NOT NULL REFERENCES shop.orders,
	line int NOT NULL,
	sku text NOT NULL,
	quantity int NOT NULL DEFAULT 1,
	price numeric(10, 2) NOT NULL,
	PRIMARY KEY (order_id, line)
);
CREATE TABLE shop.products (
	sku text PRIMARY KEY,
	title text NOT NULL,
	attributes jsonb NOT NULL DEFAULT '{}',
	words tsvector GENERATED ALWAYS AS (to_tsvector('english', title)) STORED,
	dimensions int[] NOT NULL DEFAULT '{1,1,1}',
	parent text REFERENCES shop.products
);
CREATE TABLE shop.events (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL,
	kind text NOT NULL,
	payload jsonb NOT NULL,
	source inet
);
CREATE TABLE shop.stock (sku text PRIMARY KEY REFERENCES shop.products, on_hand int NOT NULL, updated_at timestamptz);

INSERT INTO shop.customers (id, name, email, country, tags, profile, born, manager_id)
SELECT i, 'Customer ' || i, 'c' || i || '@example.org', (ARRAY['DE', 'FR', 'US', 'JP'])[i % 4 + 1],
       ARRAY['t' || i % 3, 'all'], jsonb_build_object('tier', i % 3, 'langs', jsonb_build_array('en', 'de'), 'address', jsonb_build_object('city', 'City ' || i % 5)),
       DATE '1980-01-01' + i * 97, NULLIF(i / 3, 0)
FROM generate_series(1, 20) i;
INSERT INTO shop.orders (id, customer_id, status, total, created_at, shipped, notes)
SELECT i, i % 20 + 1, (ARRAY['open', 'paid', 'shipped', 'cancelled'])[i % 4 + 1], i * 3.5,
       '2026-01-01 00:00:00Z'::timestamptz + i * interval '7 hours', CASE WHEN i % 4 = 2 THEN daterange(DATE '2026-01-01' + i, DATE '2026-01-05' + i) END,
       CASE WHEN i % 5 = 0 THEN 'urgent: call ' || i END
FROM generate_series(1, 60) i;
INSERT INTO shop.products (sku, title, attributes, dimensions, parent)
SELECT 'sku-' || i, (ARRAY['Red chair', 'Blue table', 'Green lamp of glass', 'Running shoes', 'Old books'])[i % 5 + 1],
       jsonb_build_object('color', (ARRAY['red', 'blue'])[i % 2 + 1], 'weight', i * 1.5, 'parts', jsonb_build_array(jsonb_build_object('n', 1), jsonb_build_object('n', 2))),
       ARRAY[i, i + 1, i + 2], CASE WHEN i > 1 THEN 'sku-' || i / 2 END
FROM generate_series(1, 12) i;
INSERT INTO shop.items (order_id, line, sku, quantity, price)
SELECT o, l, 'sku-' || (o + l) % 12 + 1, l, (o + l) * 1.25 FROM generate_series(1, 60) o, generate_series(1, 2) l;
INSERT INTO shop.events (at, kind, payload, source)
SELECT '2026-01-01 00:00:00Z'::timestamptz + i * interval '31 minutes', (ARRAY['view', 'click', 'buy'])[i % 3 + 1],
       jsonb_build_object('customer', i % 20 + 1, 'path', '/p/' || i % 12), ('10.0.' || i % 4 || '.' || i)::inet
FROM generate_series(1, 90) i;
INSERT INTO shop.stock SELECT sku, 10, NULL FROM shop.products;

-- What an attack is after.
CREATE TABLE vault.secrets (id int, secret text);
INSERT INTO vault.secrets VALUES (1, 'the launch code');
CREATE TABLE vault.proof (what text);
CREATE SEQUENCE shop.numbers;
CREATE FUNCTION shop.evil() RETURNS int LANGUAGE sql AS $$ INSERT INTO vault.proof VALUES ('evil ran') RETURNING 1 $$;
CREATE FUNCTION shop.row_evil(shop.orders) RETURNS int LANGUAGE sql AS $$ INSERT INTO vault.proof VALUES ('row_evil ran') RETURNING 1 $$;
CREATE FUNCTION shop.ascii(int) RETURNS int LANGUAGE sql AS $$ INSERT INTO vault.proof VALUES ('ascii ran') RETURNING 1 $$;
CREATE FUNCTION shop.checked(text) RETURNS boolean LANGUAGE sql AS $$ INSERT INTO vault.proof VALUES ('domain check ran') RETURNING true $$;
CREATE DOMAIN shop.trap AS text CHECK (shop.checked(VALUE));
CREATE DOMAIN shop.cosh AS text CHECK (shop.checked(VALUE));
CREATE FUNCTION shop.compare(int, int) RETURNS boolean LANGUAGE sql AS $$ INSERT INTO vault.proof VALUES ('operator ran') RETURNING true $$;
CREATE OPERATOR shop.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = shop.compare);
CREATE FUNCTION shop.cast_evil(int) RETURNS shop.trap LANGUAGE sql AS $$ SELECT 'x'::text::shop.trap $$;
CREATE PROCEDURE shop.proc() LANGUAGE sql AS $$ INSERT INTO vault.proof VALUES ('procedure ran') $$;
CREATE VIEW shop.leak AS SELECT * FROM vault.secrets;
CREATE TYPE shop.mood AS ENUM ('sad', 'happy');
CREATE FUNCTION shop.evil_step(int, int) RETURNS int LANGUAGE sql AS $$ INSERT INTO vault.proof VALUES ('aggregate ran') RETURNING 1 $$;
CREATE AGGREGATE shop.evil_sum(int) (SFUNC = shop.evil_step, STYPE = int, INITCOND = '0');
CREATE FUNCTION shop.tax(numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT $1 * 0.19 $$;
CREATE EXTENSION file_fdw;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE shop.version_file (line text) SERVER files OPTIONS (filename 'PG_VERSION');

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA shop TO caller;
