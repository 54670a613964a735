"""Random statements: no column that is described as never NULL may be NULL when they run.

`generator` random statements over the schema `company` of PostgreSQL; `shop_statements` over the
schema `shop` of SQLite and MariaDB; `check` compares a description with the results of the
statement; `fuzz` does so for many; `shrink` shortens a failing statement; `sweep` calls
PostgreSQL's own functions and operators to see which return NULL.
"""
