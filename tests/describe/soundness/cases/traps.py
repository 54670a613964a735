"""What a shortcut gets wrong: levels that are mixed up, strictness that is seen everywhere."""

from __future__ import annotations

from .case import Case

# Conditions that a NULL in `nick` or `flag` survives, although a comparison stands over it.
_SURVIVED = {
    "a test for NULL compared": "(nick is not null) = is_admin",
    "a test for NULL tested for NULL": "(nick is not null) is not null",
    "an array built of it": "array[nick] <> array['q']",
    "a row built of it": "row(nick)::text > ''",
    "an array of it as text": "array[nick]::text > ''",
    "the greatest": "greatest(nick, 'a') > ''",
    "the least": "least(nick, 'a') > ''",
    "json built of it": "jsonb_build_object('a', nick) @> '{}'",
    "a count of NULLs": "num_nulls(nick) >= 0",
    "a COALESCE deep inside": "length(upper(coalesce(nick, 'x'))) > 0",
    "a CASE deep inside": "length(case when nick = 'a' then 'x' else 'y' end) > 0",
    "a distinction compared": "(nick is distinct from 'a') = true",
    "a sublink": "(select count(v) from (values (nick)) w(v)) >= 0",
    "a sublink of an array": "array(select nick) is not null",
    "EXISTS": "exists (select nick)",
    "a subquery over it": "name in (select coalesce(nick, name))",
    "an array it is looked for in": "name = any(array[nick, name])",
    "a list it is in": "name in (nick, name)",
    "a list it is not in": "nick not in ('x', 'y') or name in ('bob', 'cid')",
    "a boolean test of an OR": "(nick = 'a' or is_admin) is not false",
    "a user's function that is not strict": "add_text(nick, nick) >= ''",
    "a formatted text": "format('%s', nick) >= ''",
    "quoting": "quote_nullable(nick) > ''",
    "a whole row": "person::text > ''",
    "a whole row that is distinct": "person is distinct from null",
    "XOR by inequality of tests": "(nick is null) <> is_admin",
    "an aggregate in a sublink": "(select string_agg(v, '') from (values (nick), ('x')) w(v)) > ''",
    "OR under NOT, the other way": "not (nick is null and is_admin)",
    "AND under NOT": "not (nick = 'zz' and is_admin)",
    "IS NOT TRUE under NOT": "not ((nick is null) is not true)",
    "NOT of = ANY of an array that may be empty": "not (nick = any(tags))",
    "= ANY compared with false": "(nick = any(tags)) = false",
    "= ANY that is false": "(nick = any(tags)) is false",
    "= ANY that is not NULL": "(nick = any(tags)) is not null",
    "= ANY as a text": "(nick = any(tags))::text >= ''",
    "NOT of IN of an empty subquery": "not (nick in (select label from void_table))",
    "IN of an empty subquery that is false": "(nick in (select label from void_table)) is false",
    "IN of an empty subquery that is not NULL": (
        "(nick in (select label from void_table)) is not null"
    ),
    "a comparison with all of an empty subquery": "nick = all (select label from void_table)",
    "a strict comparison with something else of the row": "id > 0 and mood::text || 'x' <> ''",
    "NULLIF of a test": "nullif(nick is null, false)",
}
_GONE = {
    "a strict function around it": "length(upper(nick)) >= 0",
    "NULLIF": "nullif(nick, 'zz') >= ''",
    "a cast": "nick::varchar(10) >= ''",
    "NOT LIKE": "nick not like 'zz'",
    "OR under NOT": "not (nick = 'zz' or is_admin)",
    "IS FALSE": "(nick is null) is false",
    "a comparison tested for NULL": "(nick = 'a') is not null",
    "the ANDs of a BETWEEN": "nick between '' and 'zz'",
    "two levels of AND": "(is_admin and (nick > 'a' and id > 0)) or (nick = 'a' and id < 0)",
    "double negation": "not (not (nick >= ''))",
    "a collation": "nick collate \"C\" >= ''",
    "a regular expression": "nick ~ '.*'",
    "SIMILAR TO": "nick similar to '%'",
    "a concatenation": "nick || name >= ''",
}

