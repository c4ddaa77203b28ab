"""Prices of other days and from other places: what the table knew on a day, and what public catalogs say now."""
