"""Built-in functions and operators whose result is never NULL unless an argument is.

An allow-list of objects that come with the server: their OIDs are below 16384, so `search_path`
does not matter. Everything else may return NULL: the functions of applications and extensions, and
many built-in ones that return NULL for an argument that is not: ``regexp_match``,
``array_length('{}', 1)``, ``lower`` of an unbounded range, ``to_char`` and ``extract(day)`` of
infinity, ``timestamp 'infinity'::time``, ``->``, casts of JSON null, geometric ones.

The lists are tested by calling every function of the catalog with many values
(tests/describe/soundness/sweep.py).
"""

from __future__ import annotations

from sqla_typedpool.describe.postgres.catalog import Function


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# OIDs of types: catalog/pg_type.dat of PostgreSQL.
_BYTEA, _INT8, _INT4, _TEXT, _FLOAT4, _FLOAT8 = 17, 20, 23, 25, 700, 701
_BPCHAR, _BIT, _NUMERIC, _ANYARRAY, _TSVECTOR, _TSQUERY = 1042, 1560, 1700, 2277, 3614, 3615
# time, timetz.
TIMES = frozenset({1083, 1266})
# point, lseg, path, box, polygon, line, circle.
GEOMETRIC = frozenset({600, 601, 602, 603, 604, 628, 718})

_STRICT = _words("""
    abs ceil ceiling floor round sign sqrt cbrt power pow exp ln log log10 mod div gcd lcm factorial
    degrees radians pi sin cos tan cot asin acos atan atan2 sinh cosh tanh trunc random to_hex
    to_bin to_oct bit_count initcap ascii chr char_length character_length octet_length bit_length
    btrim ltrim rtrim lpad rpad left right repeat replace translate reverse overlay position strpos
    substr split_part starts_with md5 sha224 sha256 sha384 sha512 encode decode convert_from
    convert_to quote_ident quote_literal normalize unistr regexp_replace regexp_like regexp_count
    regexp_instr regexp_split_to_array textcat casefold like notlike like_escape similar_to_escape
    similar_escape now clock_timestamp statement_timestamp transaction_timestamp timeofday make_date
    make_time make_timestamp make_timestamptz make_interval date_trunc date_bin age justify_days
    justify_hours justify_interval isfinite timezone to_timestamp to_date date gen_random_uuid
    uuidv4 uuidv7 pg_backend_pid version current_database current_user session_user getpgusername
    pg_current_xact_id txid_current pg_postmaster_start_time nextval lastval currval cardinality
    array_to_json row_to_json to_json to_jsonb json_typeof jsonb_typeof json_array_length
    jsonb_array_length jsonb_pretty json_strip_nulls jsonb_strip_nulls jsonb_set jsonb_insert
    jsonb_delete jsonb_delete_path jsonb_concat jsonb_exists jsonb_exists_any jsonb_exists_all
    jsonb_contains jsonb_contained array_reverse array_sort array_shuffle isempty lower_inc
    upper_inc lower_inf upper_inf range_merge to_tsvector to_tsquery plainto_tsquery
    phraseto_tsquery websearch_to_tsquery ts_rank ts_rank_cd ts_headline setweight strip numnode
    host family masklen netmask network broadcast abbrev set_masklen pg_size_pretty hashtext
    jsonb_path_query_array trim_scale xpath width_bucket pg_get_userbyid pg_column_size get_bit
    get_byte set_bit set_byte pg_try_advisory_lock pg_try_advisory_lock_shared pg_advisory_unlock
    pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared pg_advisory_unlock_shared
    int4multirange int8multirange nummultirange datemultirange tsmultirange tstzmultirange
    int2 int4 int8 float4 float8 numeric text varchar bpchar bool
""")
# Functions with several signatures, of which only these hold.
_BY_ARGUMENTS: dict[str, frozenset[tuple[int, ...]]] = {
    "lower": frozenset({(_TEXT,)}),
    "upper": frozenset({(_TEXT,)}),
    "length": frozenset((each,) for each in (_TEXT, _BPCHAR, _BYTEA, _BIT, _TSVECTOR)),
    "substring": frozenset(
        (each, *rest) for each in (_TEXT, _BYTEA, _BIT) for rest in ((_INT4,), (_INT4, _INT4))
    ),
    "to_char": frozenset((each, _TEXT) for each in (_NUMERIC, _INT4, _INT8, _FLOAT4, _FLOAT8)),
    "current_setting": frozenset({(_TEXT,)}),
    "array_to_string": frozenset({(_ANYARRAY, _TEXT)}),
}
# jsonb to bool and to numbers (NULL for JSON null since 18); timestamps to time (NULL for infinity)
_EXCLUDED = frozenset({3556, 3449, 3450, 3451, 3452, 3453, 2580, 1316, 2019, 1388})

