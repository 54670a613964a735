"""Logic, composites, domains, enums, casts, XML, SQL/JSON, and what a user made."""

from __future__ import annotations

from .case import Case

CASES = [
    Case(
        "COALESCE, GREATEST, LEAST, NULLIF",
        "select coalesce(nick, name), coalesce(nick,"
        " last_mood::text), greatest(nick, name), least(nick, null), greatest(team_id, boss_id),"
        " nullif(name, 'x'), nullif(nick, 'x') from person",
        "0101101",
    ),
    Case(
        "CASE",
        "select case when nick is null then 'n' else nick end, case when id > 1 then 1"
        " end, case id when 1 then 'a' else 'b' end, case when id > 1 then nick else 'x' end,"
        " case when true then 1 end, case when nick is not null then nick else '' end"
        " from person",
        "010100",
    ),
    Case(
        "CASE with a nullable test",
        "select case nick when 'a' then 1 else 2 end, case when flag"
        " then 1 when not flag then 0 end, case when flag is null then null else 1 end"
        " from person",
        "011",
    ),
    Case(
        "three-valued logic",
        "select flag and true, flag and false, flag or true, not flag,"
        " is_admin and id > 1, flag is true, flag is unknown, is_admin or flag from person",
        "10010001",
    ),
    Case(
        "comparison with NULL",
        "select nick = 'a', nick is distinct from 'a', nick = null,"
        " id = 1, nick is null, nick is null or nick = 'a' from person",
        "101000",
    ),
    Case(
        "row comparison",
        "select (1, nick) = (1, 'a'), row(1, nick) is null, (id, nick)"
        " is distinct from (1, 'a'), row(id, nick), (id, nick) < (2, 'b'), (1, id) = (id, 1)"
        " from person",
        "100010",
    ),
    Case(
        "records compared as values",
        "select p.home = row(1, null)::pair, t = t, array[nick] ="
        " array[nick] from person p join team t on t.id = p.id",
        "100",
    ),
    Case(
        "composites and their fields",
        "select home, (home).a, (homes[1]).b, homes, homes[1] from composite_home",
        "01101",
    ),
    Case(
        "fields of a whole row",
        "select (t).name, (t).motto from (select x as t from team x) s",
        "01",
    ),
    Case(
        "fields of a row that is built",
        "select (row(1, null)::pair).b, (row(1, 'x')::pair).a",
        "10",
    ),
    Case(
        "fields of a missing row",
        "select (s.t).name, (null::team).id from person p left join"
        " (select x as t, x.id from team x) s on s.id = p.team_id",
        "11",
    ),
    Case("domains", "select must, pos, must is null from with_domain", "100"),
    Case(
        "casts to domains",
        "select cast(id as must_int), cast(pos as posint), nick::free_text,"
        " name::free_text from person p join with_domain w using (id)",
        "0010",
    ),
    Case(
        "a NOT NULL domain on the missing side",
        "select t.id, w.must from team t left join with_domain w on w.id = t.id + 1",
        "01",
    ),
    Case(
        "a scalar sublink of a NOT NULL domain",
        "select (select must from with_domain where id = 77)",
        "1",
    ),
    Case("generated columns", "select double_x, fixed, x from made", "101"),
    Case(
        "virtual generated columns",
        "select y, z from virtual",
        "10",
        since=18,
        data="insert into virtual values (1, null)",
    ),
    Case("NOT NULL that was not validated", "select id, note from not_valid", "01", since=18),
    Case(
        "casts",
        "select id::text, nick::varchar(3), mood::text, '5'::int, id::numeric,"
        " name::bytea is null, tags::text, tags::varchar(2)[], born::timestamp, id::bigint"
        " from person",
        "0100000010",
        data="update person set name = ''",
    ),
    Case("a user's cast", "select mood::int from person", "1"),
    Case(
        "enums",
        "select mood, last_mood, enum_range(null::mood), enum_first(null::mood),"
        " mood > 'sad', enum_range(last_mood, mood), mood::text || 'x' from person",
        "0100000",
    ),
    Case(
        "a user's strict functions",
        "select strict_null(1), strict_same(id), plain_null(id), loose_null(id), !@ id from person",
        "10111",
    ),
    Case("a user's function that is not strict", "select add_text(null, null)", "0"),
    Case(
        "a function of another schema with a familiar name",
        "select lower(name), upper(name) from team",
        "10",
        path="shadow, public, pg_catalog",
    ),
    Case(
        "an operator of another schema with a familiar look",
        "select name || 'x', id + 1 from team",
        "10",
        path="shadow, public, pg_catalog",
    ),
    Case(
        "an operator called by its full name",
        "select 'a' operator(shadow.||) 'b', 'a' operator(pg_catalog.||) 'b'",
        "10",
    ),
    Case(
        "arithmetic",
        "select id + 1, id / 2, id % 2, -id, abs(id), id * team_id, power(id, 2),"
        " round(hours), sqrt(id), id & 1, id::float8 / 3 from person p join task using (id)",
        "00000100000",
    ),
    Case(
        "what is there without arguments",
        "select now(), random(), clock_timestamp(),"
        " gen_random_uuid(), current_timestamp, localtime, statement_timestamp(), pi(),"
        " timeofday()",
        "000000000",
    ),
    Case(
        "COLLATE",
        'select name collate "C", nick collate "C", name collate "C" < \'x\' from person',
        "010",
    ),
    Case(
        "xml",
        "select xmlelement(name a, nick), xmlforest(nick as a), xmlconcat(null, null),"
        " xmlpi(name php), xpath('/a', '<b/>'::xml) from person",
        "01100",
        needs="xml",
    ),
    Case(
        "XMLTABLE",
        "select x.a, x.n, x.d from person, xmltable('/r/i' passing"
        " ('<r><i/></r>'::xml) columns a text, n for ordinality, d int default 5) x",
        "100",
        needs="xml",
    ),
    Case(
        "JSON_TABLE",
        "select x.a, x.n from person, json_table('[{}, {\"a\": 1}]', '$[*]'"
        " columns (a int path '$.a', n for ordinality)) x",
        "10",
        since=17,
    ),
    Case(
        "JSON_VALUE and its kin",
        "select json_value('{}', '$.a'), json_query('{}', '$.a'),"
        " json_exists('{}', '$.a'), json_exists('{}', 'strict $.a' unknown on error),"
        " json_value('{}', '$.a' default 'x' on empty)",
        "11010",
        since=17,
    ),
    Case(
        "SQL/JSON constructors",
        "select json_object('a' value nick), json_array(nick),"
        " json_array(select 1 where false), nick is json, name is json from person",
        "00110",
        since=16,
    ),
    Case("JSON_SCALAR", "select json_scalar(nick) from person", "1", since=17),
    Case(
        "the catalogue's own tables",
        "select relname, relkind, relacl, relnamespace::regnamespace::text from pg_class",
        "0010",
    ),
    Case("the information schema", "select column_default from information_schema.columns", "1"),
    Case(
        "json of a column that is JSON null",
        "select doc, doc2, doc -> 'k', doc2 ->> 'k' from j",
        "0011",
    ),
    Case(
        "text search",
        "select to_tsvector(name), to_tsvector(nick), ts_headline(name,"
        " to_tsquery('a')), plainto_tsquery('x'), to_tsvector('a') @@ to_tsquery('a')"
        " from person",
        "01000",
    ),
    Case(
        "the network",
        "select inet '10.0.0.1' + 1, host(inet '10.0.0.1'), inet '10.0.0.1' <<"
        " inet '10.0.0.0/8', masklen(inet '10.0.0.1'), inet '10.0.0.2' - inet '10.0.0.1'",
        "00000",
    ),
    Case(
        "width_bucket, div, gcd, bits",
        "select width_bucket(5, 0, 10, 5), div(7, 2), gcd(4, 2),"
        " b'101' & b'110', get_bit(b'101', 0), bit_length('a'), factorial(3)",
        "0000000",
    ),
]
