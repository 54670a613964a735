"""What a condition says about NULL, and what only looks as if it did."""

from __future__ import annotations

from .case import Case

CASES = [
    Case("IS NOT NULL", "select nick, born from person where nick is not null", "01"),
    Case("a strict comparison", "select nick from person where nick >= ''", "0"),
    Case(
        "comparison of two columns",
        "select nick, last_mood from person where nick = name and last_mood = mood",
        "00",
    ),
    Case(
        "OR of two columns",
        "select nick, home from person where nick is not null or home is not null",
        "11",
        data="update person set home = (1, 'x') where id = 2",
    ),
    Case(
        "OR of the same column", "select nick from person where nick = 'a' or nick is not null", "0"
    ),
    Case(
        "OR with a parameter that may be NULL",
        "select nick from person where cast(:p as text) is null or nick = :p",
        "1",
    ),
    Case(
        "a parameter compared",
        "select nick from person where nick = cast(:p as text)",
        "0",
        values={"p": "a"},
    ),
    Case("NOT of IS NULL", "select nick from person where not (nick is null)", "0"),
    Case("NOT of a strict comparison", "select nick from person where not (nick = 'q')", "0"),
    Case(
        "NOT of AND", "select nick, name from person where not (nick is not null and id > 2)", "10"
    ),
    Case(
        "IS DISTINCT FROM a value", "select nick from person where nick is distinct from 'a'", "1"
    ),
    Case(
        "IS NOT DISTINCT FROM a value",
        "select nick from person where nick is not distinct from 'a'",
        "0",
    ),
    Case(
        "IS NOT DISTINCT FROM a column",
        "select p.nick from person p join dropped d on p.nick is not distinct from d.nick",
        "1",
    ),
    Case("comparison IS NOT TRUE", "select nick from person where (nick = 'a') is not true", "1"),
    Case("comparison IS NOT FALSE", "select nick from person where (nick = 'a') is not false", "1"),
    Case("comparison IS TRUE", "select nick from person where (nick = 'a') is true", "0"),
    Case("comparison IS UNKNOWN", "select nick from person where (nick = 'a') is unknown", "1"),
    Case(
        "comparison IS NOT UNKNOWN",
        "select nick from person where (nick = 'a') is not unknown",
        "0",
    ),
    Case("comparison IS NULL", "select nick from person where (nick = 'a') is null", "1"),
    Case("a nullable boolean itself", "select flag from person where flag", "0"),
    Case("NOT a nullable boolean", "select flag from person where not flag", "0"),
    Case("a nullable boolean IS NOT TRUE", "select flag from person where flag is not true", "1"),
    Case("IN a list", "select nick from person where nick in ('a', 'b', null)", "0"),
    Case("NOT IN a list", "select nick from person where nick not in ('q', 'r')", "0"),
    Case(
        "= ANY of an array parameter",
        "select nick from person where nick = any(:p)",
        "0",
        values={"p": ["a", None]},
    ),
    Case(
        "<> ALL of an empty array",
        "select nick from person where nick <> all(tags)",
        "1",
        data="update person set tags = '{}'",
    ),
    Case(
        "LIKE ALL of an empty array",
        "select nick from person where nick like all(array[]::text[])",
        "1",
    ),
    Case(
        "= ALL of an array parameter",
        "select nick from person where nick = all(:p)",
        "1",
        values={"p": []},
    ),
    Case("<> ALL of a constant array", "select nick from person where nick <> all('{a}')", "0"),
    Case(
        "IN a subquery",
        "select nick from person where nick in (select note from task union select 'a')",
        "0",
    ),
    Case(
        "NOT IN an empty subquery",
        "select nick from person where nick not in (select label from void_table)",
        "1",
    ),
    Case(
        "> ALL of an empty subquery",
        "select nick from person where nick > all (select label from void_table)",
        "1",
    ),
    Case(
        "= ANY of a subquery",
        "select nick from person where nick = any (select name from person)",
        "0",
        data="update person set nick = name where id = 1",
    ),
    Case(
        "EXISTS with a strict correlated condition",
        "select nick from person p where exists (select 1 from task k where k.note = p.nick)",
        "0",
        data="update task set note = 'a'",
    ),
    Case(
        "row equality compares all",
        "select nick, born from person where (nick, born) = ('a', date '1980-02-03')",
        "00",
    ),
    Case(
        "row inequality needs one difference",
        "select nick, born from person where (id, nick, born) <> (7, 'a', date '1980-02-03')",
        "11",
    ),
    Case(
        "row comparison stops at the first difference",
        "select nick, id from person where (id, nick) > (0, 'a')",
        "10",
    ),
    Case(
        "row comparison: the first is always looked at",
        "select scores[1], nick from person where (scores[1], nick) > (0, 'a')",
        "01",
        data="update person set scores = '{9}'",
    ),
    Case(
        "row IS NOT NULL", "select nick, born from person where row(nick, born) is not null", "00"
    ),
    Case(
        "NOT row IS NULL",
        "select nick, born from person where not (row(nick, born) is null)",
        "11",
        data="update person set nick = null where id = 1",
    ),
    Case("BETWEEN", "select nick, last_mood from person where nick between 'a' and 'zz'", "01"),
    Case("NOT BETWEEN", "select nick, born from person where nick not between 'x' and 'y'", "01"),
    Case(
        "NOT BETWEEN with nullable bounds",
        "select nick, note from person, task where nick not between 'x' and note",
        "01",
    ),
    Case(
        "BETWEEN SYMMETRIC", "select nick from person where nick between symmetric 'z' and 'a'", "0"
    ),
    Case(
        "a range of everything or nothing is compared with NULL too",
        "select s from (select scores[1] as s from person) x where s <@ '(,)'::int4range",
        "1",
        since=17,
    ),
    Case(
        "a range of everything is compared with a column that is NULL",
        "select k.weight, v.weight, w.weight from tag k"
        " left join tag v on v.weight <@ '(,)'::int4range"
        " left join tag w on '(,)'::int4range @> w.weight"
        " where k.weight <@ '(,)'::int4range",
        "111",
        data="update tag set weight = null",
        since=17,
    ),
    Case(
        "a range of nothing does not hold a column that is NULL",
        "select weight from tag where not weight <@ 'empty'::int4range"
        " and not elem_contained_by_range(weight, 'empty'::int4range)",
        "1",
        data="update tag set weight = null",
        since=17,
    ),
    Case(
        "a range that is known only at run time is compared with values",
        "select p.boss_id from person p where p.boss_id <@ p.span",
        "0",
    ),
]
