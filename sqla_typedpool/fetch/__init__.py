"""Typed results of statements.

``api`` has the public functions, ``routes`` chooses how a statement runs: ``fast`` sends it to the
driver, ``routes`` itself through SQLAlchemy's ``execute()``.
"""
