"""Templates of expressions, aggregates and window functions, by the kind of their value.

In a template `<int>` stands for any expression of that type, `<row>` for a whole row.
"""

from __future__ import annotations

# The kinds of values, and the type of PostgreSQL for each.
NAMES = {
    "int": "int",
    "text": "text",
    "bool": "boolean",
    "num": "numeric",
    "date": "date",
    "ts": "timestamptz",
    "json": "jsonb",
    "ints": "int[]",
    "texts": "text[]",
    "mood": "mood",
    "span": "int4range",
    "pair": "pair",
    "row": "team",
    "team": "team",
}
COMPARABLE = ("int", "text", "bool", "num", "date", "ts", "json", "ints", "texts", "mood", "span")
OFTEN = ("int", "int", "int", "text", "text", "text", "bool", "num", "json", "texts", "date")

_ANY = [
    "coalesce(<K>, <K>)",
    "coalesce(<K>, <K>, <K>)",
    "nullif(<K>, <K>)",
    "case when <bool> then <K> else <K> end",
    "case when <bool> then <K> end",
    "case <int> when 1 then <K> when 2 then <K> else <K> end",
]
_ELEMENT = ["(array[<K>, <K>])[1]"]
_ORDERED = ["greatest(<K>, <K>)", "least(<K>, <K>)"]

