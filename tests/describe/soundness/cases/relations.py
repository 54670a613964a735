"""Views, tables with heirs, partitions and dropped columns, whole rows, system columns."""

from __future__ import annotations

from .case import Case

CASES = [
    Case("view", "select id, name, nick, team_id from v_person", "0011"),
    Case("view over an outer join", "select id, name, team_name, team_id from v_left", "0011"),
    Case(
        "view over a view, outer joins in both", "select id, team_name, title from v_nested", "011"
    ),
    Case("view with a WHERE", "select id, nick from v_where", "00"),
    Case("security barrier view", "select id, name, nick from v_barrier", "000"),
    Case("view of a union", "select id, name from v_union", "01"),
    Case("view of a rollup", "select team_id, name, n from v_rollup", "110"),
    Case("view with other column names", "select key, word from v_renamed", "00"),
    Case("recursive view", "select id, boss from v_chain", "01"),
    Case("materialized view has no constraints", "select id, nick from m_person", "01"),
    Case(
        "view on the missing side",
        "select t.id, v.name from team t left join v_inner v on v.id = t.id + 5",
        "01",
    ),
    Case(
        "WHERE about a view's column",
        "select id, team_name, team_id from v_left where team_name is not null",
        "000",
    ),
    Case("view over ONLY the parent", "select id, label from v_only", "00"),
    Case(
        "view over a parent whose child broke the promise", "select id, label from v_parent", "01"
    ),
    Case("view over a function", "select id, name from v_function", "01"),
    Case(
        "a parent's NOT NULL does not bind its children", "select id, label from doubt_parent", "01"
    ),
    Case("ONLY the parent keeps its word", "select id, label from only doubt_parent", "00"),
    Case("a parent whose children keep the promise", "select id, label, x from base_item", "001"),
    Case("partitioned table", "select id, day, kind, detail from event", "0001"),
    Case(
        "a partition itself",
        "select e.id, d.kind from event_new e left join event_old d using (id)",
        "01",
    ),
    Case("table with dropped columns", "select id, nick, label from dropped", "010"),
    Case(
        "table with dropped columns, joined by USING",
        "select id, d.label, d.nick, t.name from dropped d left join team t using (id)",
        "0011",
    ),
    Case(
        "star over a join with dropped columns",
        "select * from dropped d left join dropped e on e.id = d.id + 1",
        "010111",
    ),
    Case("whole row", "select t from team t", "0"),
    Case(
        "whole row of a missing row",
        "select p.id, t from person p left join team t on t.id = p.team_id",
        "01",
    ),
    Case(
        "ROW() of a missing row is a row",
        "select row(t.*), row(t.id) from person p left join team t on t.id = p.team_id",
        "00",
    ),
    Case("whole row of a subquery of NULLs", "select s from (select null::int, null::text) s", "0"),
    Case(
        "whole row of a missing subquery",
        "select s from team t left join (select id, null from task) s on s.id = t.id + 3",
        "1",
    ),
    Case(
        "whole row of an aliased join",
        "select j from (team t left join task k on k.id = t.id) j",
        "0",
    ),
    Case("whole row of a child seen as its parent", "select b::text, b from base_item b", "00"),
    Case(
        "functions of a missing whole row",
        "select to_jsonb(t), row_to_json(t), t is null,"
        " t is distinct from null, t::text from person p left join team t on t.id = p.team_id",
        "11001",
    ),
    Case(
        "whole row IS NOT NULL keeps rows without any NULL",
        "select t.name, t.motto, p.name from person p left join team t on t.id = p.team_id"
        " where t is not null",
        "000",
    ),
    Case(
        "NOT whole row IS NULL keeps rows with some NULL",
        "select t.name, t.motto from person p left join team t on t.id = p.team_id"
        " where not (t is null)",
        "01",
    ),
    Case(
        "system columns",
        "select t.ctid, t.tableoid, t.xmin, k.ctid, k.tableoid from team t"
        " left join task k on k.id = t.id + 3",
        "00011",
    ),
    Case("tablesample", "select t.name from team t tablesample bernoulli (100)", "0"),
    Case(
        "left join of VALUES",
        "select t.id, v.a, v.b from team t left join"
        " (values (1, 'x'), (2, 'y')) v(a, b) on v.a = t.id",
        "011",
    ),
    Case(
        "semi and anti join by EXISTS",
        "select p.nick from person p where exists"
        " (select from task k where k.note = p.nick) or not exists (select from task)",
        "1",
        data="delete from task",
    ),
    Case(
        "self join by a nullable reference",
        "select p.name, b.name, c.name from person p"
        " left join person b on b.id = p.boss_id left join person c on c.id = b.boss_id",
        "011",
    ),
    Case(
        "full join with nothing on either side",
        "select a.x, b.y from (select 1 as x) a full join (select 2 as y) b on a.x = b.y",
        "11",
    ),
    Case(
        "nested full joins",
        "select a.id, b.id, c.id from team a full join task b on a.id = b.id"
        " full join tag c0 on c0.weight = b.id full join void_table c on c.id = a.id",
        "111",
    ),
    Case(
        "left join inside parentheses on the nullable side",
        "select a.id, b.id, c.id from team a left join (task b left join tag c0"
        " on c0.person_id = b.person_id) on b.id = a.id + 3 cross join (select 1 as id) c",
        "010",
    ),
]
