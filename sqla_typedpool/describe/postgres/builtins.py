"""Which functions and operators are never NULL where their arguments are not.

An allow-list, of those that come with the server (their OIDs are below 16384, whatever
`search_path` says). What is not here is nullable: functions of applications and extensions,
and the many built-in ones that answer some good argument with NULL: ``regexp_match``,
``array_length('{}', 1)``, ``lower`` of a range without one, ``to_char`` and ``extract(day)``
of infinity, ``timestamp 'infinity'::time``, ``->``, casts of JSON null, geometric ones.
"""

from __future__ import annotations

from sqla_typedpool.describe.postgres.catalog import Function


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GEOMETRIC = frozenset({600, 601, 602, 603, 604, 628, 718})
_JSONB, _TEXT_SEARCH = 3802, frozenset({25, 3614, 3615})

_STRICT = _words("""
    abs ceil ceiling floor round sign sqrt cbrt power pow exp ln log log10 mod div gcd lcm
    factorial degrees radians pi sin cos tan cot asin acos atan atan2 sinh cosh tanh trunc
    random to_hex to_bin to_oct bit_count
    initcap ascii chr char_length character_length octet_length bit_length btrim ltrim rtrim
    lpad rpad left right repeat replace translate reverse overlay position strpos substr
    split_part starts_with md5 sha224 sha256 sha384 sha512 encode decode convert_from convert_to
    quote_ident quote_literal normalize unistr regexp_replace regexp_like regexp_count
    regexp_instr regexp_split_to_array textcat casefold like notlike like_escape
    similar_to_escape similar_escape
    now clock_timestamp statement_timestamp transaction_timestamp timeofday make_date make_time
    make_timestamp make_timestamptz make_interval date_trunc date_bin age justify_days
    justify_hours justify_interval isfinite timezone to_timestamp to_date date
    gen_random_uuid uuidv4 uuidv7
    pg_backend_pid version current_database current_user session_user getpgusername
    pg_current_xact_id txid_current pg_postmaster_start_time nextval lastval currval
    cardinality array_to_json row_to_json to_json to_jsonb json_typeof jsonb_typeof
    json_array_length jsonb_array_length jsonb_pretty json_strip_nulls jsonb_strip_nulls
    jsonb_set jsonb_insert jsonb_delete jsonb_delete_path jsonb_concat jsonb_exists
    jsonb_exists_any jsonb_exists_all jsonb_contains jsonb_contained
    array_reverse array_sort array_shuffle
    isempty lower_inc upper_inc lower_inf upper_inf range_merge
    to_tsvector to_tsquery plainto_tsquery phraseto_tsquery websearch_to_tsquery ts_rank
    ts_rank_cd ts_headline setweight strip numnode
    host family masklen netmask network broadcast abbrev set_masklen
    pg_size_pretty hashtext jsonb_path_query_array trim_scale xpath width_bucket
    pg_get_userbyid pg_column_size get_bit get_byte set_bit set_byte
    int4multirange int8multirange nummultirange datemultirange tsmultirange tstzmultirange
    int2 int4 int8 float4 float8 numeric text varchar bpchar bool
""")
_BY_ARGUMENTS: dict[str, frozenset[tuple[int, ...]]] = {
    "lower": frozenset({(25,)}),
    "upper": frozenset({(25,)}),
    "length": frozenset({(25,), (1042,), (17,), (1560,), (3614,)}),
    "substring": frozenset(
        {(25, 23), (25, 23, 23), (17, 23), (17, 23, 23), (1560, 23), (1560, 23, 23)}
    ),
    "to_char": frozenset({(1700, 25), (23, 25), (20, 25), (700, 25), (701, 25)}),
    "current_setting": frozenset({(25,)}),
    "array_to_string": frozenset({(2277, 25)}),
}
_NO = frozenset({3556, 3449, 3450, 3451, 3452, 3453, 2580, 1316, 2019, 1388})
"""jsonb to bool, numbers (NULL for JSON null since 18); moments to time (NULL for infinity)."""