_EXPRESSIONS = {
    "int": """<int> + <int> | <int> - 1 | -<int> | abs(<int>) | length(<text>) | <int> % 3
        | cardinality(<texts>) | array_length(<ints>, 1) | array_ndims(<ints>)
        | <int> & <int> | array_upper(<texts>, 1) | position(<text> in <text>)
        | ascii(<text>) | (<ints>)[1] | num_nulls(<text>, <int>)
        | num_nonnulls(variadic <texts>) | lower(<span>) | upper(<span>)
        | date_part('day', <ts>)::int | extract(day from <date>)::int
        | array_position(<texts>, <text>) | (<pair>).a | strict_null(<int>)
        | strict_same(<int>) | plain_null(<int>) | loose_null(<int>) | <mood>::int
        | !@ <int> | scale(<num>) | min_scale(<num>) | gcd(<int>, <int>)
        | bit_length(<text>) | hashtext(<text>) | extract(day from <ts>)::int
        | (jsonb_build_object('k', <int>) ->> 'k')::int | (<team>).id | div(<int>, 2)::int
        | next_of(<int>) | strict_next(<int>) | second(<int>, <int>) | second(<int>)
        | <bool>::int | char_length(<text>) | width_bucket(<int>, 0, 5, 3) | mod(<int>, 2)""",
    "text": """lower(<text>) | upper(<text>) | trim(<text>) | initcap(<text>) | left(<text>, 2)
        | substring(<text> from 1 for 2) | substring(<text> from 'a') | <text> || <text>
        | replace(<text>, <text>, <text>) | concat(<text>, <int>)
        | concat_ws(<text>, <text>, <int>) | format('%s-%s', <text>, <int>)
        | format(<text>) | split_part(<text>, ',', 1) | md5(<text>) | <int>::text
        | <mood>::text | <json>::text | <json> ->> 'k' | <json> #>> '{a,0}' | (<texts>)[1]
        | array_to_string(<texts>, ',') | array_to_string(<texts>, ',', <text>)
        | first_word(<text>) | quote_nullable(<text>) | quote_literal(<text>)
        | to_char(<ts>, 'YYYY')
        | to_char(<int>, '999') | jsonb_typeof(<json>) | (<pair>).b | <date>::text
        | <span>::text | pg_typeof(<int>)::text | regexp_replace(<text>, 'a', 'b')
        | (regexp_match(<text>, 'a'))[1] | add_text(<text>, <text>)
        | current_setting('no.such', true) | lpad(<text>, 3) | reverse(<text>)
        | translate(<text>, 'a', 'b') | <num>::text | <row>::text | <ts>::text
        | overlay(<text> placing 'x' from 1) | (<team>).name | (<team>).motto
        | <texts>::text | obj_description(<int>::oid, 'pg_class')
        | format_type(<int>::oid, null) | <pair>::text | <text> collate "C"
        | jsonb_pretty(<json>) | row(<int>, <text>)::text | <text>::varchar(2)
        | concat(variadic <texts>) | <text> || <int>
        | jsonb_extract_path_text(<json>, 'k')""",
    "bool": """<int> = any (array[array[<int>, 1], array[2, <int>]])
        | <int> = <int> | <int> < <int> | <text> = <text> | <text> like '%' | <text> ~ 'a'
        | <int> is null | <text> is not null | <json> is not null | <date> is null
        | <text> is distinct from <text> | <int> is not distinct from <int>
        | <bool> and <bool> | <bool> or <bool> | not <bool> | (<bool>) is true
        | (<bool>) is not true | (<bool>) is false | (<bool>) is not false
        | (<bool>) is unknown | (<bool>) is not unknown | <int> in (1, <int>)
        | <int> not in (1, 2) | <int> not in (1, <int>) | <text> = any(<texts>)
        | <text> in ('a', 'b') | <text> <> all(<texts>) | <int> = any(array[<int>, <int>])
        | <text> like all(<texts>) | <int> = any('{1,2}') | <int> between <int> and <int>
        | <int> not between <int> and <int> | (<int>, <text>) = (<int>, <text>)
        | (<int>, <text>) < (<int>, <text>) | (<int>, <text>) <> (<int>, <text>)
        | row(<int>, <text>) is not null | row(<int>, <text>) is null
        | row(<int>, <text>) is distinct from row(<int>, <text>) | <json> @> '{}'
        | <json> ? 'k' | <json> @? 'strict $.nope' | <json> @@ '$.k' | <texts> && <texts>
        | <texts> @> <texts> | isempty(<span>) | <span> @> <int> | <span> && <span>
        | always_true(<text>, <text>) | <text> ~~~> <text> | starts_with(<text>, 'a')
        | (<date>, <date>) overlaps (<date>, <date>) | isfinite(<ts>) | <pair> = <pair>
        | <pair> is null | jsonb_path_exists(<json>, '$.k') | <mood> > 'sad'
        | <mood> = <mood> | <num> > <num> | num_nulls(<int>, <text>) > 0
        | <date> < current_date | <row> is null | <row> is not null | not (<row> is null)
        | <row> is distinct from null | <ts> > now() | <text> ilike <text>
        | not (<text> is null) | not (<int> = 1 or <text> is null) | <texts> = <texts>
        | true | false | <json> = <json> | length(<text>) > 0 | <text> || 'x' > ''
        | <int> + 1 > 0 | lower(<text>) = 'a' | <text> is not null and <int> is not null
        | <text> is not null or <int> is not null | <int> >= 0 | <text> >= ''
        | not (<text> is null and <int> = 1) | <pair> is not null""",
    "num": """<int>::numeric | <num> + <num> | round(<num>, 1) | <num> * 2 | abs(<num>)
        | trunc(<num>) | extract(epoch from <ts>) | extract(day from <ts>)
        | extract(dow from <date>) | ceil(<num>) | <int> / 2.0 | trim_scale(<num>)
        | date_part('hour', <ts>)::numeric | random()::numeric | -<num> | sign(<num>)
        | (<team>).budget""",
    "date": """<ts>::date | <date> + 1 | current_date | make_date(2000, 1, 1)
        | (<team>).founded | date_trunc('month', <ts>)::date
        | to_date('2020-01-01', 'YYYY-MM-DD')""",
    "ts": """<ts> + interval '1 hour' | date_trunc('day', <ts>) | now() | <date>::timestamptz
        | to_timestamp(0) | date_trunc('hour', <date>::timestamptz)""",
    "json": """<json> -> 'k' | <json> #> '{a}' | jsonb_build_object('a', <text>)
        | to_jsonb(<int>) | to_jsonb(<text>) | jsonb_build_array(<int>, <text>)
        | <json> || '{"z": 1}' | <json> -> 0 | jsonb_strip_nulls(<json>)
        | jsonb_path_query_first(<json>, '$.k') | (<json>)['k']
        | jsonb_path_query_array(<json>, '$.k') | jsonb_set_lax('{"k": 1}', '{k}', <json>)
        | to_jsonb(<texts>) | to_jsonb(<row>) | jsonb_extract_path(<json>, 'k')
        | to_jsonb(<pair>) | jsonb_build_array(variadic <texts>)
        | row_to_json(row(<int>))::jsonb | jsonb_set('{"k": 1}', '{k}', <json>)""",
    "ints": """array[<int>, <int>] | <ints> || <int> | array_append(<ints>, <int>)
        | (<ints>)[1:1] | array_remove(<ints>, <int>) | array_positions(<texts>, <text>)
        | array_cat(<ints>, <ints>) | array_fill(<int>, '{2}') | array[]::int[]""",
    "texts": """array[<text>, <text>] | string_to_array(<text>, ',') | <texts> || <text>
        | <texts> || <texts> | array_append(<texts>, <text>)
        | array_prepend(<text>, <texts>) | array_remove(<texts>, <text>) | (<texts>)[1:2]
        | regexp_match(<text>, 'a') | <ints>::text[] | regexp_split_to_array(<text>, ',')
        | array_replace(<texts>, <text>, <text>) | enum_range(<mood>, <mood>)::text[]
        | string_to_array(<text>, null)""",
    "mood": "'ok'::mood | enum_first(<mood>)",
    "span": """<span> * <span> | range_merge(<span>, <span>) | int4range(<int>, null)
        | '[1,2)'::int4range""",
    "pair": "row(<int>, <text>)::pair",
    "row": "<team> | row(<int>, <text>)",
    "team": "null::team | row(<int>, <text>, <text>, <date>, <num>)::team",
}

