"""The words of a statement of MySQL or MariaDB, and the functions whose flags are right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sqla_typedpool.tokens import tokens


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


AGGREGATES = _words("""
    any_value avg bit_and bit_or bit_xor count group_concat json_arrayagg json_objectagg max min std
    stddev stddev_pop stddev_samp sum var_pop var_samp variance
""")
# Neither aggregates nor functions whose flags are wrong.
FUNCTIONS = _words("""
    ascii bin bit_count bit_length char char_length character_length concat concat_ws elt field
    find_in_set format from_base64 hex insert instr lcase left length locate lower lpad ltrim md5
    mid oct octet_length ord position quote regexp_instr regexp_replace regexp_substr repeat replace
    reverse right rpad rtrim sha1 sha2 space strcmp substr substring substring_index to_base64 trim
    ucase unhex upper
    abs acos asin atan atan2 ceil ceiling conv cos cot crc32 degrees exp floor ln log log10 log2 mod
    pi pow power radians rand round sign sin sqrt tan truncate
    adddate addtime curdate current_date current_time current_timestamp curtime date date_add
    date_format date_sub datediff day dayname dayofmonth dayofweek dayofyear extract from_days
    from_unixtime hour last_day localtime localtimestamp makedate maketime microsecond minute month
    monthname now period_add period_diff quarter sec_to_time second str_to_date subdate subtime
    sysdate time time_format time_to_sec timediff timestamp timestampadd timestampdiff to_days
    to_seconds unix_timestamp utc_date utc_time utc_timestamp week weekday weekofyear year yearweek
    cast coalesce convert greatest if ifnull interval isnull least nullif
    connection_id current_user database last_insert_id schema user uuid version
    cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank
    row_number
""")
# Not aggregates either, but some of their flags are wrong; so are those of JSON functions.
UNRELIABLE = _words("against all any match row some")
# Words that may stand before a parenthesis and are no functions. After the first ones, commas
# separate values or names; after the others they make a row: (1, 2) = (SELECT ...).
LIST_WORDS = _words("as by decimal from in index join key over partition using value values")
OTHER_WORDS = _words("""
    and between binary case distinct div else except exists having intersect is like limit not on or
    regexp rlike select set then union when where xor
""")
# Clauses after the tables of a query.
AFTER_FROM = _words("""
    where group having order limit offset fetch window for lock into procedure union except
    intersect minus rows returning
""")
STATEMENTS = _words("( delete insert replace select update values with")


def words_of(sql: str) -> list[str]:
    """Return the tokens of a statement in lower case."""
    return [token.text.lower() for token in tokens(standard(sql))]


def functions_of(words: Sequence[str]) -> Iterator[str]:
    """Yield each name before a parenthesis, unless it is a keyword, a table or a type.

    A qualified name is of a stored function. It is yielded as ".", which no list contains.
    """
    for index, word in enumerate(words):
        if word != "(" or index == 0 or not re.match(r'[\w"]', words[index - 1]):
            continue
        start = index - 1
        while start > 1 and words[start - 1] == ".":
            start -= 2
        name = "." if start < index - 1 else words[start]
        before = words[start - 1] if start else ""
        is_set_operation = name == "all" and before in ("union", "except", "intersect")
        is_table_or_type = before in ("into", "as", "with", "recursive")
        if not (name in LIST_WORDS | OTHER_WORDS or is_set_operation or is_table_or_type):
            yield name


def standard(sql: str) -> str:
    """Return a statement with names quoted as in standard SQL."""
    return sql.replace("`", '"')


def enum_labels(column_type: str) -> tuple[str, ...]:
    """Return the labels of a type: ``enum('a','b')`` -> a, b."""
    found = re.findall(r"'((?:[^']|'')*)'", column_type)
    return tuple(label.replace("''", "'") for label in found)
