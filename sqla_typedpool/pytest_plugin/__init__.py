"""The pytest plugin: declared queries as test items, and a fresh database for each test.

pytest loads the package `entry/sqla_typedpool_pytest` in every run. It has the options and the
fixtures, and imports the modules of this package only when they are used. So a run that does not
use the plugin does not import SQLAlchemy.
"""

from sqla_typedpool.pytest_plugin.database import Database

__all__ = ["Database"]
