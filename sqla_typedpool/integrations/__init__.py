"""Integrations with other packages, one file each. Nothing is called without one."""
