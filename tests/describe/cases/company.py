"""The schema `company` of PostgreSQL: relations, functions and types of every kind.

Each data set fills a copy of it, so that one statement can be executed over many rows, over few
and over none.
"""

from __future__ import annotations

TYPES = """
create type mood as enum ('sad', 'ok', 'happy');
create type pair as (a int, b text);
create domain posint as int check (value > 0);
create domain must_int as int not null;
create domain free_text as text;
"""

TABLES = """
create table team(id int primary key, name text not null, motto text, founded date,
    budget numeric);
create table person(id int primary key, team_id int references team, boss_id int,
    name text not null, nick text, mood mood not null, last_mood mood, born date,
    tags text[] not null, scores int[], data jsonb not null, extra jsonb,
    joined timestamptz not null, span int4range not null, home pair, flag boolean,
    is_admin boolean not null, rank_no posint not null, wish free_text);
create table task(id int primary key, person_id int, title text not null, done_at timestamp,
    hours numeric not null, prio int not null, note text, cost float8);
create table tag(label text not null, person_id int not null, weight int);
create table void_table(id int primary key, label text not null, val int);
create table dropped(gone_a int not null, id int not null, gone_b text, nick text,
    label text not null);
alter table dropped drop column gone_a, drop column gone_b;

create table event(id int not null, day date not null, kind text not null, detail jsonb)
    partition by range (day);
create table event_old partition of event for values from ('2000-01-01') to ('2020-01-01');
create table event_new partition of event default;

create table base_item(id int not null, label text not null, x int);
create table sub_item(extra_col int not null) inherits (base_item);

create table loose_parent(id int not null, label text not null);
create table loose_child() inherits (loose_parent);

create table with_domain(id int not null, must must_int, pos posint not null);
create table triggered(id int not null, note text, label text not null);
create table made(id int not null, x int, double_x int generated always as (x * 2) stored,
    fixed int generated always as identity);
create table ruled(id int not null, label text not null);
create table ruled_log(id int, label text);
create sequence counter;
create table composite_home(id int not null, home pair not null, homes pair[] not null);
create table j(id int not null, doc json not null, doc2 jsonb not null);
"""

# The NOT NULL of a parent does not always apply to its children; how to drop it depends on the
# version. Then `select label from loose_parent` returns NULL for a column marked NOT NULL.
CHILD_UNTIL_17 = "alter table loose_child alter column label drop not null;"
CHILD_FROM_18 = """
drop table loose_child, loose_parent;
create table loose_parent(id int not null, label text,
    constraint label_here not null label no inherit);
create table loose_child() inherits (loose_parent);
create table not_valid(id int not null, note text);
insert into not_valid values (1, null), (2, 'x');
alter table not_valid add constraint some_day not null note not valid;
create table virtual(id int not null, x int, y int generated always as (x + 1) virtual,
    z int generated always as (id + 1) virtual);
"""

VIEWS = """
create view v_person as select id, name, nick, team_id from person;
create view v_left as select p.id, p.name, t.name as team_name, t.id as team_id
    from person p left join team t on t.id = p.team_id;
create view v_nested as select v.id, v.team_name, k.title from v_left v left join task k
    on k.person_id = v.id;
create view v_where as select id, nick from person where nick is not null;
create view v_barrier with (security_barrier) as select id, name, nick from person where nick > '';
create view v_union as select id, name from team union all select id, nick from person;
create view v_rollup as select team_id, name, count(*) as n from person
    group by rollup (team_id, name);
create view v_renamed(key, word) as select id, title from task;
create view v_inner as select p.id, t.name from person p join team t on t.id = p.team_id;
create materialized view m_person as select id, name, nick from person;
create recursive view v_chain(id, boss) as select id, boss_id from person where boss_id is null
    union all select p.id, p.boss_id from person p join v_chain c on p.boss_id = c.id;
create view v_only as select id, label from only loose_parent;
create view v_instead as select id, name from team;
create view v_function as select * from set_of_team() f;
create view v_const as select id, 'k'::text as k, array[note] as notes from task;
create view v_checked as select id, nick from person where nick is not null with check option;
create view v_parent as select * from loose_parent;
"""