CASES = [
    *(
        Case(
            f"NULL survives {name}",
            f"select nick from person where {condition}",
            "1",
            data="update person set is_admin = false where nick is null and id <> 3",
        )
        for name, condition in _SURVIVED.items()
    ),
    *(
        Case(f"NULL does not survive {name}", f"select nick from person where {condition}", "0")
        for name, condition in _GONE.items()
    ),
    Case(
        "a row that is distinct from NULL may hold nothing else",
        "select nick, born, name from person where row(nick, born) is distinct from null",
        "110",
    ),
    Case(
        "HAVING about a constant group key",
        "select 'c'::text as k, count(*) from person group by rollup ('c'::text)"
        " having 'c'::text is not null",
        "10",
    ),
    Case(
        "HAVING about a group key without a column",
        "select current_date, count(*) from person group by cube (current_date)"
        " having current_date is not null",
        "10",
        since=18,
    ),
    Case(
        "HAVING about a group key that is a parameter",
        "select cast(:p as int) as k, count(*) from person group by rollup (cast(:p as int))"
        " having cast(:p as int) is not null",
        "10",
        values={"p": 1},
    ),
    Case(
        "HAVING about a group key with a column",
        "select name > 'a', count(*) from person group by rollup (name > 'a') having name > 'a'",
        "00",
    ),
    Case(
        "NULL = ANY of an empty array is false",
        "select nick = any(tags), nick = any('{}'),"
        " nick <> all('{}'), nick in (select label from void_table), nick = any('{q}') from person",
        "10001",
    ),
    Case("NOT of AND of booleans", "select flag from person where not (flag and is_admin)", "1"),
    Case("NOT of OR of booleans", "select flag from person where not (flag or is_admin)", "0"),
    Case("OR of booleans", "select flag from person where flag or is_admin", "1"),
    Case("equality of booleans", "select flag from person where flag = is_admin", "0"),
    Case(
        "relations of two levels have the same number",
        "select x.motto, k.title from task k,"
        " lateral (select t.motto from team t) x where k.title > ''",
        "10",
    ),
    Case(
        "a missing relation has the number of one that is not",
        "select x.name, k.title from"
        " team t left join task k on k.id = t.id + 3 cross join (select a.id, b.name from tag g"
        " join team b on true join task a on true) x",
        "01",
    ),
    Case(
        "an outer column two levels up",
        "select (select (select k.note)) , (select (select k.title)) from task k",
        "10",
    ),
    Case(
        "an outer column of a missing row",
        "select (select k.title), array(select k.title),"
        " exists (select k.title) from team t left join task k on k.id = t.id + 3",
        "100",
    ),
    Case(
        "an outer column in lateral VALUES",
        "select v.x from person p cross join lateral (values (p.nick), ('x')) v(x)",
        "1",
    ),
    Case(
        "a CTE two levels up",
        "with c as (select nick from person) select s.n from (select n from"
        " (select nick as n from c) b) s",
        "1",
    ),
    Case(
        "a CTE that refers to a later one",
        "with recursive a as (select x from b), b as (select null::int as x) select x from a",
        "1",
    ),
    Case(
        "a view with a constant on the missing side",
        "select t.id, v.k, v.notes from team t left join v_const v on v.id = t.id + 3",
        "011",
    ),
    Case(
        "grouped by a column of a missing row",
        "select t.name, max(t.name), array_agg(t.name),"
        " count(t.name), sum(t.id) from person p left join team t on t.id = p.team_id"
        " group by t.name",
        "11001",
    ),
    Case(
        "grouped by, and asked for in WHERE",
        "select t.name, max(t.name), min(p.nick) from person"
        " p left join team t on t.id = p.team_id where t.name is not null group by t.name",
        "001",
        data="update person set nick = null",
    ),
    Case(
        "HAVING about a count",
        "select team_id, max(nick) from person group by team_id having count(team_id) > 0",
        "01",
        data="update person set nick = null",
    ),
    Case(
        "a group of a constant",
        "select max(name), count(*) from void_table v right join person p"
        " on p.id = v.id group by 'x'::text",
        "00",
    ),
    Case("columns of a sequence", "select last_value, is_called from counter", "00"),
    Case("the next value", "select nextval('counter'), currval('counter')", "00"),
    Case("unnest of composites", "select u.a, u.b from composite_home, unnest(homes) u", "11"),
    Case("a field of a set", "select (unnest(homes)).b from composite_home", "1"),
    Case(
        "lag by a nullable offset",
        "select lag(name, team_id, 'x') over (order by id),"
        " lag(name, 0, 'x') over (order by id) from person",
        "10",
    ),
    Case(
        "windows that build on each other",
        "select first_value(name) over v, first_value(name)"
        " over w, sum(id) over (w rows between 1 preceding and 1 preceding) from person window"
        " w as (order by id), v as (w rows between 1 following and 1 following)",
        "101",
    ),
    Case(
        "EXCLUDE TIES keeps the row",
        "select first_value(name) over (order by team_id"
        " groups current row exclude ties) from person",
        "0",
    ),
    Case(
        "SUBSTRING SIMILAR",
        "select substring('abc' similar 'x#\"b#\"z' escape '#'), name similar to 'a%' from person",
        "10",
    ),
    Case(
        "a parameter that is never None",
        "select cast(:a as int), cast(:a as int) + 1, cast(:b as int), nullif(cast(:a as int), 1)",
        "0011",
        values={"a": 1},
        never_null=("a",),
    ),
    Case(
        "a list that is never None, with None in it",
        "select cast(:a as int[]), (cast(:a as int[]))[1], id = any(cast(:a as int[])) from team",
        "011",
        values={"a": [None, 77]},
        never_null=("a",),
    ),
    Case(
        "a list that is never None, unnested",
        "select u from unnest(cast(:a as int[])) u",
        "1",
        values={"a": [None, 77]},
        never_null=("a",),
    ),
    Case(
        "INSERT into a view with a WHERE",
        "insert into v_where values (60, null) returning id, nick",
        "01",
        data="alter table person alter name set default '', alter"
        " mood set default 'ok', alter tags set default '{}', alter data set default '{}', alter"
        " joined set default now(), alter span set default 'empty', alter is_admin set default"
        " true, alter rank_no set default 1",
    ),
    Case(
        "UPDATE of a view with CHECK OPTION", "update v_checked set nick = 'z' returning nick", "0"
    ),
    Case("DELETE with a rule instead", "delete from ruled where id = 5 returning id, label", "01"),
    Case(
        "INSERT of several rows",
        "insert into tag values ('a', 1, null), ('b', 2, 3) returning label, weight",
        "01",
    ),
    Case(
        "the whole row of a relation that is missing for a while",
        "select k, k.id, (select k.id)"
        " from team t left join task k on k.id = t.id + 3 where k is not distinct from null",
        "111",
    ),
    Case(
        "a merged column after a WHERE about one side",
        "select id, t.id, k.id from team t full join task k using (id) where t.name > ''",
        "001",
    ),
    Case(
        "a merged column of a nested full join",
        "select id from team full join task using (id) full join void_table using (id)",
        "0",
    ),
    Case(
        "a merged column on the missing side",
        "select p.id, x.id from person p left join"
        " (team t join task k using (id)) x on x.id = p.id + 3",
        "01",
    ),
    Case(
        "a qual that would save a relation stands in another OR arm",
        "select t.name from person"
        " p left join team t on t.id = p.team_id where t.name = 'red' or p.id = 3",
        "1",
    ),
    Case(
        "a qual in a lateral on the missing side",
        "select p.nick, x.one from person p left join"
        " lateral (select 1 as one where p.nick is not null) x on true",
        "11",
    ),
    Case(
        "a qual below a full join",
        "select s.nick, k.id from (select id, nick from person where"
        " nick is not null) s full join task k on k.id = s.id",
        "11",
        data="delete from task where id = 4",
    ),
    Case(
        "a qual below a set operation and a join",
        "select s.n from team t left join (select nick"
        " as n from person where nick > '' union all select note from task where note > '') s"
        " on s.n = t.name",
        "1",
    ),
    Case(
        "DISTINCT ON with an expression",
        "select distinct on (nick is null) nick, id from person order by nick is null",
        "10",
    ),
    Case(
        "ORDER BY something that is not returned",
        "select nick from person order by nick is not null, length(nick)",
        "1",
    ),
    Case(
        "a CASE that guards",
        "select case when nick is not null then nick end, case when nick is"
        " not null or is_admin then nick else 'x' end, case when nick is null then 'x' else nick"
        " end from person",
        "110",
        data="update person set is_admin = true",
    ),
    Case(
        "a CASE that guards with AND and NOT",
        "select case when nick is not null and is_admin"
        " then nick else 'x' end, case when not (nick is null) then nick else 'x' end, case when"
        " not (nick is null and is_admin) then nick else 'x' end from person",
        "001",
    ),
    Case(
        "a CASE whose earlier test decides",
        "select case when is_admin then nick when nick is null then 'x' else nick end from person",
        "1",
        data="update person set is_admin = true",
    ),
    Case(
        "a CASE over a volatile guard",
        "select case when nullif(random() < 2, random() < 0.5) is"
        " null then true else nullif(random() < 2, random() < 0.5) end"
        " from generate_series(1, 200)",
        "1",
    ),
    Case(
        "RETURNING a guard of the old row",
        "update task set note = null where note is not null"
        " returning coalesce(note, 'gone'), case when note is null then 'n' else note end,"
        " note || 'x'",
        "001",
    ),
    Case(
        "UPDATE FROM: a WHERE about both",
        "update task k set note = null from person p where"
        " p.nick = k.note or p.nick is not null returning p.nick, k.note",
        "01",
    ),
    Case(
        "DELETE USING: a WHERE saves the other side",
        "delete from task k using person p left join"
        " team t on t.id = p.team_id where k.person_id = t.id returning t.name, p.team_id,"
        " k.person_id",
        "000",
    ),
    Case(
        "SELECT of a function over missing arguments",
        "select lower(t.name), t.name || 'x',"
        " concat(t.name), array[t.name] from person p left join team t on t.id = p.team_id",
        "1100",
    ),
]
