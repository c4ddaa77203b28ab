"""One serving engine, one file: what it supports, its defaults by version, its command line."""
