"""The requirements of SQLAlchemy's dialect suite; named in setup.cfg."""

from sqlalchemy.testing.requirements import SuiteRequirements


class Requirements(SuiteRequirements):
    """The suite's own defaults: the pool changes nothing that a dialect can or cannot do."""
