"""What RETURNING returns: the new row, the old one, or what a trigger or rule made of it."""

from __future__ import annotations

from .case import Case

CASES = [
    Case(
        "INSERT",
        "insert into task(id, title, hours, prio) values (50, 't', 1, 1)"
        " returning id, title, note, id + 1, coalesce(note, 'x')",
        "00100",
    ),
    Case(
        "INSERT ... SELECT over an outer join",
        "insert into tag(label, person_id, weight)"
        " select p.name, p.id, t.id from person p left join team t on t.id = p.team_id"
        " returning label, weight",
        "01",
    ),
    Case(
        "INSERT with a sublink",
        "insert into team(id, name, motto) values (50, 'n', (select name"
        " from team where id = 77)) returning name, motto, (select 1 where false)",
        "011",
    ),
    Case(
        "a trigger changes the new row",
        "insert into triggered values (1, 'x', 'l') returning id, note, label",
        "010",
    ),
    Case(
        "a trigger changes the updated row",
        "update triggered set note = 'y' where note is not null returning note",
        "1",
        data="alter table triggered disable trigger lose;"
        " insert into triggered values (1, 'x', 'l'); alter table triggered enable trigger lose",
    ),
    Case(
        "INSERT into a view with INSTEAD OF",
        "insert into v_instead values (60, 'x') returning id, name",
        "01",
    ),
    Case(
        "UPDATE of a view with INSTEAD OF",
        "update v_instead set name = 'z' returning id, name",
        "01",
    ),
    Case(
        "INSERT with a rule instead", "insert into ruled values (1, 'x') returning id, label", "01"
    ),
    Case(
        "INSERT into a plain view",
        "insert into v_renamed values (70, 'w') returning key, word",
        "00",
        data="alter table task alter hours set default 0, alter prio set default 1",
    ),
    Case(
        "ON CONFLICT DO NOTHING",
        "insert into team values (1, 'x') on conflict do nothing returning id, motto",
        "01",
        data="delete from team where id not in"
        " (select team_id from person where team_id is not null); set local"
        " session_replication_role = replica; delete from team",
    ),
    Case(
        "ON CONFLICT DO UPDATE",
        "insert into team values (1, 'x', 'm') on conflict (id)"
        " do update set motto = null, name = excluded.name returning id, name, motto",
        "001",
        data="insert into team values (1, 'y') on conflict do nothing",
    ),
    Case(
        "ON CONFLICT DO UPDATE with a WHERE about the old row",
        "insert into team values"
        " (1, 'x', 'm') on conflict (id) do update set motto = null where team.motto is not null"
        " returning motto",
        "1",
        data="insert into team values (1, 'y', 'm') on conflict do nothing",
    ),
    Case(
        "UPDATE: the WHERE holds for the old row only",
        "update task set note = null where note is not null returning id, note",
        "01",
    ),
    Case(
        "UPDATE: a strict WHERE about a column that is set",
        "update person set nick = null,"
        " team_id = null where nick > '' and team_id > 0 returning nick, team_id, name",
        "110",
    ),
    Case(
        "UPDATE: a WHERE about a column that is not set",
        "update task set title = 'x' where note is not null returning title, note",
        "00",
    ),
    Case(
        "UPDATE ... FROM",
        "update person p set nick = t.motto from team t where t.id = p.team_id"
        " returning p.nick, p.team_id, t.name, t.motto",
        "1001",
    ),
    Case(
        "UPDATE ... FROM: the join column is set",
        "update person p set team_id = null from team t"
        " where t.id = p.team_id returning p.team_id, t.id",
        "10",
    ),
    Case(
        "UPDATE ... FROM an outer join",
        "update person p set nick = 'u' from team t left join"
        " task k on k.id = t.id + 7 where t.id = p.team_id returning p.name, t.name, k.title",
        "001",
    ),
    Case(
        "UPDATE through a view with a WHERE",
        "update v_where set nick = null returning id, nick",
        "01",
    ),
    Case(
        "UPDATE through a view about its own column",
        "update v_person set nick = null where nick is not null returning nick",
        "1",
    ),
    Case(
        "UPDATE of a row of columns",
        "update task set (note, done_at) = (select null::text,"
        " null::timestamp) returning note, done_at, title",
        "110",
    ),
    Case("UPDATE of a parent", "update doubt_parent set id = id returning label", "1"),
    Case(
        "UPDATE of a partitioned table",
        "update event set detail = null where detail is not null returning kind, detail",
        "01",
    ),
    Case(
        "DELETE: the WHERE holds for the row that is returned",
        "delete from task where note is not null returning note, done_at",
        "01",
        data="update task set done_at = null",
    ),
    Case(
        "DELETE ... USING an outer join",
        "delete from task k using team t left join tag g"
        " on g.weight = t.id + 1 where t.id = k.id returning k.title, t.name, g.label",
        "001",
    ),
    Case(
        "a CTE that deletes",
        "with d as (delete from tag returning label, weight)"
        " select label, weight, (select count(*) from d) from d",
        "010",
    ),
    Case(
        "a CTE that updates what it asked for",
        "with u as (update task set note = null"
        " where note is not null returning id, note) select id, note from u",
        "01",
    ),
    Case(
        "a CTE that inserts, on the missing side",
        "with i as (insert into tag values"
        " ('n', 5, null) returning label, person_id) select t.id, i.label from team t left join i"
        " on i.person_id = t.id",
        "01",
    ),
    Case(
        "a CTE that writes and is joined",
        "with u as (update person set nick = null"
        " where id < 4 returning id, nick, name) select u.nick, u.name, k.title from u"
        " left join task k on k.person_id = u.id",
        "101",
    ),
    Case(
        "INSERT from a CTE that deletes",
        "with d as (delete from tag returning *) insert into"
        " tag select label, person_id, null from d returning label, weight",
        "01",
    ),
    Case("RETURNING a whole row", "update team t set motto = null returning t, t.*", "000111"),
    Case(
        "RETURNING an aggregate in a sublink",
        "update team set motto = null returning"
        " (select count(*) from task), (select max(id) from void_table), tableoid::regclass::text",
        "010",
    ),
    Case(
        "the old and the new row of an UPDATE",
        "update task set note = null returning old.note, new.note, old.id, new.title",
        "1100",
        since=18,
    ),
    Case(
        "the old row of an INSERT",
        "insert into team values (90, 'x') returning old.id, new.id, old, new.name",
        "1010",
        since=18,
    ),
    Case(
        "the new row of a DELETE", "delete from tag returning old.label, new.label", "01", since=18
    ),
    Case(
        "the old row of an UPDATE WHERE",
        "update task set note = null where note is not null returning old.note, new.note",
        "01",
        since=18,
    ),
    Case(
        "the old row of ON CONFLICT",
        "insert into team values (1, 'x') on conflict (id)"
        " do update set name = 'q' returning old.name, new.name",
        "10",
        since=18,
    ),
    Case(
        "MERGE",
        "merge into tag g using person p on g.person_id = p.id when matched then update"
        " set weight = null when not matched then insert values ('m', p.id, null) returning"
        " merge_action(), p.name, g.label, g.weight",
        "0001",
        since=17,
    ),
    Case(
        "MERGE WHEN NOT MATCHED BY SOURCE",
        "merge into task k using team t on k.id = t.id"
        " when not matched by source then update set note = 'x' when matched then do nothing"
        " returning t.name, k.title",
        "10",
        since=17,
    ),
    Case(
        "MERGE that deletes",
        "merge into tag g using person p on g.person_id = p.id"
        " when matched then delete returning g.label, old.label, new.label",
        "001",
        since=18,
    ),
]
