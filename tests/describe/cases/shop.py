"""The schema `shop`, which exists in every database: few tables, some views, two data sets.

`u` are users, `p` their posts, `ps` rows whose keys may be missing. The further relations of a
database are used by the cases and tests of that database only.
"""

from __future__ import annotations

STRUCTURE = {
    "postgresql": [
        "CREATE TABLE u (id bigint PRIMARY KEY, name text NOT NULL, nick text,"
        " data jsonb NOT NULL DEFAULT '{}')",
        "CREATE TABLE p (id bigint PRIMARY KEY, uid bigint NOT NULL, title text NOT NULL,"
        " score numeric)",
        "CREATE TABLE ps (id bigint PRIMARY KEY, uid bigint, t text NOT NULL)",
        "CREATE VIEW vu AS SELECT id, name, nick FROM u",
        "CREATE VIEW vl AS SELECT u.id, p.title FROM u LEFT JOIN p ON p.uid = u.id",
    ],
    "sqlite": [
        "CREATE TABLE u (id integer PRIMARY KEY, name text NOT NULL, nick text,"
        " data text NOT NULL DEFAULT '{}')",
        "CREATE TABLE p (id integer PRIMARY KEY, uid bigint NOT NULL, title text NOT NULL,"
        " score numeric)",
        "CREATE TABLE ps (id bigint PRIMARY KEY, uid bigint, t text NOT NULL)",
        "CREATE TABLE wr (k text PRIMARY KEY, v int NOT NULL) WITHOUT ROWID",
        "CREATE TABLE g (a int NOT NULL, b int GENERATED ALWAYS AS (nullif(a, 1)) VIRTUAL)",
        "CREATE VIEW vu AS SELECT id, name, nick FROM u",
        "CREATE VIEW vl AS SELECT u.id, p.title FROM u LEFT JOIN p ON p.uid = u.id",
        "CREATE VIEW vk(number, k) AS SELECT id, 'constant' FROM p",
        "CREATE TABLE pd (id INTEGER PRIMARY KEY DESC, n int)",
        'CREATE TABLE tr ("true" int, x int NOT NULL)',
        "CREATE TABLE none (id int NOT NULL)",
        'CREATE VIEW "v as w" (a) AS SELECT name FROM u',
        "CREATE VIEW vmax AS SELECT name, max(id) AS m FROM u",
    ],
    "mysql": [
        "CREATE TABLE u (id bigint PRIMARY KEY, name varchar(50) NOT NULL, nick varchar(50),"
        " mood enum('sad','it''s ok') NOT NULL DEFAULT 'sad', data json,"
        " raw blob NOT NULL DEFAULT '')",
        "CREATE TABLE p (id bigint PRIMARY KEY, uid bigint NOT NULL, title varchar(50) NOT NULL,"
        " score decimal(10,2))",
        "CREATE TABLE ps (id bigint PRIMARY KEY, uid bigint, t varchar(50) NOT NULL)",
        "CREATE VIEW vu AS SELECT id, name, nick FROM u",
        "CREATE VIEW vl AS SELECT u.id, p.title FROM u LEFT JOIN p ON p.uid = u.id",
        "CREATE VIEW vk AS SELECT id, 'constant' AS k FROM p",
        "CREATE VIEW vmax AS SELECT name, max(id) AS m FROM u",
        "CREATE VIEW vdeep AS SELECT name FROM vmax",
        "CREATE AGGREGATE FUNCTION mine(x int) RETURNS int BEGIN DECLARE s int DEFAULT 0;"
        " DECLARE CONTINUE HANDLER FOR NOT FOUND RETURN s;"
        " LOOP FETCH GROUP NEXT ROW; SET s = s + 1; END LOOP; END",
    ],
}

_ROWS = [
    "INSERT INTO u (id, name, nick) VALUES (1, 'a', NULL), (2, 'b', 'n'), (3, '', NULL)",
    "INSERT INTO p VALUES (1, 1, 't', NULL), (2, 1, 't2', 1), (7, 99, 'orphan', 2),"
    " (4, 2, 'unrated', NULL)",
]
ROWS = {
    "postgresql": [*_ROWS, "INSERT INTO ps VALUES (1, 1, 'a'), (2, NULL, 'b'), (9, 7, 'c')"],
    "sqlite": [
        *_ROWS,
        "INSERT INTO ps VALUES (1, 1, 'a'), (NULL, NULL, 'b'), (9, 7, 'c')",
        "INSERT INTO wr VALUES ('x', 1)",
        "INSERT INTO g (a) VALUES (1), (2)",
        "INSERT INTO pd VALUES (NULL, 1)",
        "INSERT INTO tr VALUES (NULL, 1)",
    ],
    "mysql": [*_ROWS, "INSERT INTO ps VALUES (1, 1, 'a'), (2, NULL, 'b'), (9, 7, 'c')"],
}
