"""Typed results: how many rows (``api``), how they are got (``routes``), as what (mapping)."""
