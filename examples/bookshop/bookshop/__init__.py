"""A small bookshop on PostgreSQL. Every query is declared, and checked before it runs."""
