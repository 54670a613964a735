"""Describe statements of SQLite."""
