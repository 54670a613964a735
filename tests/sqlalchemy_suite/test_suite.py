"""SQLAlchemy's dialect compliance suite, its engines built with our pool by the URL's plugin.

Not collected by default: it takes minutes. See CONTRIBUTING.md.
"""

from sqlalchemy.testing.suite import *  # noqa: F403
