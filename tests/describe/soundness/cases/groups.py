"""Aggregates over nothing, grouping sets, HAVING."""

from __future__ import annotations

from .case import Case

CASES = [
    Case(
        "aggregates without GROUP BY over nothing",
        "select count(*), count(nick), max(id),"
        " sum(id), avg(id), bool_and(is_admin), string_agg(name, ','), array_agg(name),"
        " jsonb_agg(name), every(is_admin), bit_or(id) from person",
        "00111111111",
    ),
    Case(
        "aggregates of groups",
        "select team_id, count(*), max(name), max(nick), sum(id),"
        " avg(id), array_agg(nick), jsonb_agg(nick), string_agg(name, ','), string_agg(nick, ',')"
        " from person group by team_id",
        "1001000001",
    ),
    Case(
        "aggregates of groups with FILTER",
        "select count(*) filter (where id > 100),"
        " max(name) filter (where id > 100), array_agg(id) filter (where id > 100)"
        " from person group by team_id",
        "011",
    ),
    Case(
        "spread of one value",
        "select stddev(id), var_samp(id), stddev_samp(id) from person group by id",
        "111",
    ),
    Case("population spread", "select stddev_pop(id), var_pop(id) from person group by id", "00"),
    Case(
        "correlation",
        "select corr(id, rank_no), regr_slope(id, rank_no), regr_count(id, 1)"
        " from person group by id",
        "110",
    ),
    Case(
        "covariance of a sample",
        "select covar_samp(id, id), covar_pop(id, id) from person group by id",
        "10",
    ),
    Case(
        "ordered-set aggregates of groups",
        "select mode() within group (order by name),"
        " mode() within group (order by nick), percentile_disc(0.5) within group (order by id),"
        " percentile_cont(0.5) within group (order by hours) from person p"
        " join task k using (id) group by team_id",
        "0100",
    ),
    Case(
        "a percentile of NULL",
        "select percentile_disc(null) within group (order by id),"
        " percentile_disc(cast(:p as float8)) within group (order by id) from person"
        " group by team_id",
        "11",
    ),
    Case(
        "ordered-set aggregates over nothing",
        "select mode() within group (order by name),"
        " percentile_disc(0.5) within group (order by id) from void_table v"
        " join person using (id)",
        "11",
    ),
    Case(
        "hypothetical-set aggregates over nothing",
        "select rank(3) within group (order by id),"
        " dense_rank(3) within group (order by id), percent_rank(3) within group (order by id),"
        " cume_dist(3) within group (order by id) from void_table",
        "0000",
    ),
    Case(
        "COALESCE saves an aggregate",
        "select coalesce(sum(id), 0), coalesce(max(nick), ''),"
        " coalesce(max(nick), max(name)), max(id) + 1 from person",
        "0011",
    ),
    Case(
        "constants beside an aggregate",
        "select 1, 'x', count(*), count(*) + 1, now() from void_table",
        "00000",
    ),
    Case(
        "GROUP BY () is one group, over nothing too",
        "select count(*), max(id) from void_table group by ()",
        "01",
    ),
    Case(
        "HAVING without GROUP BY", "select 'x', max(id) from void_table having count(*) = 0", "01"
    ),
    Case(
        "rollup",
        "select team_id, name, count(*), max(id) from person group by rollup (team_id, name)",
        "1101",
    ),
    Case("cube", "select name, id, count(*), sum(id) from person group by cube (name, id)", "1101"),
    Case(
        "one grouping set is plain grouping",
        "select id, name, max(id) from person group by grouping sets ((id, name))",
        "000",
    ),
    Case(
        "grouping sets, one column in all of them",
        "select id, name, count(*) from person group by grouping sets ((id), (id, name))",
        "010",
    ),
    Case(
        "rollup beside a plain column",
        "select id, name, count(*) from person group by id, rollup (name)",
        "010",
    ),
    Case(
        "grouping sets with the empty one",
        "select id, count(*), sum(id) from person group by grouping sets ((id), ())",
        "101",
    ),
    Case(
        "only the empty grouping set",
        "select count(*), sum(id) from person group by grouping sets (())",
        "01",
    ),
    Case(
        "a constant that is grouped by",
        "select 'c'::text as k, count(*) from person group by rollup (k)",
        "10",
    ),
    Case(
        "an expression that is grouped by",
        "select lower(name), lower(name) || 'x',"
        " coalesce(lower(name), 'z'), count(*) from person group by rollup (lower(name))",
        "1100",
    ),
    Case(
        "an expression of a grouped column",
        "select id + 1, coalesce(id, 0), id is null from person group by cube (id)",
        "100",
    ),
    Case(
        "a column that depends on the key",
        "select id, name, upper(name) from person group by grouping sets ((id), (id))",
        "000",
    ),
    Case(
        "GROUPING()",
        "select grouping(team_id), grouping(name, team_id) from person"
        " group by rollup (team_id, name)",
        "00",
    ),
    Case(
        "a whole row grouped by rollup", "select t, count(*) from team t group by rollup (t)", "10"
    ),
    Case(
        "rollup in a subquery",
        "select s.name, s.n from (select name, count(*) as n from person group by rollup (name)) s",
        "10",
    ),
    Case(
        "rollup over an outer join",
        "select t.name, count(p.id) from team t left join person p"
        " on p.team_id = t.id group by rollup (t.name)",
        "10",
    ),
    Case(
        "GROUP BY DISTINCT",
        "select id, name, count(*) from person group by distinct rollup (id), rollup (name)",
        "110",
    ),
    Case(
        "grouping sets of a NOT NULL case",
        "select case when id > 2 then 'a' else 'b' end,"
        " count(*) from person group by grouping sets ((case when id > 2 then 'a' else 'b' end),"
        " ())",
        "10",
    ),
    Case(
        "a window over a rollup",
        "select row_number() over (order by name), name,"
        " sum(count(*)) over () from person group by rollup (name)",
        "010",
    ),
    Case(
        "a user's aggregate",
        "select last_of(id), last_of(team_id), count_not(id) from person group by mood",
        "011",
        data="update person set team_id = null",
    ),
    Case(
        "a user's aggregate over nothing", "select last_of(id), count_not(id) from void_table", "11"
    ),
    Case(
        "an aggregate of another schema with a familiar name",
        "select count(val), count(*) from void_table",
        "10",
        path="shadow, public, pg_catalog",
    ),
    Case(
        "DISTINCT and ORDER BY inside aggregates",
        "select array_agg(distinct name),"
        " string_agg(name, ',' order by id), max(distinct id) from person group by team_id",
        "000",
    ),
    Case(
        "string_agg with a NULL delimiter",
        "select string_agg(name, null), string_agg(name, nick) from person group by team_id",
        "00",
    ),
    Case(
        "aggregates of json and ranges",
        "select jsonb_object_agg(name, nick),"
        " json_agg(nick), range_agg(span), range_intersect_agg(span) from person group by id",
        "0000",
    ),
    Case(
        "any_value",
        "select any_value(name), any_value(nick) from person group by team_id",
        "01",
        since=16,
    ),
    Case(
        "xmlagg and friends: an aggregate of nullable input",
        "select min(born), min(nick), bool_or(flag), sum(scores[1]) from person group by id",
        "1111",
    ),
]
