"""Typed results.

``api`` has the public functions, ``routes`` chooses how a statement runs: ``fast_path`` runs
it on asyncpg, everything else runs through SQLAlchemy (the slow path).
"""
