"""The only package that uses private names of SQLAlchemy, or tells 2.0 from 2.1.

Each module says why it needs them; ``docs/internals/sqlalchemy.md`` lists them. What is here
was read in SQLAlchemy 2.0.58 and 2.1.9 and is tested on both.
"""
