"""Statements described by SQLite."""
