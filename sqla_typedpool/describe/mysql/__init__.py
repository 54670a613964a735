"""Statements described by MySQL and MariaDB."""