_OPERATORS = _words("""
    = <> < <= > >= + - * / % ^ || ~~ !~~ ~~* !~~* ~ !~ ~* !~* & | # << >> @> <@ && ? ?| ?& #- ^@
    |/ ||/ @ <<= >>= &< &> -|- @@ ~<~ ~<=~ ~>~ ~>=~ *= *<> *< *<= *> *>= !!
""")

ALWAYS = _words("""
    concat json_build_object json_build_array jsonb_build_object jsonb_build_array
    quote_nullable pg_typeof num_nulls num_nonnulls array_append array_prepend
    int4range int8range numrange daterange tsrange tstzrange enum_range enum_first enum_last
""")
"""Never NULL, whatever the arguments; but ``f(VARIADIC NULL)`` is."""

ENOUGH: dict[str, tuple[int, ...]] = {
    "concat_ws": (0,),
    "format": (0,),
    "string_to_array": (0,),
    "array_positions": (0,),
    "array_to_string": (0, 1),
    "array_remove": (0,),
    "array_replace": (0,),
}
"""Not strict: never NULL where the arguments at these places are not."""

FINITE_OR_NOT = _words("""
    year years yr y isoyear decade decades dec century centuries c millennium millenniums mil
    millennia epoch julian
""")
"""Fields that `extract` finds in infinity too."""

COUNTS = _words("count regr_count")
"""Aggregates that are 0, not NULL, where there is nothing."""

AGGREGATES: dict[str, bool] = {
    **dict.fromkeys(_words("array_agg json_agg jsonb_agg json_object_agg jsonb_object_agg"), False),
    **dict.fromkeys(
        _words(
            """
            sum min max avg bool_and bool_or every string_agg bit_and bit_or bit_xor any_value
            var_pop stddev_pop range_agg range_intersect_agg covar_pop mode
            percentile_disc percentile_cont
        """
        ),
        True,
    ),
    **dict.fromkeys(_words("first_value last_value"), True),
}
"""Never NULL over one row or more; True = if the argument is not NULL in any of them."""

RANKS = _words("row_number rank dense_rank percent_rank cume_dist ntile")
"""Window functions that every row has."""

_MAKES_ROWS: dict[str, frozenset[int]] = {
    **dict.fromkeys(
        _words("""
            generate_series generate_subscripts regexp_split_to_table json_array_elements
            jsonb_array_elements json_object_keys jsonb_object_keys regexp_matches
        """),
        frozenset({1}),
    ),
    **dict.fromkeys(_words("json_each jsonb_each"), frozenset({1, 2})),
    **dict.fromkeys(_words("json_each_text jsonb_each_text"), frozenset({1})),
}
"""Set-returning functions, and which of their columns are never NULL."""


def makes_no_nulls(function: Function, column: int) -> bool:
    """Whether this column of a set-returning function is never NULL."""
    if not function.is_built_in:
        return False
    if function.name == "string_to_table":  # a third argument says what is read as NULL
        return len(function.arguments) == 2
    return column in _MAKES_ROWS.get(function.name, ())


def holds_for_function(function: Function) -> bool:
    """Whether a call ``f(a, b)`` is never NULL where a and b are not."""
    if not _may_be_judged(function):
        return False
    if function.name in _BY_ARGUMENTS:  # several of one name, and not all of them hold
        return function.arguments in _BY_ARGUMENTS[function.name]
    return function.name in _STRICT


def holds_for_cast(function: Function) -> bool:
    """Whether a cast by this function is never NULL where its value is not."""
    return _may_be_judged(function)


def holds_for_operator(name: str, function: Function) -> bool:
    """Whether ``a op b`` is never NULL where a and b are not."""
    if not _may_be_judged(function) or name not in _OPERATORS:
        return False
    return name != "@@" or set(function.arguments) <= _TEXT_SEARCH


def _may_be_judged(function: Function) -> bool:
    return (
        function.is_built_in
        and function.is_strict
        and function.oid not in _NO
        and GEOMETRIC.isdisjoint(function.arguments)
    )
