"""Functions that return sets, in FROM and in the output; parameters."""

from __future__ import annotations

from .case import Case

CASES = [
    Case(
        "sets of different lengths are filled up",
        "select generate_series(1, 2), generate_series(1, 3)",
        "10",
    ),
    Case(
        "sets of different lengths in expressions",
        "select generate_series(1, 2) + 1, generate_series(1, 3), 'k'",
        "100",
    ),
    Case("one set alone", "select id, generate_series(1, id) from team", "00"),
    Case(
        "a set that only sorts fills up as well",
        "select generate_series(1, 2) order by generate_series(1, 3)",
        "1",
    ),
    Case(
        "sets inside sets",
        "select generate_series(1, generate_series(1, 2)), generate_series(1, 3)",
        "00",
    ),
    Case("the elements of an array", "select unnest(array[1, null]), unnest(array[1])", "11"),
    Case("the elements of an array alone", "select unnest(tags), id from person", "10"),
    Case(
        "ROWS FROM fills up",
        "select * from rows from (generate_series(1, 2),"
        " generate_series(1, 4)) with ordinality as f(a, b, n)",
        "100",
    ),
    Case(
        "unnest of several arrays fills up",
        "select b from unnest(array[1, 2, 3], array['x']) as u(a, b)",
        "1",
    ),
    Case(
        "WITH ORDINALITY", "select u, n from person, unnest(tags) with ordinality as x(u, n)", "10"
    ),
    Case(
        "WITH ORDINALITY on the missing side",
        "select n from person p left join lateral"
        " unnest(p.tags) with ordinality as x(u, n) on true",
        "1",
    ),
    Case(
        "functions of sets of json",
        "select k, v from person, jsonb_each_text(data) as e(k, v)"
        " where jsonb_typeof(data) = 'object'",
        "01",
    ),
    Case(
        "functions of sets of json elements",
        "select a, b from person p,"
        " jsonb_array_elements('[1, null]') as e(a), jsonb_array_elements_text('[1, null]')"
        " as f(b)",
        "01",
    ),
    Case(
        "jsonb_object_keys, regexp_matches, regexp_split_to_table",
        "select k, m, m[1], s"
        " from jsonb_object_keys('{\"a\": 1}') k, regexp_matches('ab', 'a|(b)', 'g') m,"
        " regexp_split_to_table('a,b', ',') s",
        "0010",
    ),
    Case(
        "string_to_table can make NULL",
        "select s, v from string_to_table('a,-', ',', '-') s, string_to_table('a,b', ',') v",
        "10",
    ),
    Case(
        "a function that returns a table's rows", "select f.id, f.name from set_of_team() f", "01"
    ),
    Case(
        "a function that returns one row or none", "select f.id, f.name from one_team(77) f", "11"
    ),
    Case("the whole row of a function", "select f from one_team(77) f", "0"),
    Case("a function that returns scalars", "select f from set_of_int() f", "1"),
    Case(
        "RETURNS TABLE and OUT parameters", "select a.y, o.o2 from as_table(1) a, outs(2) o", "11"
    ),
    Case(
        "a scalar function in FROM",
        "select f, g, h, i from lower('X') f, loose_null(1) g,"
        " strict_null(1) h, generate_series(1, 2) i",
        "0110",
    ),
    Case(
        "current_date and syntax in FROM", "select d, c from current_date d, nullif(1, 1) c", "01"
    ),
    Case(
        "columns given at the call",
        'select x.a, x.b from jsonb_to_recordset (\'[{"a": 1}, {"b": "t"}]\') as x(a int, b text)',
        "11",
    ),
    Case(
        "a record filled from json",
        "select r.id, r.name from jsonb_populate_record(null::team, '{\"id\": null}') r",
        "11",
    ),
    Case(
        "generate_series with a nullable bound",
        "select g from person, generate_series(1, team_id) g",
        "0",
    ),
    Case(
        "parameters",
        "select cast(:a as int), coalesce(cast(:b as int), 1), cast(:c as int) + 1,"
        " cast(:d as int) is null",
        "1010",
    ),
    Case(
        "a parameter in CASE",
        "select case when cast(:a as int) > 1 then 'x' else 'y' end,"
        " case cast(:a as int) when 1 then 'x' end",
        "01",
    ),
    Case(
        "LIMIT and ORDER BY of a subquery",
        "select s.name, s.nick from (select name, nick from person order by id limit 3 offset 1) s",
        "01",
    ),
    Case("FOR UPDATE", "select name, nick from person for update", "01"),
    Case(
        "SELECT without FROM",
        "select 1, null, 'x', current_date, current_user, array[null::int], row(null)",
        "0100000",
    ),
]