FUNCTIONS = """
create function strict_null(int) returns int strict immutable language sql as 'select null::int';
create function strict_same(x int) returns int strict immutable language sql as 'select x';
create function loose_null(int) returns int immutable language sql as 'select null::int';
create function plain_null(int) returns int strict immutable language plpgsql
    as 'begin return null; end';
create function set_of_team() returns setof team language sql
    as 'select 1, null::text, null::text, null::date, null::numeric';
create function one_team(int) returns team language sql
    as 'select t from team t where t.id = $1';
create function set_of_int() returns setof int language sql as 'select null::int union select 1';
create function as_table(n int) returns table(x int, y text) language sql
    as 'select n, null::text union all select n, ''y''';
create function outs(in n int, out o1 int, out o2 text) language sql as 'select n, null::text';
create function add_text(text, text) returns text immutable language sql
    as 'select coalesce($1, '''') || coalesce($2, '''')';
create function always_true(text, text) returns boolean immutable language sql as 'select true';
create function mood_number(mood) returns int strict immutable language sql
    as 'select case when $1 = ''sad'' then null else 1 end';
create operator ~~~> (leftarg = text, rightarg = text, function = always_true);
create operator !@ (rightarg = int, function = strict_null);
create cast (mood as int) with function mood_number(mood);
create function keep_last(int, int) returns int immutable language sql as 'select $2';
create aggregate last_of(int) (sfunc = keep_last, stype = int);
create function to_nothing(int) returns int immutable language sql as 'select null::int';
create aggregate count_not(int) (sfunc = keep_last, stype = int, finalfunc = to_nothing,
    initcond = '0');
create function next_of(x int) returns int language sql as 'select x + 1;';
create function strict_next(x int) returns int strict language sql as 'select next_of(x)';
create function second(x int, y int default 2) returns int language sql as 'select y';
create function first_word(text) returns text language sql return coalesce($1, 'none');
create function team_count() returns bigint language sql
    begin atomic select count(*) from team; end;
create function team_name(x int) returns text language sql as
    'select name from team where id = x';
create function two_statements(x int) returns int language sql as 'select x; select null::int';
create function on_its_path(x int) returns int language sql set search_path to shadow
    as 'select x + 1';

create schema shadow;
create function shadow.lower(text) returns text strict immutable language sql
    as 'select null::text';
create function shadow.null_concat(text, text) returns text strict immutable language sql
    as 'select null::text';
create operator shadow.|| (leftarg = text, rightarg = text, function = shadow.null_concat);
create aggregate shadow.count(int) (sfunc = keep_last, stype = int);
create function shadow.coalesce_int(int, int) returns int immutable language sql
    as 'select null::int';

create function lose_note() returns trigger language plpgsql
    as 'begin new.note := null; return new; end';
create function lose_name() returns trigger language plpgsql
    as 'begin new.name := null; return new; end';
"""

# The second field of the foreign table is empty, which is NULL in CSV.
FOREIGN = """
do $$ begin
    if exists (select from pg_available_extensions where name = 'file_fdw') then
        create extension file_fdw;
        create server files foreign data wrapper file_fdw;
        create foreign table far(id int not null, label text not null) server files
            options (program 'echo 1,', format 'csv');
    end if;
end $$;
"""

TRIGGERS = """
create trigger lose before insert or update on triggered for each row execute function lose_note();
create trigger instead instead of insert or update on v_instead
    for each row execute function lose_name();
create rule soft as on delete to ruled do instead
    delete from ruled_log where id = old.id returning id, null::text;
create rule log_it as on insert to ruled do instead
    insert into ruled_log values (new.id, null) returning id, label;
"""

