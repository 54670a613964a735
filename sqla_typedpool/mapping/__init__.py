"""Rows become declared types, exactly, or an error that names what is wrong."""
