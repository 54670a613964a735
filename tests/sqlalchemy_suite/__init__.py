"""SQLAlchemy's own tests, run on TypedPool: see CONTRIBUTING.md."""
