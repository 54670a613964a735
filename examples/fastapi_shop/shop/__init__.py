"""A shop with FastAPI, SQLAlchemy's ORM, declared queries and Alembic."""
