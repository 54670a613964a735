"""Which relations can be missing: joins of every kind and nesting, and lateral."""

from __future__ import annotations

from .case import Case

CASES = [
    Case(
        "a foreign table does not keep its promises",
        "select id, label from far",
        "01",
        needs="file_fdw",
    ),
    Case(
        "right of a left join of an inner join",
        "select p.name, k.title, t.name from person p left join (task k join team t on t.id = k.id)"
        " on k.person_id = p.id",
        "011",
    ),
    Case(
        "an inner join above a left join makes its right side present",
        "select p.name, k.title, g.label from person p left join task k on k.person_id = p.id"
        " join tag g on g.person_id = k.person_id",
        "000",
    ),
    Case(
        "an inner join above that asks nothing of the right side",
        "select p.name, k.title, t.name from person p left join task k on k.person_id = p.id"
        " join team t on t.id = p.team_id",
        "010",
    ),
    Case(
        "an inner join whose ON accepts NULL",
        "select k.title, t.name from person p left join task k on k.person_id = p.id"
        " join team t on k.id is null or t.id = k.id",
        "10",
    ),
    Case(
        "right join of a left join",
        "select p.name, k.title, t.name from person p left join task k on k.person_id = p.id"
        " right join team t on t.id = p.team_id",
        "110",
    ),
    Case(
        "full join, then a WHERE that keeps one side",
        "select t.name, p.name from team t full join person p on p.team_id = t.id"
        " where t.id is not null",
        "01",
    ),
    Case(
        "full join, then a WHERE that keeps both sides",
        "select t.name, p.name from team t full join person p on p.team_id = t.id"
        " where t.id = p.team_id",
        "00",
    ),
    Case(
        "full join USING: the merged column is the present one",
        "select id, t.name, k.title from team t full join task k using (id)",
        "011",
    ),
    Case(
        "full join USING of a nullable column",
        "select nick, d.id, p.id from dropped d full join person p using (nick)",
        "111",
    ),
    Case(
        "CASE about both sides and about neither side of a full join USING",
        "select case when d.nick is not null and p.nick is not null then nick else '' end,"
        " case when p.id > 0 then nick else '' end"
        " from dropped d full join person p using (nick)",
        "01",
    ),
    Case(
        "CASE about another relation than the full join USING that may be missing",
        "select case when t.id > 0 then nick else '' end"
        " from team t left join (dropped d full join person p using (nick)) on p.team_id = t.id",
        "1",
    ),
    Case(
        "left join USING merges to the left",
        "select id, t.id, k.id from team t left join task k using (id)",
        "001",
        data="delete from task where id = 2",
    ),
    Case(
        "right join USING merges to the right",
        "select id, t.id, k.id from team t right join task k using (id)",
        "010",
    ),
    Case(
        "join USING with an alias of its own (PostgreSQL 14)",
        "select x.id, t.id, k.id from team t full join task k using (id) as x",
        "011",
    ),
    Case(
        "two USING in a row, full then left",
        "select id, k.title, d.label from team t full join task k using (id)"
        " left join dropped d using (id)",
        "011",
    ),
    Case(
        "natural left join",
        "select id, t.name, v.val from team t natural left join void_table v",
        "001",
    ),
    Case(
        "a join with an alias hides its tables",
        "select j.title, j.label from (task k left join tag g on g.person_id = k.person_id) j",
        "01",
    ),
    Case(
        "renamed columns of an aliased join",
        "select j.b, j.e from (team t left join (select id, title from task) k on k.id = t.id + 2)"
        " as j(a, b, c, d, budget, e)",
        "01",
        data="delete from task where id = 3",
    ),
    Case(
        "left join with a false ON",
        "select p.id, t.id from person p left join team t on false",
        "01",
    ),
    Case(
        "left join with a true ON to a table that may be empty",
        "select p.id, v.id from person p left join void_table v on true",
        "01",
    ),
    Case(
        "the ON of an outer join says nothing about the left side",
        "select p.nick, t.name from person p left join team t on p.nick is not null",
        "11",
    ),
    Case(
        "the ON of an outer join holds wherever its right side is present",
        "select k.note, p.id from person p left join task k on k.note is not null"
        " and k.person_id = p.id where k.id is not null",
        "00",
    ),
    Case(
        "the ON of a right join says nothing about the right side",
        "select p.nick, t.name from team t right join person p on p.nick = t.name",
        "11",
    ),
    Case(
        "the ON of an inner join is as good as a WHERE",
        "select p.nick, k.note from person p join task k on p.nick = k.note or p.nick < k.note",
        "00",
        data="update task set note = 'zz' where id = 2",
    ),
    Case(
        "the ON of an inner join below an outer join",
        "select t.id, x.nick from team t left join (person p join tag g on p.nick is not null"
        " and g.person_id = p.id) x on x.team_id = t.id",
        "01",
    ),
    Case(
        "WHERE over a chain of left joins saves all of it",
        "select p.name, k.title, t.name from person p left join task k on k.person_id = p.id"
        " left join team t on t.id = k.prio where t.name like '%'",
        "000",
    ),
    Case(
        "WHERE over a chain of left joins saves only what it names",
        "select k.title, t.name from person p left join task k on k.person_id = p.id"
        " left join team t on t.id = p.team_id where t.name like '%'",
        "10",
    ),
    Case(
        "left join lateral of an aggregate, which always gives a row",
        "select p.id, x.n, x.m from person p left join lateral"
        " (select count(*) as n, max(k.id) as m from task k where k.person_id = p.id) x on true",
        "001",
    ),
    Case(
        "left join lateral of an aggregate with an ON",
        "select p.id, x.n from person p left join lateral"
        " (select count(*) as n from task k where k.person_id = p.id) x on x.n > 0",
        "01",
    ),
    Case(
        "cross join lateral passes on what is nullable outside",
        "select x.a, x.b from person p cross join lateral (select p.nick as a, p.id as b) x",
        "10",
    ),
    Case(
        "lateral reference to a missing row",
        "select x.a, x.b from person p left join team t on t.id = p.team_id"
        " cross join lateral (select t.name as a, coalesce(t.name, p.name) as b) x",
        "10",
    ),
    Case(
        "a qual inside lateral about the outside",
        "select p.nick, x.one from person p cross join lateral"
        " (select 1 as one where p.nick is not null) x",
        "00",
    ),
    Case(
        "left join lateral unnest",
        "select p.id, u from person p left join lateral unnest(p.tags) u on true",
        "01",
    ),
    Case(
        "left join of a subquery with constants",
        "select t.id, s.one, s.arr, s.n from team t left join (select id, 1 as one,"
        " array[1] as arr, count(*) as n from task group by id) s on s.id = t.id + 3",
        "0111",
    ),
    Case(
        "outer join of a subquery used through an expression",
        "select coalesce(s.one, 0), s.one + 1, s.one is null from team t left join"
        " (select id, 1 as one from task) s on s.id = t.id + 3",
        "010",
    ),
]
