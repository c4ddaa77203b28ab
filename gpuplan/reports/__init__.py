"""The procurement report: a plan and what depends on it, said once and written in several formats."""
