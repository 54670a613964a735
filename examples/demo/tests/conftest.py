"""The fixtures and markers of the package's own tests: those of the demo use the same server."""

from tests.conftest import postgres, pytest_collection_modifyitems

__all__ = ["postgres", "pytest_collection_modifyitems"]
