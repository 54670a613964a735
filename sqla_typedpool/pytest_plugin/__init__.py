"""The pytest plugin: declared queries as test items, and a fresh database for each test.

What pytest loads in every run is `entry/sqla_typedpool_pytest`, a package beside this one: it has
the options and fixtures, and imports from here what they need when they are used. So a run that
uses none of it does not even import SQLAlchemy.
"""

from sqla_typedpool.pytest_plugin.databases import Database

__all__ = ["Database"]
