"""A running deployment out: from a plan to the files that start it, one platform one file in `platforms/`."""