RICH = """
insert into team values (1, 'red', 'go', '2001-01-01', 10.5), (2, 'blue', null, null, null),
    (3, 'empty', null, '1999-05-05', 0), (8, 'far', null, null, null);
insert into person values
    (1, 1, null, 'ann', 'a', 'happy', 'ok', '1980-02-03', '{x,y}', '{1,2}',
     '{"k": 1, "s": "t", "a": [1, null]}', '{"z": null}', '2020-01-01', '[1,5)', (1, 'h'), true,
     true, 1, 'w'),
    (2, 1, 1, 'bob', null, 'ok', null, null, '{}', null, '{}', null, '2021-06-06', '(,)', null,
     null, false, 2, null),
    (3, null, 1, 'cid', null, 'sad', 'sad', null, '{NULL,z}', '{NULL,3}', '{"k": null}', 'null',
     'infinity', 'empty', (null, null), false, false, 3, null),
    (4, 2, 2, 'dan', 'd', 'ok', null, null, '{q}', '{}', '{"k": "v"}', '{"z": 2}',
     '2019-01-01', '[3,)', (2, null), true, false, 1, null),
    (5, 2, null, '', '', 'happy', 'happy', 'infinity', '{}', '{5}', '[]', '[1]', '-infinity',
     '[2,3)', null, null, true, 9, '');
insert into task values
    (1, 1, 'wash', '2022-01-01', 1.5, 1, 'n', 0.5), (2, 1, 'cook', null, 0, 2, null, null),
    (3, null, 'lost', null, 'NaN', 3, null, 'NaN'), (4, 4, 'fix', 'infinity', 2, 1, '', 1),
    (5, 99, 'orphan', '2022-03-03', 7, 5, 'z', null);
insert into tag values ('x', 1, 1), ('x', 2, null), ('y', 1, null), ('z', 4, 3);
insert into dropped values (1, null, 'l'), (2, 'n', 'm'), (9, null, 'o');
insert into event values (1, '2010-01-01', 'a', null), (2, '2024-01-01', 'b', '{"k": 1}');
insert into base_item values (1, 'b', null);
insert into sub_item values (2, 's', 5, 7), (3, 't', null, 8);
insert into loose_parent values (1, 'p');
insert into loose_child values (2, null);
insert into with_domain values (1, (select must from with_domain where false), 1), (2, 2, 2);
insert into made(id, x) values (1, null), (2, 2);
insert into composite_home values (1, (null, null), array[null, (1, 'x')]::pair[]),
    (2, (1, 'b'), '{}');
alter table ruled disable rule log_it;
insert into ruled values (5, 'r');
alter table ruled enable rule log_it;
insert into ruled_log values (5, 'r');
insert into j values (1, '{"k": 1}', '{"k": null}'), (2, 'null', 'null');
refresh materialized view m_person;
"""

# Every outer join lacks its right side, and most aggregates are over no rows.
SPARSE = """
insert into person values
    (7, null, null, 'eve', null, 'sad', null, null, '{}', null, 'null', null, '2020-01-01', 'empty',
     null, null, false, 1, null);
insert into task values (1, null, 'alone', null, 0, 1, null, null);
insert into with_domain values (1, (select must from with_domain where false), 1);
refresh materialized view m_person;
"""

# Joins return the same rows as over RICH, and every other nullable column is NULL.
HOLLOW = (
    RICH
    + """
update team set motto = null, founded = null, budget = null;
update person set nick = null, last_mood = null, born = null, scores = null, extra = null,
    home = null, flag = null, wish = null, data = 'null';
update task set note = null, done_at = null, cost = null;
update tag set weight = null;
delete from task where id = 1;
refresh materialized view m_person;
"""
)

DATA_SETS = {"rich": RICH, "hollow": HOLLOW, "sparse": SPARSE, "empty": ""}


def structure(major: int) -> str:
    """Return the statements that create the schema on a server of this major version."""
    child = CHILD_FROM_18 if major >= 18 else CHILD_UNTIL_17
    return TYPES + TABLES + child + FUNCTIONS + VIEWS + FOREIGN + TRIGGERS
