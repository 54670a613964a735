"""Functions and operators: what makes NULL out of values, and values out of NULL."""

from __future__ import annotations

from .case import Case

CASES = [
    Case(
        "regular expressions",
        "select regexp_match('a', 'b'), substring('a' from 'b'),"
        " substring('abc' from 1), regexp_replace('a', 'b', 'c'), split_part('a', ',', 3),"
        " 'a' ~ 'b', regexp_split_to_array('a', 'b')",
        "1100000",
    ),
    Case(
        "regexp_substr and its kin",
        "select regexp_substr('a', 'b'), regexp_count('a', 'b'),"
        " regexp_instr('a', 'b'), regexp_like('a', 'b')",
        "1000",
        since=15,
    ),
    Case(
        "an empty array",
        "select array_length('{}'::int[], 1), array_ndims('{}'::int[]),"
        " array_lower('{}'::int[], 1), array_upper('{}'::int[], 1), array_dims('{}'::int[]),"
        " cardinality('{}'::int[]), array_position('{1}'::int[], 5),"
        " array_positions('{1}'::int[], 5)",
        "11111010",
    ),
    Case(
        "array elements and slices",
        "select tags[1], tags[9], ('{1,2}'::int[])[1], (array[1, 2])[3] from person",
        "1101",
    ),
    Case(
        "array functions that take NULL",
        "select array_append(null, 1), array_append(tags, null),"
        " array_cat(null::int[], null), array_remove(tags, nick), array_to_string(tags, ',', nick),"
        " tags || nick, tags || null::text[], array_prepend(null, tags) from person",
        "00100000",
    ),
    Case(
        "arrays built from NULL",
        "select array[nick], array[nick, null], array_fill(null::int,"
        " '{2}'), array[scores], string_to_array(nick, ','), string_to_array(name, null),"
        " array_to_string('{NULL}'::text[], ',') from person",
        "0000100",
    ),
    Case(
        "NULL in an array compared",
        "select id = any(array[1, null]), id = any(scores),"
        " id = any('{1,2}'), id <> all(array[9, null]), id = any(array[]::int[]) from person",
        "11010",
    ),
    Case(
        "IN with constants",
        "select id in (1, 2), id in (1, null), id not in (1, 2),"
        " nick in ('a'), id in (1, team_id) from person",
        "01011",
    ),
    Case(
        "ranges",
        "select lower(span), upper(span), isempty(span), lower_inc(span), span * span,"
        " lower_inf(span), range_merge(span, span) from person",
        "1100000",
    ),
    Case(
        "multiranges",
        "select lower('{}'::int4multirange), upper('{}'::int4multirange),"
        " isempty('{}'::int4multirange), int4multirange(span) from person",
        "1100",
    ),
    Case(
        "json lookups",
        "select data -> 'k', data ->> 'k', data #> '{a}', data #>> '{a,1}',"
        " data -> 0, data['k'], jsonb_extract_path(data, 'x'), jsonb_typeof(data) from person",
        "11111110",
    ),
    Case(
        "json predicates",
        "select data @> '{}', data ? 'k', data ?| '{k}', data <@ '{}',"
        " jsonb_path_exists(data, '$.k'), data = data from person",
        "000000",
    ),
    Case(
        "json path operators that swallow errors",
        "select data @? 'strict $.nope',"
        " data @@ '$.k', jsonb_path_match(data, '$.k', silent => true),"
        " jsonb_path_query_first(data, '$.nope'), jsonb_path_query_array(data, '$.k')"
        " from person",
        "11110",
    ),
    Case(
        "json built from NULL",
        "select jsonb_build_object('a', nick), jsonb_build_array(nick),"
        " to_jsonb(nick), to_jsonb(name), json_build_array(), jsonb_strip_nulls(data),"
        " data || '{}', '{}'::jsonb - 'k', jsonb_set('{}', '{a}', '1'),"
        " jsonb_pretty(data) from person",
        "0010000000",
    ),
    Case(
        "VARIADIC NULL",
        "select concat(variadic null::text[]), jsonb_build_array(variadic"
        " null::text[]), num_nulls(variadic null::int[]), jsonb_build_object(variadic"
        " null::text[]), concat_ws(',', variadic null::text[]), format('x', variadic"
        " null::text[])",
        "111110",
    ),
    Case(
        "VARIADIC of a value",
        "select concat(variadic tags), num_nulls(variadic tags),"
        " concat_ws(',', variadic tags) from person",
        "000",
    ),
    Case(
        "json set with NULL",
        "select jsonb_set('{}', '{a}', to_jsonb(nick)),"
        " jsonb_set_lax('{}', '{a}', null), jsonb_set_lax(data, cast(:p as text[]), null)"
        " from person",
        "101",
    ),
    Case(
        "the JSON null is not NULL",
        "select 'null'::jsonb, 'null'::jsonb::text, data -> 'k' from person where id = 1",
        "001",
        data="update person set data = '{}'",
    ),
    Case(
        "a JSON null converted",
        "select ('null'::jsonb)::int, ('null'::jsonb)::boolean, ('null'::jsonb)::numeric",
        "111",
        since=18,
    ),
    Case(
        "text functions that take NULL",
        "select concat(nick, 'x'), concat_ws(nick, 'a'),"
        " concat_ws(',', nick), format('%s', nick), format(nick), quote_nullable(nick),"
        " quote_literal(nick), nick || 'x', left(name, 1), num_nulls(nick) from person",
        "0100101100",
    ),
    Case(
        "text functions",
        "select upper(name), length(name), trim(name), replace(name, 'a', 'b'),"
        " lpad(name, 3), position('a' in name), overlay(name placing 'x' from 1), md5(name),"
        " initcap(name), name ilike 'a', reverse(name), starts_with(name, 'a') from person",
        "000000000000",
    ),
    Case(
        "formatting infinity or by an empty format",
        "select to_char(joined, 'YYYY'),"
        " to_char(now(), ''), to_char(1, '9'), to_char(interval '1 day', '') from person",
        "1101",
    ),
    Case(
        "the time of day of infinity",
        "select done_at::time, done_at::date, done_at::timestamptz from task"
        " where id = 4 and done_at is not null",
        "100",
    ),
    Case(
        "the number in an empty text",
        "select to_number('', ''), area(path '[(0,0),(1,1)]'),"
        " path '((0,0),(1,1))' <-> path '[(1,1)]'",
        "111",
    ),
    Case(
        "parts of infinity",
        "select date_part('day', joined), extract(day from joined),"
        " extract(epoch from joined), date_trunc('day', joined), joined + interval '1 day',"
        " isfinite(joined) from person",
        "110000",
    ),
    Case(
        "parts of what is finite",
        "select extract(hour from time '10:00'), extract(epoch from"
        " interval '1 day'), make_date(2000, 1, 1), age(timestamp '2000-01-01', timestamp"
        " '1999-01-01'), joined at time zone 'UTC' from person",
        "00000",
    ),
    Case(
        "scale of NaN",
        "select scale('NaN'::numeric), min_scale('NaN'::numeric), scale(1.5), trim_scale(1.50)",
        "1100",
    ),
    Case(
        "geometry without an answer",
        "select lseg '[(0,0),(1,1)]' # lseg '[(5,5),(6,7)]',"
        " box '(0,0),(1,1)' # box '(5,5),(6,6)', line '{1,0,0}' # line '{1,0,5}',"
        " path '((0,0),(1,1))' + path '[(0,0),(1,1)]', point '(1,1)' <-> point '(2,2)',"
        " point '(1,1)' + point '(1,1)'",
        "111100",
    ),
    Case(
        "what the catalogue does not find",
        "select to_regclass('nope'), to_regtype('nope'),"
        " obj_description(1, 'pg_class'), col_description(1, 1), pg_get_viewdef(1),"
        " current_setting('no.such', true), pg_relation_size(1), has_table_privilege(1::oid,"
        " 'select'), format_type(null, null)",
        "111111111",
    ),
    Case(
        "what the catalogue always says",
        "select pg_typeof(null), pg_get_userbyid(1),"
        " current_setting('search_path'), version(), current_database(), pg_backend_pid(),"
        " txid_current(), quote_ident('x')",
        "00000000",
    ),
    Case(
        "what a session may not have",
        "select pg_last_xact_replay_timestamp(),"
        " txid_current_if_assigned(), pg_current_xact_id_if_assigned()",
        "111",
    ),
    Case(
        "the schema may be missing",
        "select current_schema, current_schema(), current_user,"
        " session_user, current_catalog, current_role",
        "110000",
        path="nowhere",
    ),
    Case("who logged in how", "select system_user", "1", since=16),
    Case(
        "parts of a uuid",
        "select uuid_extract_timestamp(gen_random_uuid()),"
        " uuid_extract_version('00000000-0000-0000-0000-000000000000')",
        "11",
        since=17,
    ),
    Case(
        "how a value is stored",
        "select pg_column_compression(name), pg_column_size(name),"
        " pg_column_compression(id) from person",
        "101",
    ),
    Case("a function without a result", "select pg_sleep(0), 1", "10"),
]
