"""Random INSERT, UPDATE, DELETE and MERGE with RETURNING."""

from __future__ import annotations

from tests.describe.soundness import relations
from tests.describe.soundness.expressions import Column, Scope
from tests.describe.soundness.from_clauses import FromClauses

# By table: the columns and values of an INSERT, as templates.
_TARGETS = {
    "tag": ("label, person_id, weight", "coalesce(<text>, 'l'), coalesce(<int>, 1), <int>"),
    "team": ("id, name, motto", "coalesce(<int>, 1) + 100, coalesce(<text>, 'n'), <text>"),
    "void_table": ("id, label, val", "coalesce(<int>, 1), coalesce(<text>, 'l'), <int>"),
    "triggered": ("id, note, label", "coalesce(<int>, 1), <text>, coalesce(<text>, 'l')"),
    "event": ("id, day, kind, detail", "1, current_date, coalesce(<text>, 'k'), <json>"),
    "made": ("id, x", "1, <int>"),
    "v_instead": ("id, name", "1, coalesce(<text>, 'n')"),
    "ruled": ("id, label", "1, coalesce(<text>, 'l')"),
}
# By table: the assignments of an UPDATE, as templates.
_CHANGED = {
    "tag": ["weight = <int>", "label = coalesce(<text>, 'l')"],
    "team": ["motto = <text>", "founded = <date>", "name = coalesce(<text>, 'n')"],
    "person": ["nick = <text>", "team_id = null", "extra = <json>", "born = <date>"],
    "task": ["note = <text>", "note = null", "person_id = <int>"],
    "v_person": ["nick = <text>", "nick = null"],
    "v_instead": ["name = coalesce(<text>, 'n')"],
    "loose_parent": ["id = coalesce(<int>, 1)"],
    "dropped": ["nick = <text>", "nick = null"],
}
# The kinds of the columns of each table.
_KINDS = {**relations.RELATIONS}
_KINDS["triggered"] = [("id", "int"), ("note", "text"), ("label", "text")]
_KINDS["v_instead"] = [("id", "int"), ("name", "text")]
_KINDS["ruled"] = [("id", "int"), ("label", "text")]


def dml_statement(clauses: FromClauses, kinds: list[str] | None = None) -> str:
    """Return a random INSERT, UPDATE, DELETE or MERGE with RETURNING."""
    generate = clauses.dice.choice([_insert, _update, _update, _delete])
    if clauses.major >= 17 and kinds is None and clauses.chance(0.15):
        generate = _merge
    return generate(clauses, kinds)


def dml_cte(clauses: FromClauses) -> str:
    """Return a CTE that writes."""
    kinds = [clauses.dice.choice(["int", "text"]) for _ in range(2)]
    body = dml_statement(clauses, kinds)
    name = clauses.names.new("w")
    clauses.ctes.append((name, kinds))
    return f"{name}(c1, c2) as ({body})"


def _insert(clauses: FromClauses, kinds: list[str] | None) -> str:
    table = clauses.dice.choice([name for name in _TARGETS if kinds is None or name != "ruled"])
    columns, template = _TARGETS[table]
    source, scope = clauses.source([], 1)
    made = clauses.make.filled(template, scope, 1)
    conflict, limit = _conflict(clauses, table), 1 if table in ("team", "void_table") else 5
    return (
        f"insert into {table} as z({columns}) select {made} from {source} limit {limit}{conflict}"
        f"{_returning(clauses, _scope(table), kinds, table in ('team', 'tag'))}"
    )


def _conflict(clauses: FromClauses, table: str) -> str:
    if table != "team" or not clauses.chance(0.5):
        return ""
    where = " where z.motto is not null" if clauses.chance(0.5) else ""
    change = clauses.dice.choice(["motto = null", "motto = excluded.motto", "name = excluded.name"])
    return f" on conflict (id) do update set {change}{where}"


def _update(clauses: FromClauses, kinds: list[str] | None) -> str:
    table = clauses.dice.choice(list(_CHANGED))
    mine, joined, scope = _scope(table), "", _scope(table)
    if clauses.chance(0.5):
        source, more = clauses.source([], 1)
        joined, scope = f" from {source}", mine + more
    change = clauses.make.filled(clauses.dice.choice(_CHANGED[table]), scope, 1)
    where = f" where {clauses.condition(scope)}" if clauses.chance(0.7) else ""
    return (
        f"update {table} z set {change}{joined}{where}"
        f"{_returning(clauses, scope, kinds, table != 'v_instead')}"
    )


def _delete(clauses: FromClauses, kinds: list[str] | None) -> str:
    table = clauses.dice.choice(["tag", "task", "dropped", "event", "loose_parent", "v_renamed"])
    scope, joined = _scope(table), ""
    if clauses.chance(0.5):
        source, more = clauses.source([], 1)
        joined, scope = f" using {source}", scope + more
    where = f" where {clauses.condition(scope)}" if clauses.chance(0.8) else ""
    return f"delete from {table} z{joined}{where}{_returning(clauses, scope, kinds, True)}"


def _merge(clauses: FromClauses, kinds: list[str] | None) -> str:
    source, scope = clauses.relation()
    mine = _scope("tag")
    on = clauses.make.some("bool", mine + scope, 2, False)
    ways = [
        "when matched then update set weight = null",
        "when matched then delete",
        "when not matched then insert values ('m', 1, null)",
        "when not matched by source then update set weight = 1",
        "when not matched by source then delete",
    ]
    chosen = clauses.dice.sample(ways, clauses.dice.choice([1, 2]))
    return (
        f"merge into tag z using {source} on {on} {' '.join(sorted(chosen))}"
        f"{_returning(clauses, mine + scope, kinds, True)}"
    )


def _returning(
    clauses: FromClauses, scope: Scope, kinds: list[str] | None, has_versions: bool
) -> str:
    if clauses.major >= 18 and has_versions and clauses.chance(0.3):
        old = [column for column in scope if column.sql.startswith("z.")]
        for version in ("old", "new"):
            scope = scope + [Column(version + column.sql[1:], column.kind) for column in old]
    wanted = kinds or [clauses.dice.choice(["int", "text"]) for _ in range(6)]
    items = (clauses.make.some(kind, scope) for kind in wanted)
    plain = [column.sql for column in scope if kinds is None and clauses.chance(0.15)]
    return " returning " + ", ".join([*items, *plain])


def _scope(table: str) -> Scope:
    return [Column(f"z.{name}", kind) for name, kind in _KINDS[table]]
