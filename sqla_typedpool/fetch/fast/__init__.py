"""The fast path: a statement goes to the driver without SQLAlchemy's ``execute()``.

``path`` is the same for all drivers: it compiles, decides, takes a connection, runs, maps and
gives back. A file for each driver runs one statement. ``call`` is what passes between them.
"""
