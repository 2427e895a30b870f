-- SPDX-License-Identifier: Apache-2.0
-- Copyright The Custody Authors
--
-- The tables of the orders example. They are made in the first schema of the
-- connection's search_path, which the caller has created.

CREATE TABLE customers (
    id         integer PRIMARY KEY,
    name       text NOT NULL,
    email      text NOT NULL UNIQUE,
    country    char(2) NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    created_at timestamptz NOT NULL
);

CREATE TABLE orders (
    id          integer PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customers,
    status      text NOT NULL
                CHECK (status IN ('pending', 'paid', 'shipped', 'delivered', 'cancelled')),
    placed_at   timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);

CREATE TABLE order_items (
    order_id         integer NOT NULL REFERENCES orders,
    line             integer NOT NULL CHECK (line > 0),
    product          text NOT NULL,
    quantity         integer NOT NULL CHECK (quantity > 0),
    unit_price_cents bigint NOT NULL CHECK (unit_price_cents >= 0),
    PRIMARY KEY (order_id, line)
);

CREATE INDEX orders_customer_id ON orders (customer_id);
CREATE INDEX orders_placed_at ON orders (placed_at);