_OPERATORS = _words("""
    = <> < <= > >= + - * / % ^ || ~~ !~~ ~~* !~~* ~ !~ ~* !~* & | # << >> @> <@ && ? ?| ?& #- ^@
    |/ ||/ @ <<= >>= &< &> -|- @@ ~<~ ~<=~ ~>~ ~>=~ *= *<> *< *<= *> *>= !!
""")

# Never NULL, whatever the arguments; only ``f(VARIADIC NULL)`` is.
NEVER_NULL = _words("""
    concat json_build_object json_build_array jsonb_build_object jsonb_build_array
    quote_nullable pg_typeof num_nulls num_nonnulls array_append array_prepend
    int4range int8range numrange daterange tsrange tstzrange enum_range enum_first enum_last
    set_config
""")

# Never NULL if so many first arguments are not; the other arguments may be NULL.
DECISIVE_ARGUMENTS: dict[str, int] = {
    **dict.fromkeys(_words("concat_ws format string_to_array array_positions"), 1),
    **dict.fromkeys(_words("array_remove array_replace"), 1),
    "array_to_string": 2,
}

# Fields for which ``extract(field from 'infinity')`` is not NULL.
FIELDS_OF_INFINITY = _words("""
    year years yr y isoyear decade decades dec century centuries c millennium millenniums mil
    millennia epoch julian
""")

# Aggregates that are 0 for no rows.
COUNTS = _words("count regr_count")

# Aggregates that are never NULL for one row or more.
COLLECTING = _words("array_agg json_agg jsonb_agg json_object_agg jsonb_object_agg")

# Aggregates that are never NULL for one row or more if no argument is NULL in any of them.
AGGREGATES = _words("""
    sum min max avg bool_and bool_or every string_agg bit_and bit_or bit_xor any_value var_pop
    stddev_pop range_agg range_intersect_agg covar_pop mode percentile_disc percentile_cont
""")

# The same for window functions that are not aggregates.
WINDOW_VALUES = _words("first_value last_value")

# Window functions that do not depend on the frame.
RANKS = _words("row_number rank dense_rank percent_rank cume_dist ntile")

# Set-returning functions of which the first column, or each of both columns, is never NULL.
_FIRST_COLUMN = _words("""
    generate_series generate_subscripts regexp_split_to_table json_array_elements json_object_keys
    jsonb_array_elements jsonb_object_keys regexp_matches json_each_text jsonb_each_text
""")
_BOTH_COLUMNS = _words("json_each jsonb_each")


def is_set_column_not_null(function: Function, column: int) -> bool:
    """Return whether this column of a set-returning function is never NULL."""
    if not function.is_built_in:
        return False
    if function.name == "string_to_table":  # the third argument is the text that becomes NULL
        return len(function.arguments) == 2
    return function.name in _BOTH_COLUMNS or (column == 1 and function.name in _FIRST_COLUMN)


def is_unnest(function: Function) -> bool:
    """Return whether this is ``unnest`` of an array."""
    return function.is_built_in and (function.name, function.arguments) == ("unnest", (_ANYARRAY,))


def function_keeps_not_null(function: Function) -> bool:
    """Return whether ``f(a, b)`` is never NULL if neither a nor b is."""
    if not _may_keep_not_null(function):
        return False
    if function.name in _BY_ARGUMENTS:
        return function.arguments in _BY_ARGUMENTS[function.name]
    return function.name in _STRICT


def cast_keeps_not_null(function: Function, result_type: int) -> bool:
    """Return whether a cast by this function is never NULL if its value is not."""
    return _may_keep_not_null(function) and result_type not in GEOMETRIC


def operator_keeps_not_null(name: str, function: Function) -> bool:
    """Return whether ``a op b`` is never NULL if neither a nor b is."""
    if not _may_keep_not_null(function) or name not in _OPERATORS:
        return False
    return name != "@@" or set(function.arguments) <= {_TEXT, _TSVECTOR, _TSQUERY}


def _may_keep_not_null(function: Function) -> bool:
    return (
        function.is_built_in
        and function.is_strict
        and function.oid not in _EXCLUDED
        and GEOMETRIC.isdisjoint(function.arguments)
    )
