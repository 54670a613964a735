"""A small bookshop on PostgreSQL. Every query it asks is declared, and checked before it runs."""
