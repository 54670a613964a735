"""PostgreSQL's text of node trees is parsed into Python objects, without a server."""

from __future__ import annotations

import pytest

from sqla_typedpool.describe.postgres.nodes import Datum, Node, nodes_in, parse_nodes, type_oid


def test_a_node_has_its_fields_by_name() -> None:
    node = parse_nodes("{VAR :varno 1 :varattno 2 :varcollid 0 :location 89}")
    assert node == Node("VAR", {"varno": "1", "varattno": "2", "varcollid": "0"})
    assert node.number("varno") == 1


def test_a_field_that_the_node_does_not_have_is_empty() -> None:
    node = parse_nodes("{VAR :varno 1}")
    assert node.varreturningtype is None
    assert node.number("varreturningtype") == 0
    assert not node.flag("inh")
    assert node.nodes("args") == []


@pytest.mark.parametrize("name", ["ARRAY", "CASE", "COALESCE", "COLLATE", "MINMAX", "ROW"])
def test_a_node_of_postgresql_14_has_the_name_of_later_versions(name: str) -> None:
    assert parse_nodes(f"{{{name} :args <>}}") == Node(f"{name}EXPR", {"args": None})


def test_a_list_contains_nodes_strings_or_numbers() -> None:
    tree = parse_nodes('{X :a ({Y :b <>} {Y :b true}) :c ("id" "a\\ b" "b") :d (i 1 2) :e (b 8 9)}')
    assert [each.b for each in tree.a] == [None, "true"]
    assert tree.c == ["id", "a b", "b"]
    assert (tree.d, tree.e) == (["1", "2"], ["8", "9"])


def test_a_name_may_look_like_a_field_a_bracket_or_null() -> None:
    tree = parse_nodes("{T :resname :a\\ b :alias [ :other \\<> :last \\5 :empty <>}")
    assert (tree.resname, tree.alias, tree.other) == (":a b", "[", "<>")
    assert (tree.last, tree.empty) == ("5", None)


def test_a_constant_keeps_its_bytes() -> None:
    tree = parse_nodes("{CONST :constisnull false :constvalue 4 [ -96 0 1 127 ] :after 1}")
    assert tree.constvalue == Datum(b"\xa0\x00\x01\x7f")
    assert tree.after == "1"


def test_only_ascii_whitespace_separates_tokens() -> None:
    assert parse_nodes("{T :name a\u00a0b}").name == "a\u00a0b"


def test_the_type_of_an_expression_is_a_field_whose_name_depends_on_the_kind() -> None:
    expressions = parse_nodes("({VAR :vartype 23} {CONST :consttype 25} {FUTUREEXPR :a 1})")
    assert [type_oid(each) for each in expressions] == [23, 25, 0]


def test_the_nodes_of_a_tree_include_or_leave_out_subqueries() -> None:
    tree = parse_nodes("({A :x {B :y 1}} {SUBLINK :subselect {QUERY :targetList ({C :z 1})}})")
    assert {node.kind for node in nodes_in(tree)} == {"A", "B", "SUBLINK", "QUERY", "C"}
    assert {node.kind for node in nodes_in(tree, subqueries=False)} == {"A", "B", "SUBLINK"}


def test_a_tree_that_is_nested_too_deeply_is_an_error() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_nodes("(" * 5000)


@pytest.mark.parametrize("text", ["", "{QUERY :a", "{QUERY a}", "}", "{A} {B}"])
def test_text_that_is_not_a_tree_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a node tree|more than one"):
        parse_nodes(text)
