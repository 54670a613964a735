-- A hundred statements over the bookshop, PostgreSQL's catalogs and the tables of odd_schema.sql;
-- a line of dashes ends each.
---
SELECT id, title FROM books WHERE id = :book_id
---
SELECT id, title, author_id, price, stock, tags FROM books
---
SELECT title FROM books WHERE price < :most
---
SELECT author_id FROM books
---
SELECT count(*) FROM books
---
SELECT count(*) AS books, avg(price) AS average, max(price) AS dearest FROM books
---
SELECT b.title, a.name AS author, a.born FROM books b LEFT JOIN authors a ON a.id = b.author_id
---
SELECT a.name, b.title FROM books b RIGHT JOIN authors a ON a.id = b.author_id
---
SELECT a.name, b.title FROM books b FULL JOIN authors a ON a.id = b.author_id
---
SELECT b.title, a.name FROM books b JOIN authors a ON a.id = b.author_id WHERE a.born > :after
---
SELECT id, status, address, placed_at, shipped_at FROM orders WHERE customer_id = :customer_id
---
SELECT status FROM orders WHERE id = :order_id
---
SELECT status, count(*) AS orders FROM orders GROUP BY status
---
SELECT id FROM orders WHERE status = :status
---
SELECT id, placed_at FROM orders WHERE status = ANY(:statuses) AND placed_at >= :since
---
SELECT id, title FROM books WHERE id = ANY(:ids)
---
SELECT id, title FROM books WHERE tags @> :tags
---
SELECT id, title FROM books WHERE title ILIKE :pattern ORDER BY title LIMIT :most OFFSET :first
---
SELECT address FROM orders WHERE id = :order_id
---
SELECT address ->> 'city' AS city, address FROM orders
---
SELECT address -> 'lines' AS lines FROM orders WHERE address @> :part
---
SELECT tags FROM books WHERE id = :book_id
---
SELECT array_agg(title) AS titles, array_agg(DISTINCT price) AS prices FROM books
---
SELECT array_agg(status ORDER BY id) AS history, customer_id FROM orders GROUP BY customer_id
---
SELECT unnest(tags) AS tag FROM books
---
SELECT date_trunc('month', placed_at) AS month, sum(quantity) AS copies FROM orders o JOIN order_lines l ON l.order_id = o.id GROUP BY 1
---
SELECT title, rank() OVER (ORDER BY price DESC) AS place, lag(title) OVER (ORDER BY price DESC) AS before FROM books
---
SELECT CASE WHEN stock = 0 THEN 'sold out' WHEN stock < :few THEN 'few' ELSE 'many' END AS state FROM books
---
SELECT coalesce(phone, email) AS contact, phone IS NULL AS has_no_phone FROM customers
---
SELECT b AS book FROM books b
---
SELECT b AS book, a AS author FROM books b LEFT JOIN authors a ON a.id = b.author_id
---
WITH sales AS (SELECT book_id, sum(quantity) AS sold FROM order_lines GROUP BY book_id) SELECT b.title, s.sold FROM books b LEFT JOIN sales s ON s.book_id = b.id
---
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :last) SELECT i FROM n
---
INSERT INTO authors (name, born) VALUES (:name, :born)
---
INSERT INTO authors (name, born) VALUES (:name, :born) RETURNING id
---
INSERT INTO books (title, author_id, price, stock) VALUES (:title, :author_id, :price, :stock) RETURNING id, tags
---
INSERT INTO customers (name, email, phone) VALUES (:name, :email, :phone) ON CONFLICT (email) DO UPDATE SET name = excluded.name, phone = excluded.phone RETURNING id, name, email, phone
---
INSERT INTO orders (customer_id, status, address) VALUES (:customer_id, :status, CAST(:address AS jsonb)) RETURNING id, status, placed_at
---
INSERT INTO order_lines (order_id, book_id, quantity, price) SELECT :order_id, id, :quantity, price FROM books WHERE id = :book_id
---
UPDATE books SET price = price * :factor WHERE author_id = :author_id
---
UPDATE books SET stock = stock - :count WHERE id = :book_id AND stock >= :count RETURNING stock
---
UPDATE books SET tags = :tags, title = upper(title) WHERE id = :book_id RETURNING id, title, tags
---
UPDATE orders SET status = :status, shipped_at = :shipped_at WHERE id = :order_id RETURNING status, shipped_at
---
DELETE FROM orders WHERE status = 'cancelled' AND placed_at < now() - CAST(:age AS interval)
---
DELETE FROM order_lines WHERE order_id = :order_id RETURNING book_id, quantity, price
---
WITH gone AS (DELETE FROM order_lines WHERE order_id = :order_id RETURNING book_id, quantity) UPDATE books b SET stock = stock + g.quantity FROM gone g WHERE b.id = g.book_id RETURNING b.id, b.stock
---
MERGE INTO books b USING (SELECT :book_id AS id, CAST(:stock AS int) AS stock) s ON b.id = CAST(s.id AS int) WHEN MATCHED THEN UPDATE SET stock = s.stock
---
SELECT id, name, status FROM late WHERE id = :order_id
---
SELECT EXISTS (SELECT 1 FROM books WHERE author_id = :author_id) AS is_author
---
VALUES (1, 'one'), (2, NULL)
---
SELECT 'a:b' AS text, E'x\\y' AS escaped
---
SELECT b.title AS "title?", c.email AS "email?" FROM books b, customers c
---
SELECT max(price) AS "dearest!" FROM books
---
SELECT id, name FROM customers WHERE phone = :phone FOR UPDATE
---
SELECT id FROM books UNION SELECT id FROM authors ORDER BY id
---
SELECT a.name, (SELECT count(*) FROM books b WHERE b.author_id = a.id) AS books FROM authors a
---
SELECT id, "Unit Price", "class", "2fa", "_hidden", "größe", "数量", "camelCase", "userID" FROM odd
---
SELECT "date", "time", "datetime", "int", "str", "list" FROM odd WHERE "date" = :date AND "time" < :time
---
SELECT "json", "model_config", "copy", "schema" FROM odd
---
SELECT "say ""hi""", "a_very_long_name_of_a_column_that_needs_more_than_one_line_in_py" FROM odd
---
SELECT 1 AS a, 'x' AS "A"
---
SELECT id AS "Id", id AS id, id AS "ID", id AS "iD" FROM odd
---
SELECT 1 AS "a!b", 2 AS "a?b", 3 AS "#", 4 AS "-", 5 AS " ", 6 AS "\\"
---
SELECT 1 AS "__init__", 2 AS "_x_", 3 AS "None", 4 AS "match", 5 AS "type", 6 AS "self", 7 AS "def"
---
SELECT "date" FROM odd WHERE id = :id
---
INSERT INTO odd (id, "Unit Price", "class", "größe", "userID", "date", "int", "json", "copy") VALUES (:id, :price, :kind, :size, :user_id, :day, :number, :document, :copy) RETURNING id, "Unit Price"
---
SELECT current_date AS "date", now() AS "dt", CAST('1 day' AS interval) AS "timedelta"
---
SELECT id, mood, moods, feeling, email FROM kinds
---
SELECT place, visit, places FROM kinds
---
SELECT place FROM kinds
---
SELECT (visit).at AS at, (place)."house no" AS number FROM kinds
---
SELECT at, net, mac, bits, flags, span FROM kinds
---
SELECT at FROM kinds WHERE at = :at AND net = :net
---
SELECT ages, prices, stay, period, spans FROM kinds
---
SELECT ages FROM kinds WHERE ages = :ages AND period && :period
---
SELECT payload, raw, spot, matrix, ids, documents FROM kinds
---
SELECT documents FROM kinds
---
SELECT payload FROM kinds
---
SELECT cash, half, words, lsn, letter, name, alarm, xml FROM kinds
---
SELECT id FROM kinds WHERE mood = :mood AND moods = :moods AND id = ANY(:ids)
---
INSERT INTO kinds (id, mood, moods, visit, places, at, bits, span, ages, period, spans, raw, matrix, ids, half, letter) VALUES (:id, :mood, :moods, :visit, :places, :at, :bits, :span, :ages, :period, :spans, :raw, :matrix, :ids, :half, :letter)
---
UPDATE kinds SET payload = :payload, spot = :spot, words = :words, lsn = :lsn, cash = :cash, alarm = :alarm WHERE id = :id
---
SELECT double(:value)
---
SELECT a, b FROM pairs(:n)
---
SELECT first, second FROM give()
---
SELECT ROW(1, 'x') AS pair, ARRAY[ROW(1, 2)] AS pairs, ARRAY[1, 2] AS numbers
---
SELECT NULL AS nothing, CAST(NULL AS mood) AS mood
---
SELECT oid, typname, typtype, typcategory, typdefault FROM pg_type WHERE typname = :name
---
SELECT relname, relkind, reltuples, relacl, reloptions FROM pg_class WHERE oid = CAST(:table AS regclass)
---
SELECT attname, attnum, attnotnull, atttypid, attoptions FROM pg_attribute WHERE attrelid = :table
---
SELECT proname, proargtypes, proargnames, prosrc FROM pg_proc LIMIT :most
---
SELECT indexrelid, indkey, indoption, indexprs FROM pg_index
---
SELECT pid, usename, client_addr, backend_start, backend_xid, state FROM pg_stat_activity
---
SELECT locktype, virtualxid, transactionid, granted, waitstart FROM pg_locks
---
SELECT pg_current_wal_lsn(), pg_current_snapshot(), txid_current()
---
SELECT pg_notify(:channel, :payload)
---
SELECT table_name, is_nullable FROM information_schema.columns WHERE table_schema = :schema
---
SELECT schemaname, most_common_freqs, correlation FROM pg_stats
---
SELECT setting, unit, enumvals FROM pg_settings WHERE name = :name
---
SELECT rolname, rolvaliduntil, rolconfig FROM pg_roles
---
SELECT id,
       title
FROM books
WHERE price BETWEEN :least AND :most
---
-- the books of an author
SELECT title /* printed */
FROM books -- all of them
WHERE author_id = :author_id
---
SELECT 'first
  second' AS text,
       $$it's
"three" $$ AS quoted
---
INSERT INTO limits (state, code, level) VALUES (:state, :code, :level)
---
UPDATE limits SET level = :level, state = coalesce(CAST(:state AS text), state) WHERE code = :code RETURNING state, level
---
SELECT 1 AS keys, 2 AS items, 3 AS get, 4 AS "values", 5 AS pop, 6 AS copy, 7 AS update, 8 AS name, 9 AS count, 10 AS index, 11 AS fields, 12 AS json, 13 AS model_name, 14 AS db, 15 AS query
