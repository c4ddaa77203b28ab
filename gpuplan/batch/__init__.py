"""Many questions in a table, one answer per row: read with care, solved on all cores, safe from a kill."""
