"""Statements described by PostgreSQL."""
