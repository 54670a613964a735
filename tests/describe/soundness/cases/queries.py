"""Set operations, CTEs, recursion, sublinks."""

from __future__ import annotations

from .case import Case

CASES = [
    Case("UNION takes both", "select id, name from team union select id, nick from person", "01"),
    Case("UNION of a NULL constant", "select null union select 'x'", "1"),
    Case(
        "UNION ALL of three", "select 1, 'a' union all select 2, 'b' union all select 3, null", "01"
    ),
    Case("EXCEPT takes the left", "select name from team except select nick from person", "0"),
    Case(
        "EXCEPT with a nullable left", "select nick from person except select name from team", "1"
    ),
    Case(
        "INTERSECT with one side NOT NULL",
        "select nick from person intersect select name from person",
        "0",
        data="update person set nick = name where id = 1",
    ),
    Case("INTERSECT of NULLs", "select nick from person intersect select note from task", "1"),
    Case(
        "nested set operations",
        "(select id from team union select team_id from person)"
        " intersect select person_id from task",
        "1",
    ),
    Case(
        "EXCEPT above UNION",
        "(select id from team union all select id from task) except select null",
        "0",
    ),
    Case(
        "a set operation in FROM, on the missing side",
        "select t.id, s.x from team t left join"
        " (select id as x from task union select 5) s on s.x = t.id + 6",
        "01",
    ),
    Case(
        "UNION that unifies types",
        "select id::int, 1 from team union all select 1.5, hours from task",
        "00",
    ),
    Case(
        "UNION over grouping sets",
        "select id from team union all select id from person group by cube (id)",
        "1",
    ),
    Case("VALUES", "values (1, null, 'x'), (2, 3, 'y')", "010"),
    Case("VALUES with a parameter", "values (1, cast(:p as int)), (2, 3)", "01"),
    Case("VALUES with a sublink", "values (1, (select 1 where false)), (2, 2)", "01"),
    Case(
        "a CTE used on both sides",
        "with c as (select id, name from team) select a.name, b.name"
        " from c a left join c b on b.id = a.id + 1",
        "01",
    ),
    Case(
        "a CTE with a table's name",
        "with team as (select 1 as id, null::text as name) select id, name from team",
        "01",
    ),
    Case(
        "nested WITH of the same name",
        "with c as (select null::int as x) select x from"
        " (with c as (select 1 as x) select x from c) s",
        "0",
    ),
    Case(
        "nested WITH reaching outside",
        "with c as (select null::int as x) select x from"
        " (with d as (select x from c) select x from d) s",
        "1",
    ),
    Case(
        "WITH inside a set operation",
        "with c as (select 1 as x), d as (select null::int as x)"
        " (with c as (select x from d) select x from c) union all select x from c",
        "1",
    ),
    Case(
        "MATERIALIZED and column names",
        "with c(a, b) as materialized (select nick, id from person) select a, b from c",
        "10",
    ),
    Case(
        "recursion that becomes NULL at the second step",
        "with recursive r(n, x) as"
        " (select 1, 'a' union all select n + 1, null from r where n < 3) select n, x from r",
        "01",
    ),
    Case(
        "recursion that becomes NULL at the third step",
        "with recursive r(n, a, b, c) as"
        " (select 1, 1, 2, null::int union all select n + 1, b, c, a from r where n < 5)"
        " select n, a, b, c from r",
        "0111",
    ),
    Case(
        "recursion through an outer join",
        "with recursive r(n, x) as (select 1, 1 union all"
        " select n + 1, t.id from r left join team t on t.id = n + 1 where n < 6)"
        " select n, x from r",
        "01",
    ),
    Case(
        "recursion that stays",
        "with recursive r(n, s) as (select 1, name from team"
        " union select n + 1, s || 'x' from r where n < 3) select n, s, length(s) from r",
        "000",
    ),
    Case(
        "recursion whose step has a nullable qual",
        "with recursive r(id, boss) as"
        " (select id, boss_id from person where boss_id is not null union all"
        " select p.id, p.boss_id from person p join r on p.id = r.boss) select id, boss from r",
        "01",
    ),
    Case(
        "recursion by a strict function that returns NULL",
        "with recursive r(n, x) as"
        " (select 1, 1 union all select n + 1, strict_null(x) from r where n < 3)"
        " select n, x from r",
        "01",
    ),
    Case(
        "recursion used in a CTE",
        "with recursive r(n, x) as (select 1, 1 union all"
        " select n + 1, nullif(x, 1) from r where n < 3), s as (select n, x from r)"
        " select n, x from s",
        "01",
    ),
    Case(
        "two recursions",
        "with recursive a(x, n) as (select 1, 1 union all"
        " select nullif(x, 1), n + 1 from a where n < 3), b(y, n) as (select 0, 1 union all"
        " select a.x, b.n + 1 from b join a on a.n = b.n + 1 where b.n < 3)"
        " select y, n from b",
        "10",
    ),
    Case(
        "SEARCH and CYCLE",
        "with recursive r(id, boss) as (select id, boss_id from person"
        " union all select p.id, p.boss_id from person p join r on p.boss_id = r.id)"
        " search depth first by id set ord cycle id set is_cycle using path"
        " select id, boss, is_cycle, path is null, ord is null from r",
        "01000",
    ),
    Case(
        "CYCLE marks of one's own",
        "with recursive r(id) as (select 1 union all"
        " select id % 2 + 1 from r) cycle id set mark to 'y' default 'n' using path"
        " select id, mark from r",
        "00",
    ),
    Case("a scalar sublink", "select (select name from team where id = 77), (select 1)", "10"),
    Case(
        "sublinks of aggregates",
        "select (select count(*) from void_table),"
        " (select max(id) from void_table), (select coalesce(max(id), 0) from void_table)",
        "010",
    ),
    Case(
        "sublinks of aggregates that may give no row",
        "select (select count(*) from team having"
        " count(*) > 99), (select count(*) from void_table group by id), (select count(*)"
        " from team limit 0), (select count(*) from team offset 1), (select count(*) from team"
        " limit cast(:p as int))",
        "11110",
    ),
    Case(
        "a sublink limited by a parameter",
        "select (select count(*) from team limit cast(:p as int))",
        "1",
        values={"p": 0},
    ),
    Case(
        "a sublink of an aggregate with a set",
        "select (select generate_series(1, count(*))"
        " from void_table), (select unnest(array_agg(id)) from void_table)",
        "11",
    ),
    Case(
        "a sublink grouped by nothing",
        "select (select count(*) from team group by ()),"
        " (select count(*) from team group by grouping sets ((id), ()) having"
        " grouping(id) = 1), (select count(*) from void_table group by rollup (id))",
        "000",
    ),
    Case(
        "a sublink of a set operation of aggregates",
        "select (select count(*) from team"
        " intersect select 99), (select count(*) from team where false union select 0)",
        "10",
    ),
    Case(
        "a sublink through a CTE",
        "select (with c as (select count(*) as n from void_table)"
        " select n from c), (with c as (select id from void_table) select id from c)",
        "01",
    ),
    Case(
        "an aggregate of the outer query in a sublink",
        "select (select max(p.id) from team t"
        " where t.id = 77), (select count(p.id) from team t where t.id = 77) from person p",
        "11",
    ),
    Case(
        "EXISTS, ARRAY, IN of sublinks",
        "select exists(select null), array(select nick from"
        " person), array(select 1 where false), 1 in (select id from team), 1 in (select"
        " team_id from person where id = 3), 1 not in (select id from team)",
        "000010",
    ),
    Case(
        "ANY and ALL of sublinks",
        "select id > all(select team_id from person where id = 3),"
        " id > all(select id from team), id = any(select boss_id from person where id = 1)"
        " from person",
        "101",
    ),
    Case(
        "ANY of a sublink with a nullable operand",
        "select nick = any(select name from team) from person",
        "1",
    ),
    Case(
        "row sublinks",
        "select (id, nick) = (select id, name from team where id = 1),"
        " (id, name) in (select id, name from team), (id, nick) in (select id, name from team)"
        " from person",
        "101",
    ),
    Case(
        "a row sublink that finds nothing", "select (1, 2) = (select id, id from void_table)", "1"
    ),
    Case(
        "a correlated sublink by key is not known to find its row",
        "select (select t.name from team t where t.id = p.team_id) from person p",
        "1",
    ),
]
