"""Grounded data: the record format, its readers, checks, contact sheets, and recordings as data."""