_AGGREGATES = {
    "int": """count(*)::int | count(<text>)::int | max(<int>) | min(<int>) | sum(<int>)::int
        | bit_and(<int>) | last_of(<int>) | count_not(<int>)
        | regr_count(<int>, <int>)::int | count(<row>)::int | coalesce(max(<int>), 0)
        | cardinality(array_agg(<int>))""",
    "text": """max(<text>) | min(<text>) | string_agg(<text>, ',') | string_agg(<text>, <text>)
        | coalesce(max(<text>), '')""",
    "bool": "bool_and(<bool>) | bool_or(<bool>) | every(<bool>) | max(<int>) is null",
    "num": """avg(<int>) | sum(<num>) | stddev(<int>) | var_pop(<int>) | stddev_pop(<int>)
        | corr(<int>, <int>)::numeric | covar_samp(<int>, <int>)::numeric | max(<num>)""",
    "date": "max(<date>) | min(<date>)",
    "ts": "max(<ts>) | min(<ts>)",
    "json": "jsonb_agg(<text>) | jsonb_object_agg('k', <text>) | jsonb_agg(<row>)",
    "ints": "array_agg(<int>)",
    "texts": "array_agg(<text>)",
    "mood": "max(<mood>) | min(<mood>)",
    "span": "range_intersect_agg(<span>)",
    "pair": "(array_agg(<pair>))[1]",
}

# Aggregates that are not allowed as window functions.
_ORDERED_SETS = {
    "int": """mode() within group (order by <int>)
        | rank(1) within group (order by <int>)::int
        | percentile_disc(0.5) within group (order by <int>) | count(distinct <text>)::int""",
    "text": "mode() within group (order by <text>) | string_agg(distinct <text>, ',')",
    "num": "percentile_cont(0.5) within group (order by <int>)::numeric",
    "texts": "array_agg(distinct <text>) | array_agg(<text> order by <int>)",
    "ints": "array_agg(distinct <int>)",
}

