-- What the bookshop of examples/ has no example of.
COMMENT ON COLUMN books.title IS 'The title, as printed on the cover.';
COMMENT ON COLUMN books.price IS E'In euros.\n\nWith a backslash \\ and """quotes"""';
COMMENT ON COLUMN orders.shipped_at IS 'NULL until it is shipped, see "orders"';
COMMENT ON COLUMN books.stock IS '"Copies"\nthat are left:
  - in the shop
	- elsewhere, see https://example.com/a_long_address/that_is_longer/than_one_line/of_a_docstring/can_be';
CREATE TYPE mood AS ENUM ('very sad', 'ok', 'OK', '2nd', '', '+', E'back\\slash', 'say "hi"', 'größe');
CREATE TYPE place AS (street text, "house no" int, "class" text);
CREATE TYPE visit AS (at place, moods mood[], "when" timestamptz);
CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
CREATE DOMAIN feeling AS mood;
CREATE TABLE odd (
    id bigint PRIMARY KEY,
    "Unit Price" numeric(8, 2) NOT NULL,
    "class" text NOT NULL,
    "2fa" boolean,
    "_hidden" int,
    "größe" int NOT NULL,
    "数量" int,
    "camelCase" text,
    "userID" int NOT NULL,
    "date" date NOT NULL,
    "time" time,
    "datetime" timestamp,
    "int" int NOT NULL,
    "str" text,
    "list" int[],
    "json" jsonb NOT NULL,
    "model_config" text,
    "copy" text NOT NULL,
    "schema" text,
    "say ""hi""" text,
    "a_very_long_name_of_a_column_that_needs_more_than_one_line_in_py" inet
);
COMMENT ON COLUMN odd."camelCase" IS 'A comment that is so long that it does not fit into one line of the class, so that it is divided into several lines.';
CREATE TABLE kinds (
    id uuid PRIMARY KEY,
    mood mood NOT NULL,
    moods mood[] NOT NULL,
    feeling feeling,
    email email,
    place place,
    visit visit NOT NULL,
    places place[] NOT NULL,
    at inet NOT NULL,
    net cidr,
    mac macaddr,
    bits bit(8) NOT NULL,
    flags varbit,
    span interval NOT NULL,
    ages int4range NOT NULL,
    prices numrange,
    stay daterange,
    period tstzrange NOT NULL,
    spans int4multirange NOT NULL,
    payload json,
    raw bytea NOT NULL,
    spot point,
    matrix int[][] NOT NULL,
    ids uuid[] NOT NULL,
    documents jsonb[],
    cash money,
    half real NOT NULL,
    words tsvector,
    lsn pg_lsn,
    letter "char" NOT NULL,
    name name,
    alarm timetz,
    xml xml
);
CREATE TABLE limits (
    state text NOT NULL CHECK (state IN ('open', 'on "hold"')), code varchar(3), level text CHECK (level IN ('a', 'b'))
);
CREATE VIEW late AS SELECT o.id, o.status, c.name FROM orders o JOIN customers c ON c.id = o.customer_id;
CREATE FUNCTION double(value int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT value * 2';
CREATE FUNCTION pairs(n int) RETURNS TABLE (a int, b text) LANGUAGE sql AS
    'SELECT i, i::text FROM generate_series(1, n) i';
CREATE FUNCTION give(OUT first int, OUT second place) LANGUAGE sql AS
    $$SELECT 1, ROW('x', 1, 'y')::place$$;
-- One row of each table; each column that may be NULL has a value.
INSERT INTO authors (name, born) VALUES ('Ada', '1815-12-10');
INSERT INTO books (title, author_id, price, stock, tags) VALUES
    ('Notes', 1, 9.50, 3, '{old,rare}'), ('Beowulf', NULL, 7, 0, '{}');
INSERT INTO customers (name, email, phone) VALUES ('Bob', 'bob@example.com', '1');
INSERT INTO orders (customer_id, address, shipped_at) VALUES (1, '{"city": "X"}', now());
INSERT INTO order_lines VALUES (1, 1, 2, 9.50);
INSERT INTO odd VALUES (
    1, 1.50, 'a', true, 1, 1, 1, 'a', 1, '2020-01-01', '10:00', '2020-01-01', 1, 'a', '{1}', '{}', 'a',
    'a', 'a', 'a', '10.0.0.1'
);
INSERT INTO kinds VALUES (
    gen_random_uuid(), 'ok', '{ok,"very sad"}', 'OK', 'a@b', ROW('a', 1, 'b'),
    ROW(ROW('a', 1, 'b'), '{ok}', now()), ARRAY[ROW('a', 1, 'b')]::place[], '10.0.0.1/8', '10.0.0.0/8',
    '08:00:2b:01:02:03', '10101010', '101', '1 day', '[1,5)', '[1.5,2]', '[2020-01-01,2020-02-01)',
    '[2020-01-01,)', '{[1,2)}', '{"a": 1}', '\x00', '(1,2)', '{1,2}', ARRAY[gen_random_uuid()],
    ARRAY['{}'::jsonb], '1', 1.5, 'a', '0/0', 'a', 'a', '10:00', '<a/>'
);
