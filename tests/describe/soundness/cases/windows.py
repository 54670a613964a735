"""Window functions: frames that may be empty, rows that are not there."""

from __future__ import annotations

from .case import Case

CASES = [
    Case(
        "windows: ranks",
        "select row_number() over (), rank() over (order by nick), dense_rank()"
        " over (order by nick), percent_rank() over (order by nick), cume_dist() over"
        " (order by nick), ntile(2) over (order by id) from person",
        "000000",
    ),
    Case(
        "ntile of NULL",
        "select ntile(null) over (), ntile(cast(:p as int)) over () from person",
        "11",
    ),
    Case(
        "lag and lead",
        "select lag(name) over w, lead(id) over w, lag(id, 0) over w,"
        " lag(name, 1, 'x') over w, lag(name, 1, nick) over w, lag(name, null) over w,"
        " lag(nick, 1, 'x') over w from person window w as (order by id)",
        "1100111",
    ),
    Case(
        "first and last value",
        "select first_value(name) over w, last_value(name) over w,"
        " nth_value(name, 2) over w, nth_value(name, 1) over w, first_value(nick) over w"
        " from person window w as (order by id)",
        "00101",
    ),
    Case(
        "frames that may be empty",
        "select sum(id) over (order by id rows between 1 preceding"
        " and 1 preceding), first_value(id) over (order by id rows between 1 following and"
        " 2 following), count(*) over (order by id rows between 1 preceding and 1 preceding),"
        " max(id) over (order by id rows between unbounded preceding and 1 preceding)"
        " from person",
        "1101",
    ),
    Case(
        "frames that leave the row out",
        "select max(id) over (order by id rows between current"
        " row and current row exclude current row), sum(id) over (partition by id rows between"
        " unbounded preceding and unbounded following exclude group), min(id) over ()"
        " from person",
        "110",
    ),
    Case(
        "frames that hold the row",
        "select sum(id) over (order by id), max(name) over"
        " (partition by team_id), array_agg(nick) over (order by id rows 1 preceding),"
        " max(nick) over (order by id) from person",
        "0001",
        data="update person set nick = null",
    ),
    Case(
        "range frames over a nullable order",
        "select sum(id) over (order by team_id range"
        " between 1 following and 2 following), count(nick) over (order by team_id range"
        " between 1 following and 2 following) from person",
        "10",
    ),
    Case(
        "windows with FILTER",
        "select max(id) filter (where id > 100) over (), count(*) filter"
        " (where id > 100) over () from person",
        "10",
    ),
    Case(
        "windows over nothing give no rows",
        "select max(id) over (), sum(id) over (),"
        " avg(val) over (), count(val) over () from void_table",
        "0010",
        data="insert into void_table values (1, 'l', null)",
    ),
    Case(
        "groups frame",
        "select first_value(name) over (order by team_id groups between"
        " 1 preceding and 1 preceding), last_value(name) over (order by team_id groups"
        " 1 preceding) from person",
        "10",
    ),
    Case(
        "a window in an expression",
        "select coalesce(lag(id) over (order by id), 0),"
        " id - lag(id) over (order by id), row_number() over () + 1 from person",
        "010",
    ),
    Case(
        "both arguments of an aggregate count",
        "select covar_pop(prio, cost) over (), covar_pop(cost, prio) over (),"
        " covar_pop(id, id) over (), string_agg(title, null) over () from task",
        "1100",
        data="update task set cost = null",
    ),
]
