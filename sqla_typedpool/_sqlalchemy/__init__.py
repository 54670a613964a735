"""The only package that uses private names of SQLAlchemy, or distinguishes 2.0 from 2.1.

Each module says why it needs them; ``docs/internals/sqlalchemy.md`` lists them. The code
follows the source of SQLAlchemy 2.0.58 and 2.1.9 and is tested on both.
"""
