"""The relations of the generator: tables, views, and functions that return sets."""

from __future__ import annotations

_PERSON = (
    "id int team_id int boss_id int name text nick text mood mood last_mood mood born date"
    " tags texts scores ints data json extra json joined ts span span home pair flag bool"
    " is_admin bool rank_no int wish text"
)
_TASK = "id int person_id int title text done_at other hours num prio int note text cost other"


def _columns(text: str) -> list[tuple[str, str]]:
    words = text.split()
    return list(zip(words[::2], words[1::2], strict=True))


RELATIONS = {
    name: _columns(text)
    for name, text in {
        "team": "id int name text motto text founded date budget num",
        "person": _PERSON,
        "task": _TASK,
        "tag": "label text person_id int weight int",
        "void_table": "id int label text val int",
        "dropped": "id int nick text label text",
        "event": "id int day date kind text detail json",
        "event_new": "id int day date kind text detail json",
        "base_item": "id int label text x int",
        "sub_item": "id int label text x int extra_col int",
        "loose_parent": "id int label text",
        "with_domain": "id int must other pos int",
        "made": "id int x int double_x int fixed int",
        "composite_home": "id int home pair homes other",
        "v_person": "id int name text nick text team_id int",
        "v_left": "id int name text team_name text team_id int",
        "v_nested": "id int team_name text title text",
        "v_where": "id int nick text",
        "v_barrier": "id int name text nick text",
        "v_union": "id int name text",
        "v_rollup": "team_id int name text n other",
        "v_renamed": "key int word text",
        "v_inner": "id int name text",
        "v_chain": "id int boss int",
        "v_only": "id int label text",
        "v_function": "id int name text motto text founded date budget num",
        "v_parent": "id int label text",
        "m_person": "id int name text nick text",
    }.items()
}

# Functions in FROM: the call, and the kinds of the columns.
SETS = [
    ("generate_series(1, <int> % 3) as {0}(c1)", ["int"]),
    ("generate_series(1, 2) as {0}(c1)", ["int"]),
    ("unnest(<texts>) as {0}(c1)", ["text"]),
    ("unnest(array[<int>, 1]) as {0}(c1)", ["int"]),
    ("unnest(array[array[<int>, 1], array[2, <int>]]) as {0}(c1)", ["int"]),
    ("unnest(<ints>) with ordinality as {0}(c1, c2)", ["int", "other"]),
    ("unnest(<texts>, <ints>) as {0}(c1, c2)", ["text", "int"]),
    ("rows from (generate_series(1, 2), unnest(<texts>)) as {0}(c1, c2)", ["int", "text"]),
    ("jsonb_each_text(jsonb_build_object('k', <text>)) as {0}(c1, c2)", ["text", "text"]),
    ("jsonb_array_elements(jsonb_build_array(<int>, 1)) as {0}(c1)", ["json"]),
    ("jsonb_array_elements_text(jsonb_build_array(<text>, 1)) as {0}(c1)", ["text"]),
    ("jsonb_to_recordset('[{\"c1\": 1}, {}]') as {0}(c1 int, c2 text)", ["int", "text"]),
    ("regexp_split_to_table(<text>, ',') as {0}(c1)", ["text"]),
    ("string_to_table(<text>, ',', 'a') as {0}(c1)", ["text"]),
    ("as_table(<int>) as {0}(c1, c2)", ["int", "text"]),
    ("outs(<int>) as {0}(c1, c2)", ["int", "text"]),
    ("set_of_int() as {0}(c1)", ["int"]),
    ("one_team(<int>) as {0}(c1, c2, c3, c4, c5)", ["int", "text", "text", "date", "num"]),
    ("set_of_team() as {0}(c1, c2, c3, c4, c5)", ["int", "text", "text", "date", "num"]),
    ("lower(<text>) as {0}(c1)", ["text"]),
    ("strict_null(<int>) as {0}(c1)", ["int"]),
    ("generate_subscripts(<texts>, 1) as {0}(c1)", ["int"]),
]

# Functions that return sets, in the output list.
OUTPUT_SETS = [
    ("int", "generate_series(1, 2)"),
    ("int", "generate_series(1, <int> % 3) + 1"),
    ("text", "unnest(<texts>)"),
    ("int", "unnest(<ints>)"),
    ("text", "lower(unnest(array[<text>, <text>]))"),
    ("text", "jsonb_object_keys(jsonb_build_object('a', <int>))"),
    ("json", "jsonb_array_elements(jsonb_build_array(<text>))"),
]
