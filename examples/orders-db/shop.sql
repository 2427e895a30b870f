-- SPDX-License-Identifier: Apache-2.0
-- Copyright The Custody Authors
--
-- What this variant adds to the tables of the orders example, in schema shop:
-- whose each order is, payments, notes
-- of agents, and a table that is nobody's business.

ALTER TABLE shop.orders ADD COLUMN owner text NOT NULL DEFAULT 'spiffe://custody.local/ns/default/orders-mcp';

INSERT INTO shop.orders (id, customer_id, status, placed_at, updated_at, owner) VALUES
    (2001, 1, 'pending', '2025-06-01T00:00:00Z', '2025-06-01T00:00:00Z', 'spiffe://custody.local/ns/default/other-shop'),
    (2002, 2, 'pending', '2025-06-02T00:00:00Z', '2025-06-02T00:00:00Z', 'spiffe://custody.local/ns/default/other-shop');

CREATE TABLE shop.payments (
    id           integer PRIMARY KEY,
    customer_id  integer NOT NULL REFERENCES shop.customers,
    amount_cents bigint NOT NULL
);

INSERT INTO shop.payments SELECT n, 1 + n % 12, 100 * n FROM generate_series(1, 36) AS n;

CREATE TABLE shop.customers_secret (
    customer_id integer PRIMARY KEY REFERENCES shop.customers,
    iban        text NOT NULL
);

INSERT INTO shop.customers_secret SELECT id, 'GB00CUST' || lpad(id::text, 14, '0') FROM shop.customers;

CREATE TABLE shop.notes (
    order_id integer NOT NULL REFERENCES shop.orders,
    author   text NOT NULL,
    note     text NOT NULL
);

INSERT INTO shop.notes VALUES (1001, 'spiffe://custody.local/ns/default/support-agent', 'wants a call before delivery');
