"""Conditions with functions, of groups, of subqueries, of windows: how far they reach."""

from __future__ import annotations

from .case import Case

CASES = [
    Case(
        "CASE in a condition",
        "select nick from person where case when nick is null then true else nick = 'a' end",
        "1",
    ),
    Case("COALESCE in a condition", "select nick from person where coalesce(nick, 'a') = 'a'", "1"),
    Case(
        "a strict function in a comparison", "select nick from person where length(nick) >= 0", "0"
    ),
    Case(
        "a strict chain in a comparison",
        "select nick, home from person where lower(nick) || 'x' <> name",
        "01",
    ),
    Case(
        "a function that is not strict in a comparison",
        "select nick from person where concat(nick, 'x') > ''",
        "1",
    ),
    Case("an operator that is not strict", "select nick from person where nick ~~~> 'a'", "1"),
    Case(
        "LIKE, regular expressions, prefix",
        "select nick, note, motto from person p, task k,"
        " team t where nick like '%' and note ~ '' and motto ^@ 'g'",
        "000",
    ),
    Case(
        "array and range operators",
        "select scores, born from person where scores && '{1,2,5}' and span @> 2",
        "01",
        data="update person set born = null where id = 1",
    ),
    Case(
        "json path operators make their operand present",
        "select extra from person where extra @> '{}'",
        "0",
    ),
    Case(
        "comparison with a value that is NULL inside",
        "select nick, extra from person where extra ->> 'z' = '2'",
        "00",
    ),
    Case(
        "OVERLAPS is not strict",
        "select joined, born from person where"
        " (joined, born::timestamptz) overlaps (joined - interval '1 day', joined + interval"
        " '1 day')",
        "01",
        data="update person set joined = '2020-01-01'",
    ),
    Case(
        "AND of many, only one about the column",
        "select nick, home, born from person"
        " where id > 0 and (name <> 'q' or nick is null) and nick is not null",
        "011",
    ),
    Case(
        "HAVING about the group key",
        "select nick, count(*) from person group by nick having nick is not null",
        "00",
    ),
    Case(
        "HAVING about an aggregate",
        "select max(nick), min(born) from person having max(nick) is not null",
        "01",
        data="update person set born = null",
    ),
    Case(
        "HAVING about another column",
        "select max(nick), min(born) from person group by team_id having count(*) > 0",
        "11",
    ),
    Case(
        "WHERE below a rollup does not survive it",
        "select nick, count(*) from person where nick is not null group by rollup (nick)",
        "10",
    ),
    Case(
        "HAVING above a rollup",
        "select nick, grouping(nick) from person group by rollup (nick) having nick is not null",
        "00",
    ),
    Case(
        "WHERE inside a subquery, seen outside",
        "select s.nick, s.born from"
        " (select nick, born from person where nick is not null limit 3) s",
        "01",
    ),
    Case(
        "WHERE outside about a subquery's column",
        "select s.n, s.born from"
        " (select upper(nick) as n, born from person) s where s.n is not null",
        "01",
    ),
    Case(
        "WHERE outside about a whole missing subquery",
        "select s.title, s.note from team t"
        " left join (select id, title, note from task) s on s.id = t.id where s.id > 0",
        "01",
    ),
    Case(
        "WHERE about a CTE",
        "with c as (select nick, born from person) select nick, born from c where nick > ''",
        "01",
    ),
    Case(
        "WHERE of one arm only",
        "select nick from person where nick is not null union all select note from task",
        "1",
    ),
    Case(
        "WHERE in both arms",
        "select nick from person where nick is not null"
        " union all select note from task where note is not null",
        "0",
    ),
    Case(
        "the condition of a window's frame says nothing",
        "select lag(nick) over (order by id), nick from person where nick is not null",
        "10",
    ),
    Case(
        "the condition of a FILTER says nothing",
        "select nick, count(*) filter (where nick is not null) from person group by nick",
        "10",
    ),
    Case(
        "a condition in a sublink says nothing outside",
        "select nick from person p where (select count(*) from task where p.nick is not null) >= 0",
        "1",
    ),
    Case("WHERE with a constant", "select nick from person where true or nick is not null", "1"),
    Case(
        "IS DOCUMENT, IS JSON and other predicates: is of a type",
        "select nick from person where (nick is json) is not true",
        "1",
        since=16,
    ),
    Case("LIMIT with a parameter", "select name, nick from person limit :p", "01"),
    Case(
        "DISTINCT ON",
        "select distinct on (team_id) team_id, name, nick from person order by team_id, id desc",
        "101",
        data="update person set nick = null",
    ),
    Case(
        "a volatile condition on an expression does not hold for its twin",
        "select nullif(random() < 2, random() < 0.5) from generate_series(1, 200)"
        " where nullif(random() < 2, random() < 0.5) is not null",
        "1",
    ),
    Case(
        "a condition on a scalar sublink does not bind its twin",
        "select nullif((select 1 where random() < 0.5 or p.id < 0), 2) from person p,"
        " generate_series(1, 100) where (select 1 where random() < 0.5 or p.id < 0) is not null",
        "1",
    ),
]