_WINDOWS = {
    "int": """row_number() <over>::int | rank() <over>::int | dense_rank() <over>::int
        | ntile(2) <over> | ntile(nullif(abs(<int>), 0)) <over>""",
    "num": "percent_rank() <over>::numeric | cume_dist() <over>::numeric",
}
_ANY_WINDOW = """lag(<K>) <over> | lead(<K>) <over> | lag(<K>, 1, <K>) <over>
        | lead(<K>, 0) <over> | lag(<K>, <int>, <K>) <over> | first_value(<K>) <over>
        | last_value(<K>) <over> | nth_value(<K>, 1) <over> | nth_value(<K>, 2) <over>"""

FRAMES = [
    "rows between 1 preceding and 1 preceding",
    "rows between unbounded preceding and current row",
    "rows between current row and unbounded following",
    "rows between 1 following and 2 following",
    "rows between unbounded preceding and 1 preceding",
    "groups between 1 preceding and 1 following",
    "groups between 1 following and unbounded following",
    "range between unbounded preceding and unbounded following",
    "range between current row and current row",
]
EXCLUDES = ["", "", "", "exclude current row", "exclude group", "exclude ties"]

LITERALS = {
    "int": ["1", "0", "2", "7"],
    "text": ["'a'::text", "''::text", "'x,y'::text"],
    "bool": ["true", "true", "true", "false"],
    "num": ["1.5", "0.0", "'NaN'::numeric"],
    "date": ["date '2020-02-02'", "'infinity'::date"],
    "ts": ["timestamptz '2020-02-02'", "'infinity'::timestamptz"],
    "json": ["'{}'::jsonb", "'{\"k\": null}'::jsonb", "'null'::jsonb"],
    "ints": ["'{1,2}'::int[]", "'{}'::int[]", "array[1, null]"],
    "texts": ["'{a}'::text[]", "'{}'::text[]", "array['a', null]"],
    "mood": ["'ok'::mood"],
    "span": ["'[1,5)'::int4range", "'empty'::int4range", "'(,)'::int4range"],
    "pair": ["row(1, 'x')::pair", "row(null, null)::pair"],
    "row": ["null::team"],
    "team": ["null::team"],
}


def _templates(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.replace("\n", " ").split(" | ")]


def _of_kind(templates: list[str], kind: str) -> list[str]:
    return [template.replace("<K>", f"<{kind}>") for template in templates]


EXPRESSIONS = {
    kind: _templates(text)
    + _of_kind(_ANY if kind != "row" else [], kind)
    + _of_kind(_ELEMENT if kind not in ("ints", "texts", "row") else [], kind)
    + _of_kind(_ORDERED if kind in COMPARABLE and kind != "json" else [], kind)
    for kind, text in _EXPRESSIONS.items()
}
# Templates for newer servers only, by the first major version.
NEWER = {
    16: {
        "bool": ["<text> is json", "<text> is not json object"],
        "json": ["json_object('a' value <text>)::jsonb", "json_array(<text>, <int>)::jsonb"],
    },
    17: {
        "bool": ["json_exists(<json>, '$.k')"],
        "text": ["json_value(<json>, '$.k')", "json_serialize('{}')"],
        "json": ["json_query(<json>, '$.k')", "json_scalar(<int>)::jsonb"],
    },
}

AGGREGATES = {kind: _templates(text) for kind, text in _AGGREGATES.items()}
ORDERED_SETS = {kind: _templates(text) for kind, text in _ORDERED_SETS.items()}
WINDOWS = {
    kind: (_templates(_WINDOWS[kind]) if kind in _WINDOWS else [])
    + _of_kind(_templates(_ANY_WINDOW), kind)
    for kind in AGGREGATES
}
