"""Describe statements of MySQL and MariaDB."""
