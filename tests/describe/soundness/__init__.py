"""Is the describer of PostgreSQL sound? Hand-judged cases, and a generator of random queries.

`schema` a database full of traps; `cases` statements with what their columns can really be;
`generator` random statements over the same schema; `judge` what PostgreSQL returns against what
was said of it; `sweep` PostgreSQL's own functions and operators, called to see which return NULL.
"""
