-- SPDX-License-Identifier: Apache-2.0
-- Copyright The Custody Authors
--
-- The same rows every time: 12 customers, 60 orders from January to December
-- 2025 (five a month, IDs 1001 to 1060), each with one to three lines.

INSERT INTO customers (id, name, email, country, created_at) VALUES
    (1,  'Aldgate Books',        'orders@aldgate.example',    'GB', '2024-01-09T09:00:00Z'),
    (2,  'Bergmann Werkzeuge',   'einkauf@bergmann.example',  'DE', '2024-01-23T10:30:00Z'),
    (3,  'Cafe Miramar',         'pedidos@miramar.example',   'ES', '2024-02-14T08:15:00Z'),
    (4,  'Delta Cycles',         'shop@delta.example',        'NL', '2024-03-05T13:45:00Z'),
    (5,  'Estudio Lima',         'compras@lima.example',      'ES', '2024-03-28T16:20:00Z'),
    (6,  'Ferme du Lac',         'commandes@lac.example',     'FR', '2024-04-11T07:55:00Z'),
    (7,  'Grotto Climbing',      'gear@grotto.example',       'GB', '2024-05-02T11:10:00Z'),
    (8,  'Hafen Logistik',       'versand@hafen.example',     'DE', '2024-06-19T14:05:00Z'),
    (9,  'Isola Ceramiche',      'ordini@isola.example',      'IT', '2024-07-30T09:40:00Z'),
    (10, 'Jansen & Zonen',       'inkoop@jansen.example',     'NL', '2024-08-21T12:25:00Z'),
    (11, 'Kestrel Instruments',  'parts@kestrel.example',     'GB', '2024-10-03T15:35:00Z'),
    (12, 'Lindqvist Tra',        'order@lindqvist.example',   'SE', '2024-11-27T10:50:00Z');

INSERT INTO orders (id, customer_id, status, placed_at, updated_at)
SELECT 1000 + n,
       CASE WHEN n % 5 = 0 THEN 4 WHEN n % 7 = 0 THEN 9 ELSE 1 + n % 12 END,
       CASE
           WHEN n % 9 = 4 THEN 'cancelled'
           WHEN n <= 48   THEN 'delivered'
           WHEN n <= 52   THEN 'shipped'
           WHEN n <= 56   THEN 'paid'
           ELSE                'pending'
       END,
       placed,
       placed
FROM (
    SELECT n, make_timestamptz(2025, 1 + (n - 1) / 5, 1 + (n * 11) % 28, 8 + n % 10, (n * 7) % 60, 0, 'UTC') AS placed
    FROM generate_series(1, 60) AS n
) AS numbered;

INSERT INTO order_items (order_id, line, product, quantity, unit_price_cents)
SELECT 1000 + n, line, product, 1 + (n + line) % 4, unit_price_cents
FROM generate_series(1, 60) AS n
CROSS JOIN LATERAL generate_series(1, 1 + n % 3) AS line
JOIN (VALUES
    (0, 'packing crate',    1490),
    (1, 'shelf bracket',     375),
    (2, 'work lamp',        3995),
    (3, 'label printer',   12900),
    (4, 'hand truck',       8450),
    (5, 'floor mat',        2160),
    (6, 'cable reel',       4725)
) AS catalogue (number, product, unit_price_cents) ON number = (n * 3 + line * 2) % 7;
